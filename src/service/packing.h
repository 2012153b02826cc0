#pragma once

#include <cstddef>
#include <cstdint>

#include "base/simd.h"
#include "service/pieces.h"

namespace sluice::service {

// Whole blocks of packed floats, from the front of a run of bytes.
struct UnpackedBlocks {
  int64_t numbers = 0, bytes = 0;
  bool damaged = false;  // what follows is no block
  bool finite = true;    // no number is infinite or none
};

}  // namespace sluice::service

namespace sluice {

SLUICE_DECLARE_KERNELS(int64_t PackKernel(const float* in, int64_t n, std::byte* out);
                       service::UnpackedBlocks UnpackKernel(const std::byte* in, int64_t bytes, int64_t n, float* out);)

}  // namespace sluice

namespace sluice::service {

// Floats without loss in about 7/8 of their bytes: numbers that lie together, as those of one layer do, have exponents
// near one another, so that a distance to the block's largest one in 4 bits stands for the 8 bits of most.
//   block of up to 256 numbers
//     u8 largest exponent, u16 escapes | 4-bit codes, of number i and i + (n + 1) / 2 in a byte |
//     u8 sign and upper fraction [n] | u16 lower fraction [n] | u8 exponents [escapes]
//   code  0 to 13: the largest exponent less this; 14: exponent 0; 15: the next of the escapes
// Cost         3.51 bytes a number where no exponent lies more than 13 below its block's largest (a factor of 8,192);
// at
//              most 4.52. A few passes within the level 1 cache, about 0.6 ns a number either way.
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

// Reads n numbers. False where `in` is not a packing of n numbers, all of it; some of `out` may be written then.
// `finite`, if not null, tells whether none of them is infinite or none.
bool UnpackFloats(const Pieces& in, int64_t n, float* out, bool* finite = nullptr);

}  // namespace sluice::service
