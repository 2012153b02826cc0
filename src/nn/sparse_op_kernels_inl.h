#pragma once

// What the kernels of the weights-rich operators share; included by *_kernels.cc alone, compiled once per instruction
// set.

#include <cmath>
#include <cstdint>

#include "nn/sparse_op_kernels.h"

namespace sluice::SLUICE_ISA {
namespace {

using nn::FieldSlice;
using nn::PairTerm;
using nn::Pooling;

constexpr int64_t kAhead = 16;  // occurrences between a prefetch and its use
constexpr int64_t kSquares = sluice::kLanes;

template <bool kWrite, class T>
inline void PrefetchRow(const T* row, int64_t width) {
  const char* begin = reinterpret_cast<const char*>(row);
  const char* last = reinterpret_cast<const char*>(row + width) - 1;
  // Four lines; the processor's own prefetcher follows a longer row.
  __builtin_prefetch(begin, kWrite);
  if (width * static_cast<int64_t>(sizeof(T)) > 128) {
    __builtin_prefetch(begin + 64, kWrite);
    __builtin_prefetch(begin + 128, kWrite);
  }
  __builtin_prefetch(last, kWrite);
}

// The occurrences of consecutive samples that read rows here, one after the other: those whose index passes `test`.
// Where `kListed`, they are listed a block ahead without a branch that depends on data: of rows of which other owners
// hold half, skipping one by one costs more than adding the rest. Otherwise every index is known to pass.
template <bool kListed, class T, class Test>
class Occurrences {
 public:
  Occurrences(const FieldSlice<T>& field, Range samples, const Test& test)
      : index_(field.index),
        test_(test),
        at_(field.offsets != nullptr ? field.offsets[samples.begin] : samples.begin),
        scanned_(at_),
        last_(field.offsets != nullptr ? field.offsets[samples.end] : samples.end),
        nnz_(field.nnz) {
    if constexpr (kListed) at_ = 0;
  }

  // The next one before `end`, which does not decrease from call to call; `end` where there is none.
  int64_t Next(int64_t end) {
    if constexpr (kListed) {
      while (at_ == count_) {
        if (scanned_ >= end) return end;
        Scan();
      }
      return list_[at_] < end ? list_[at_++] : end;
    } else {
      return at_ < end ? at_++ : end;
    }
  }
  // The row of one kAhead after the last, to be prefetched; -1 where it is not known.
  int64_t RowAhead() const {
    if constexpr (kListed)
      return at_ + kAhead - 1 < count_ ? index_[list_[at_ + kAhead - 1]] : -1;
    else
      return at_ + kAhead - 1 < nnz_ ? index_[at_ + kAhead - 1] : -1;
  }

 private:
  static constexpr int64_t kBlock = 512;

  void Scan() {
    const int64_t end = scanned_ + kBlock < last_ ? scanned_ + kBlock : last_;
    int64_t n = 0;
    for (int64_t j = scanned_; j < end; ++j) {
      list_[n] = static_cast<int32_t>(j);
      n += test_(index_[j]);
    }
    at_ = 0;
    count_ = n;
    scanned_ = end;
  }

  const int32_t* index_;
  const Test& test_;
  int64_t at_, count_ = 0, scanned_, last_, nnz_;
  int32_t list_[kListed ? kBlock : 1];
};

// What every coefficient of the bag [begin, end) is multiplied with: 1, 1 / sum of weights, 1 / root of their squares.
template <class T>
inline T BagScale(const FieldSlice<T>& field, int64_t begin, int64_t end) {
  if (field.pooling == Pooling::kSum || field.pooling == Pooling::kMax || begin == end) return T(1);
  if (field.weights == nullptr) {
    const T count = static_cast<T>(end - begin);
    return T(1) / (field.pooling == Pooling::kMean ? count : std::sqrt(count));
  }
  T sum = 0;
  for (int64_t j = begin; j < end; ++j) {
    const T w = static_cast<T>(field.weights[j]);
    sum += field.pooling == Pooling::kMean ? w : w * w;
  }
  if (sum == T(0)) return T(0);
  return T(1) / (field.pooling == Pooling::kMean ? sum : std::sqrt(sum));
}

// Sum of the lanes in a fixed order.
template <class T>
inline T SumLanes(T* lanes) {
  for (int64_t w = kSquares / 2; w > 0; w /= 2)
    for (int64_t i = 0; i < w; ++i) lanes[i] += lanes[i + w];
  return lanes[0];
}

template <int kWidth, class T>
inline void AddSquares(const T* v, int64_t width, T scale, T* lanes) {
  const int64_t n = kWidth > 0 ? kWidth : width;
  int64_t d = 0;
  for (; d + kSquares <= n; d += kSquares) {
#pragma omp simd
    for (int64_t i = 0; i < kSquares; ++i) lanes[i] += (scale * v[d + i]) * v[d + i];
  }
  for (int64_t i = 0; d + i < n; ++i) lanes[i] += (scale * v[d + i]) * v[d + i];
}

// Calls body<width>() with the widths that are worth a copy of the loops; 0 stands for any other.
template <class Body>
inline void WithWidth(int64_t width, const Body& body) {
  switch (width) {
    case 1:
      return body.template operator()<1>();
    case 8:
      return body.template operator()<8>();
    case 16:
      return body.template operator()<16>();
    case 32:
      return body.template operator()<32>();
    case 64:
      return body.template operator()<64>();
    default:
      return body.template operator()<0>();
  }
}

// Calls body<value>().
template <class Body>
inline void WithFlag(bool value, const Body& body) {
  if (value)
    body.template operator()<true>();
  else
    body.template operator()<false>();
}

// Whether rows of `owned` are all that occurrences of the field read.
template <class T>
inline bool ReadsOnly(const FieldSlice<T>& field, Range owned) {
  return field.whole && !field.row_range.empty() && owned.begin <= field.row_range.begin &&
         owned.end >= field.row_range.end;
}

}  // namespace
}  // namespace sluice::SLUICE_ISA
