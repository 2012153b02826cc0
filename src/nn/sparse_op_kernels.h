#pragma once

#include <cstdint>

#include "base/chunks.h"
#include "base/simd.h"

namespace sluice::nn {

enum class Pooling { kSum, kMean, kSqrtn, kMax };

// One field of a batch and the rows that its occurrences read.
// Shapes       rows [U, dim]; index [nnz], negative where the row lives with another owner; offsets [size + 1], or
//              null: one key per sample; weights [nnz], or null: every weight is 1. whole: no index is negative.
//              row_range: where nonempty, every index that is not negative lies in it.
template <class T>
struct FieldSlice {
  const T* rows = nullptr;
  int64_t dim = 0;
  const int32_t* index = nullptr;
  const int32_t* offsets = nullptr;
  const float* weights = nullptr;
  int64_t nnz = 0;
  Pooling pooling = Pooling::kSum;
  bool whole = false;
  Range row_range{};
};

// Where the linear weight of a row stands and where its term goes: q[i * q_ld] of sample i. Without it: column < 0.
template <class T>
struct PairTerm {
  int64_t weight_column = -1;  // -1: the rows have no linear weight
  T* q = nullptr;              // null: no such term
  int64_t q_ld = 0;
};

}  // namespace sluice::nn

// Kernels of the weights-rich operators, for T = float and double. With c the coefficient of an occurrence, v the
// `width` columns of its row from `column` on, w its linear weight:
//   PoolField      out_i (+)= sum c v, and where term.q is given  q_i += sum (c w - c^2 |v|^2 / 2)
//   AddFieldGrad   row_grad(v) += c g_i - dq_i c^2 v,  row_grad(w) += c dq_i   for rows in `owned`, in sample order
//   MaxField       out_i = max c v over the rows present, -infinity where there is none
//   AddMaxGrad     row_grad(v) += c g_i for the first occurrence that attains the maximum, column by column
// `out` and `g` start at the row of samples.begin; q too.
namespace sluice {

#define SLUICE_SPARSE_KERNELS                                                                                      \
  template <class T>                                                                                               \
  void PoolField(const nn::FieldSlice<T>& field, int64_t column, int64_t width, Range samples, bool accumulate,    \
                 T* out, int64_t ld, nn::PairTerm<T> term);                                                        \
  template <class T>                                                                                               \
  void AddFieldGrad(const nn::FieldSlice<T>& field, int64_t column, int64_t width, Range samples, Range owned,     \
                    const T* grad, int64_t ld, nn::PairTerm<const T> term, T* row_grads);                          \
  template <class T>                                                                                               \
  void MaxField(const nn::FieldSlice<T>& field, int64_t column, int64_t width, Range samples, T* out, int64_t ld); \
  template <class T>                                                                                               \
  void AddMaxGrad(const nn::FieldSlice<T>& field, int64_t column, int64_t width, Range samples, Range owned,       \
                  const T* partial, int64_t partial_ld, const T* grad, int64_t ld, T* row_grads);

SLUICE_DECLARE_KERNELS(SLUICE_SPARSE_KERNELS)
#undef SLUICE_SPARSE_KERNELS

}  // namespace sluice
