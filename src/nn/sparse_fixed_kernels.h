#pragma once

#include "nn/fixed_point.h"
#include "nn/sparse_op_kernels.h"

// The kernels of nn/sparse_op_kernels.h with sums in fixed point (nn/fixed_point.h): every occurrence's term is
// computed in T as there and turned into fixed point before it is added, so that a sum does not depend on which
// occurrences meet in it first. All return false where a term or a sum is out of range, NaN included.
//   PoolFieldFixed      out_i (+)= sum c v, and where term.q is given  q_i += sum (c w - c^2 |v|^2 / 2)
//   AddFieldGradFixed   row_grad(v) += c g_i - dq_i c^2 v,  row_grad(w) += c dq_i   for rows in `owned`
//   AddMaxGradFixed     row_grad(v) += c g_i column by column for every row that attains the maximum, once per row (its
//                       first occurrence): not for the first row alone, which only the owner of all rows can tell
// Shapes       as there, but row_grads [owned.size(), dim] begins at the row owned.begin.
namespace sluice {

#define SLUICE_SPARSE_FIXED_KERNELS                                                                                  \
  template <class T>                                                                                                 \
  bool PoolFieldFixed(const nn::FieldSlice<T>& field, int64_t column, int64_t width, Range samples, bool accumulate, \
                      int64_t* out, int64_t ld, nn::PairTerm<int64_t> term);                                         \
  template <class T>                                                                                                 \
  bool AddFieldGradFixed(const nn::FieldSlice<T>& field, int64_t column, int64_t width, Range samples, Range owned,  \
                         const T* grad, int64_t ld, nn::PairTerm<const T> term, double scale, int64_t* row_grads);   \
  template <class T>                                                                                                 \
  bool AddMaxGradFixed(const nn::FieldSlice<T>& field, int64_t column, int64_t width, Range samples, Range owned,    \
                       const T* partial, int64_t partial_ld, const T* grad, int64_t ld, double scale,                \
                       int64_t* row_grads);

SLUICE_DECLARE_KERNELS(SLUICE_SPARSE_FIXED_KERNELS)
#undef SLUICE_SPARSE_FIXED_KERNELS

}  // namespace sluice
