#pragma once

#include <cstdint>

#include "nn/block.h"

namespace sluice::nn {

enum class LossKind { kBce, kMse };

struct LossSums {
  double loss = 0;    // sum of weight * loss
  double weight = 0;  // sum of sample weights
};

// Loss and its gradient in one pass. A sample's loss is the sum over its labels of
//   kBce  max(s, 0) - s * y + log(1 + exp(-|s|)), s the logit, y in [0, 1];     ds = sigmoid(s) - y
//   kMse  (s - y)^2 / 2;                                                        ds = s - y
// times the sample's weight (null: 1).
// Shapes       logits, labels [n, labels] contiguous; weights [n]; logit_grads [n, labels], scaled by grad_scale.
// Numerics     evaluated in double with libm, whatever T.
template <class T>
LossSums LossAndGradient(LossKind kind, int64_t n, int64_t num_labels, const T* logits, const float* labels,
                         const float* weights, double grad_scale, T* logit_grads);

}  // namespace sluice::nn
