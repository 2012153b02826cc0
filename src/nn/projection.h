#pragma once

#include <cstdint>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "nn/block.h"

namespace sluice::nn {

// One product of an operator's pooled columns with weights of a first layer: columns [column, column + outputs) of the
// operator's partial are X W, X [n, inputs] what the operator pools.
struct Projection {
  int64_t weight = 0;  // offset of W [inputs, outputs] in the flat buffer of parameters
  int64_t inputs = 0, outputs = 0;
  int64_t column = 0;
  bool read_elsewhere = false;  // OwnedWeights::read_elsewhere
};

// What the owner of rows keeps of one batch between forward and backward, of all projected operators.
// Shapes       pooled, pooled_grads [n, sum of the operators' inputs], an operator's matrix after the other's;
//              weight_grads of all projections one after another, [inputs, outputs] each.
template <class T>
struct ProjectionBuffers {
  AlignedBuffer<T> pooled, pooled_grads, weight_grads;
};

// partial [n, sum of outputs] = X [w_1 | w_2 | ...]. Source: DES (Rong et al., SIGIR 2020), figure 8: the first fully
// connected layer before bias and activation.
template <class T>
void ProjectForward(const std::vector<Projection>& projections, const T* params, Matrix<const T> pooled,
                    Matrix<T> partial);
// pooled_grad = sum of partial_grad_p w_p^T; overwrites.
template <class T>
void ProjectBackward(const std::vector<Projection>& projections, const T* params, Matrix<const T> partial_grad,
                     Matrix<T> pooled_grad);
// weight_grads = X^T partial_grad of each projection, one after another. Threads take rows of the weights, so the
// result does not depend on how many there are.
template <class T>
void ProjectWeightGradients(const std::vector<Projection>& projections, Matrix<const T> pooled,
                            Matrix<const T> partial_grad, ThreadPool& pool, T* weight_grads);

}  // namespace sluice::nn
