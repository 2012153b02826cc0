#pragma once

#include <cstdint>

#include "base/simd.h"

namespace sluice {

SLUICE_DECLARE_KERNELS(
  // True where no element of x [n] is NaN or infinite.
  bool AllFiniteF32(const float* x, int64_t n);
  bool AllFiniteF64(const double* x, int64_t n);
)

inline bool AllFinite(const float* x, int64_t n) { return SLUICE_DISPATCH(AllFiniteF32)(x, n); }
inline bool AllFinite(const double* x, int64_t n) { return SLUICE_DISPATCH(AllFiniteF64)(x, n); }

}  // namespace sluice
