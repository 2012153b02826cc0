#pragma once

#include <cstdint>

#include "base/simd.h"

namespace sluice {

SLUICE_DECLARE_KERNELS(
    void FloatToBf16Kernel(const float* in, uint16_t* out, int64_t n);
    void Bf16ToFloatKernel(const uint16_t* in, float* out, int64_t n);)

// bfloat16 is the upper half of a float, held in a uint16_t. Rounds to nearest even; NaN stays NaN.
// `in` and `out` must not overlap.
inline void FloatToBf16(const float* in, uint16_t* out, int64_t n) { SLUICE_DISPATCH(FloatToBf16Kernel)(in, out, n); }
inline void Bf16ToFloat(const uint16_t* in, float* out, int64_t n) { SLUICE_DISPATCH(Bf16ToFloatKernel)(in, out, n); }

}  // namespace sluice
