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

}  // namespace
}  // namespace sluice::SLUICE_ISA
