#pragma once

#include <cstdint>

#include "base/simd.h"

namespace sluice {

// Logistic function of logits and its softplus, in double from float logits, to a few units in the last place:
//   probability[i] = 1 / (1 + exp(-x))      softplus[i] = log(1 + exp(x))
// Shapes       x, probability, softplus [n]; x finite.
// Numerics     the same bits on every instruction set.
SLUICE_DECLARE_KERNELS(void Logistic(const float* x, double* probability, double* softplus, int64_t n);)

}  // namespace sluice
