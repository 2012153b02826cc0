#pragma once

// The arithmetic of fixed point; included by *_kernels.cc alone, compiled once per instruction set.

#include <bit>
#include <cstdint>

#include "nn/fixed_point.h"

namespace sluice::SLUICE_ISA {
namespace {

// 1.5 * 2^52: adding it to |y| < 2^51 leaves the nearest integer of y in the low bits.
constexpr double kFixedMagic = 0x1.8p52;
constexpr uint64_t kFixedMagicBits = std::bit_cast<uint64_t>(kFixedMagic);

// Not 0 where a sum is out of range.
inline uint64_t SumFlaw(int64_t sum) {
  return (static_cast<uint64_t>(sum) + static_cast<uint64_t>(nn::kFixedSumLimit)) >> 59;
}

// sum += x as fixed point. `flaws` gets bits where the addend or the sum is out of range.
inline void AddFixed(double x, double scale, int64_t& sum, uint64_t& flaws) {
  const uint64_t bits = std::bit_cast<uint64_t>(x * scale + kFixedMagic);
  sum = static_cast<int64_t>(static_cast<uint64_t>(sum) + (bits - kFixedMagicBits));
  flaws |= ((bits ^ kFixedMagicBits) >> 52) | SumFlaw(sum);
}

// The double nearest to x, in operations that every instruction set has for vectors.
inline double FixedToDouble(int64_t x) {
  const uint64_t low = (static_cast<uint64_t>(x) & 0xffffffffu) | 0x4330000000000000u;  // 2^52 + low half
  const uint64_t high = (static_cast<uint64_t>(x) >> 32) ^ 0x4530000080000000u;  // 2^84 + 2^63 + 2^32 * high half
  return (std::bit_cast<double>(high) - 0x1.00000801p84) + std::bit_cast<double>(low);
}

}  // namespace
}  // namespace sluice::SLUICE_ISA
