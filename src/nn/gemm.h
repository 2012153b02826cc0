#pragma once

#include "base/bf16.h"
#include "nn/block.h"

namespace sluice::nn {

// What follows a product while its result is in registers.
template <class T>
struct GemmOptions {
  bool transpose_a = false;  // a is stored [k, m]
  bool transpose_b = false;  // b is stored [n, k]
  const T* bias = nullptr;   // [n], added to every row
  bool relu = false;         // max(x, 0) after the bias
  bool accumulate = false;   // adds to c instead of overwriting it; not with bias or relu
};

// c [m, n] = op(a) [m, k] * op(b) [k, n].
// Precision    A, C: (float, float), (Bf16, Bf16), (Bf16, float): sums in float; (double, double): plain loops.
// Memory       views with any ld; transposed operands are read in place. c overlaps neither a nor b.
// Threads      runs on the calling thread alone; any number of threads may call.
// Numerics     oneDNN's kernels: the same bits for the same shape on one processor model. A row of c does not depend on
//              the number of rows with its AVX-512 kernels; with those of older processors its last bits may.
// Cost         a primitive is made once per thread and shape and kept (a few ms for a new shape).
template <class A, class C, class B = std::conditional_t<std::is_same_v<C, double>, double, float>>
void Gemm(std::type_identity_t<Matrix<const A>> a, std::type_identity_t<Matrix<const A>> b, Matrix<C> c,
          const GemmOptions<B>& options = {});

// The same for Bf16 by way of float copies: what Gemm does on processors for which oneDNN has no bf16 products.
template <class C>
void Bf16GemmThroughFloat(Matrix<const Bf16> a, Matrix<const Bf16> b, Matrix<C> c, const GemmOptions<float>& options);

// Elements from row to row of a matrix of `width` columns whose rows begin on 64-byte boundaries. Not a multiple of 512
// bytes, so that the rows of a column do not fall into the same few sets of a cache.
template <class A>
constexpr int64_t RowStride(int64_t width) {
  constexpr int64_t kLine = 64 / static_cast<int64_t>(sizeof(A));
  const int64_t stride = (width + kLine - 1) / kLine * kLine;
  return stride % (8 * kLine) == 0 ? stride + kLine : stride;
}

// Release of oneDNN in use, "2.6.3".
const char* GemmLibraryVersion();

}  // namespace sluice::nn
