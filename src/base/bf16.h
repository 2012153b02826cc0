#pragma once

#include <bit>
#include <cstdint>

#include "base/simd.h"

namespace sluice {

// The upper half of a float: 8 bits of exponent, 7 of fraction.
struct Bf16 {
  uint16_t bits = 0;
};

inline float ToFloat(Bf16 x) { return std::bit_cast<float>(static_cast<uint32_t>(x.bits) << 16); }

// Rounds to nearest, ties to even. NaN stays NaN.
inline Bf16 ToBf16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const uint32_t nan = (bits >> 16) | 0x40u;
  return {static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? nan : rounded)};
}

SLUICE_DECLARE_KERNELS(
    void FloatToBf16Kernel(const float* in, uint16_t* out, int64_t n);
    void Bf16ToFloatKernel(const uint16_t* in, float* out, int64_t n);)

// The same for n numbers, as bare bits. `in` and `out` must not overlap.
inline void FloatToBf16(const float* in, uint16_t* out, int64_t n) { SLUICE_DISPATCH(FloatToBf16Kernel)(in, out, n); }
inline void Bf16ToFloat(const uint16_t* in, float* out, int64_t n) { SLUICE_DISPATCH(Bf16ToFloatKernel)(in, out, n); }

}  // namespace sluice
