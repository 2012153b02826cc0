#pragma once

#include <cstdint>

#include "base/simd.h"

namespace sluice::nn {

// An edge seen as vectors of equal width: vector v of sample i begins at data + i * ld + v * width.
template <class T>
struct VectorEdge {
  T* data = nullptr;
  int64_t ld = 0;
  int64_t num_vectors = 0;
  bool accumulate = false;  // of gradients: add to what is there
};

// The vectors of a piece of a batch, from one or two edges; second.num_vectors may be 0.
template <class T>
struct VectorEdges {
  VectorEdge<T> first, second;
  int64_t width = 0;
  int64_t rows = 0;
  int64_t num_vectors() const { return first.num_vectors + second.num_vectors; }
};

// Scalars of scratch that the kernels below need, and pointers.
inline int64_t InteractionScratch(int64_t num_vectors, int64_t width) {
  return (num_vectors + kLanes) * (width + kLanes) + (num_vectors + 8) * kLanes;
}

}  // namespace sluice::nn

namespace sluice {

// DotPairs       out_i[v (v - 1) / 2 + u] = <x_v, x_u> for u < v: the lower triangle of the Gram matrix, row by row.
// DotPairsGrad   grad of x_v (+)= sum over u != v of out_grad_i[pair] x_u; an edge whose data is null gets none.
// PairSum        out_i[d] = 1/2 ((sum of x_v[d])^2 - sum of x_v[d]^2), the sum of all products of pairs.
// `scratch` is 64-byte aligned, InteractionScratch scalars; `vectors` has room for num_vectors + 8 pointers.
SLUICE_DECLARE_KERNELS(template <class T> void DotPairs(const nn::VectorEdges<const T>& x, T* out, int64_t ld,
                                                        T* scratch, const T** vectors);
                       template <class T>
                       void DotPairsGrad(const nn::VectorEdges<const T>& x, const T* out_grad, int64_t ld,
                                         const nn::VectorEdges<T>& grad, T* scratch, const T** vectors);
                       template <class T>
                       void PairSum(const nn::VectorEdges<const T>& x, T* out, int64_t ld, T* scratch);
                       template <class T> void PairSumGrad(const nn::VectorEdges<const T>& x, const T* out_grad,
                                                           int64_t ld, const nn::VectorEdge<T>& grad, T* scratch);)

}  // namespace sluice
