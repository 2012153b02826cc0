#pragma once

#include <cstdint>

#include "base/simd.h"

namespace sluice {

SLUICE_DECLARE_KERNELS(
  // True where no element of x [n] is NaN or infinite.
  bool AllFinite(const float* x, int64_t n);
  bool AllFinite(const double* x, int64_t n);
)

}  // namespace sluice
