#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/simd.h"

namespace sluice {

SLUICE_DECLARE_KERNELS(int64_t PackKernel(const float* in, int64_t n, std::byte* out);
                       int64_t UnpackKernel(const std::byte* in, int64_t bytes, int64_t n, float* out);)

}  // namespace sluice

namespace sluice::service {

// Floats without loss in about 7/8 of their bytes: numbers that lie together, as those of one layer do, have exponents
// near one another, so that a distance to the block's largest one in 4 bits stands for the 8 bits of most.
//   block of up to 256 numbers  u8 largest exponent, u16 escapes | 4-bit codes, of number i and i + (n + 1) / 2 in a
//   byte |
//                               u8 sign and upper fraction [n] | u16 lower fraction [n] | u8 exponents [escapes]
//   code                        0 to 13: the largest exponent less this; 14: exponent 0; 15: the next of the escapes
// Cost         3.51 bytes a number where no exponent lies more than 13 below its block's largest (a factor of 8,192);
// at
//              most 4.52. A few passes within the level 1 cache; both ways several GB/s a core.
// Threads      pure functions.
inline constexpr int64_t kPackedBlock = 256;

// Most bytes that n numbers take.
inline constexpr int64_t PackedBound(int64_t n) {
  return (n + kPackedBlock - 1) / kPackedBlock * 4 + n * 4 + (n + 1) / 2;
}

// Writes n numbers to `out`, which has room for PackedBound(n); returns the bytes written.
inline int64_t PackFloats(const float* in, int64_t n, std::byte* out) {
  return SLUICE_DISPATCH(PackKernel)(in, n, out);
}

// Reads n numbers from the front of `in`; returns the bytes read, -1 where they are not a packing of n numbers.
inline int64_t UnpackFloats(std::span<const std::byte> in, int64_t n, float* out) {
  return SLUICE_DISPATCH(UnpackKernel)(in.data(), static_cast<int64_t>(in.size()), n, out);
}

}  // namespace sluice::service
