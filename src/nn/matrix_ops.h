#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "nn/block.h"

namespace sluice::nn {

// to = from. REQUIRES: equal shapes. Nothing happens where both are the same memory.
template <class T>
void CopyMatrix(std::type_identity_t<Matrix<const T>> from, Matrix<T> to) {
  if (from.data == to.data && from.ld == to.ld) return;
  for (int64_t i = 0; i < from.rows; ++i)
    std::memcpy(to.row(i), from.row(i), static_cast<size_t>(from.cols) * sizeof(T));
}

// to (+)= f(i, j), for element-wise gradients. Nothing happens where `to` is empty: an input without a gradient.
template <class T, class F>
void WriteGrad(Matrix<T> to, bool accumulate, const F& f) {
  if (to.empty()) return;
  for (int64_t i = 0; i < to.rows; ++i) {
    T* row = to.row(i);
    if (accumulate) {
      for (int64_t j = 0; j < to.cols; ++j) row[j] += f(i, j);
    } else {
      for (int64_t j = 0; j < to.cols; ++j) row[j] = f(i, j);
    }
  }
}

// Hands out consecutive 64-byte aligned pieces of a block's state; starting from null it measures the size.
class StateCarver {
 public:
  explicit StateCarver(std::byte* state) : state_(state) {}

  template <class T>
  T* Take(int64_t count) {
    T* at = state_ == nullptr ? nullptr : reinterpret_cast<T*>(state_ + size_);
    size_ += (static_cast<size_t>(count) * sizeof(T) + 63) / 64 * 64;
    return at;
  }
  // Rows begin on 64-byte boundaries.
  template <class T>
  Matrix<T> TakeMatrix(int64_t rows, int64_t cols) {
    constexpr int64_t kLine = 64 / static_cast<int64_t>(sizeof(T));
    const int64_t ld = (cols + kLine - 1) / kLine * kLine;
    return {Take<T>(rows * ld), rows, cols, ld};
  }
  size_t size() const { return size_; }

 private:
  std::byte* state_;
  size_t size_ = 0;
};

inline int64_t SumOfWidths(const std::vector<int64_t>& widths) {
  int64_t sum = 0;
  for (const int64_t width : widths) sum += width;
  return sum;
}

}  // namespace sluice::nn
