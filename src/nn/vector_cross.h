#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "nn/block.h"
#include "nn/matrix_ops.h"

namespace sluice::nn {

// Cross network with weight vectors: x_{l+1} = x_0 (x_l . w_l) + b_l + x_l. Source: DCN (Wang et al., ADKDD 2017),
// eq. 3.
//
// By induction x_l = alpha_l x_0 + beta_l with
//   beta_l = sum of b_j over j < l,   c_l = beta_l . w_l,   p_l = x_0 . w_l,
//   alpha_0 = 1,   alpha_{l+1} = alpha_l (1 + p_l) + c_l,
// so that a sample needs no more of x_0 than L products with parameters, all known at once: the L products of the
// layers' inputs, each waiting for the one before, become one [n, d] x [d, L] product. This is what lets ranks that own
// parts of x_0 reduce L numbers in a single exchange (docs/algorithms/des.md).
// Shapes       weights [d, L] (column l is w_l), biases [L, d].
struct VectorCrossShape {
  int64_t width = 0, layers = 0;
  int64_t weight = 0, bias = 0;  // offsets in the flat buffer
};

// What follows from the parameters alone, once per step: beta_0 .. beta_L [L + 1, d] and c [L].
template <class T>
struct VectorCrossConstants {
  Matrix<T> beta;
  T* c = nullptr;

  static size_t Bytes(const VectorCrossShape& shape) {
    StateCarver carver(nullptr);
    Take(shape, &carver);
    return carver.size();
  }
  static VectorCrossConstants Take(const VectorCrossShape& shape, StateCarver* carver) {
    VectorCrossConstants constants;
    constants.beta = carver->TakeMatrix<T>(shape.layers + 1, shape.width);
    constants.c = carver->Take<T>(shape.layers);
    return constants;
  }
  void Fill(const VectorCrossShape& shape, const T* params) const;
};

// alpha [L + 1] of a sample from its p [L]; returns alpha_L.
template <class T>
T CrossForward(int64_t layers, const T* p, const T* c, T* alpha);
// dp [L], overwritten, and dc [L], added to, from the gradient of alpha_L.
template <class T>
void CrossBackward(int64_t layers, const T* p, const T* alpha, T top_grad, T* dp, T* dc);
// Adds to the gradients of weights and biases what comes through c and beta: `dc` [L] and `beta_grad` [d], the gradient
// of beta_L, which is used up.
template <class T>
void AddConstantGradients(const VectorCrossShape& shape, const VectorCrossConstants<const T>& constants,
                          const T* params, const T* dc, T* beta_grad, T* param_grads);

// The shape of a vector_cross block, null for other blocks.
template <class T>
const VectorCrossShape* VectorCrossShapeOf(const Block<T>& block);

// A vector cross and the product of its output with `outputs` columns of weights, z = x_L W, on a sample whose x_0 is
// known by products alone, in part or altogether: the form in which ranks share it.
// Inputs       one per part of x_0, in its order: a product [n, L + outputs], x_0's columns of the part times [w | W],
//              or the columns themselves.
struct CrossPart {
  bool is_product = false;
  int64_t row = 0, width = 0;  // columns of x_0
};
template <class T>
std::unique_ptr<Block<T>> MakeProductCross(const VectorCrossShape& shape, int64_t next_weight, int64_t outputs,
                                           std::vector<CrossPart> parts);

}  // namespace sluice::nn
