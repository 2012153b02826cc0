#pragma once

#include <cstdint>

namespace sluice {

// Finaliser of SplitMix64: a bijection on 64 bits with full avalanche.
constexpr uint64_t Mix64(uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9ULL;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

// Joins two words into one whose bits depend on all of both; not symmetric.
constexpr uint64_t MixPair(uint64_t a, uint64_t b) {
  return Mix64(Mix64(a + 0x9e3779b97f4a7c15ULL) ^ (b * 0xd6e8feb86659fd93ULL + 0x2545f4914f6cdd1dULL));
}

// Counter-based random numbers: the i-th number is a function of (seed, stream, i) alone, so results do not depend on
// threads, ranks or the order of calls. Statistical quality is that of SplitMix64; not for cryptography.
class CounterRng {
 public:
  constexpr CounterRng(uint64_t seed, uint64_t stream) : key_(MixPair(seed, stream)) {}

  constexpr uint64_t Bits(uint64_t i) const { return Mix64(key_ + (i + 1) * 0x9e3779b97f4a7c15ULL); }
  // Uniform in [0, 1), 53 bits.
  constexpr double Uniform(uint64_t i) const { return static_cast<double>(Bits(i) >> 11) * 0x1.0p-53; }
  // Uniform in [0, n). The bias is below n / 2^64.
  constexpr uint64_t Below(uint64_t i, uint64_t n) const {
    return static_cast<uint64_t>((static_cast<unsigned __int128>(Bits(i)) * n) >> 64);
  }
  // Standard normal by Box-Muller from numbers 2i and 2i + 1.
  double Normal(uint64_t i) const;

 private:
  uint64_t key_;
};

}  // namespace sluice
