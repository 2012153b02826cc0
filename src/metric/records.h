#pragma once

#include <bit>
#include <cstdint>

namespace sluice::metric {

// Records are ordered by digits of this many bits, the least significant first.
inline constexpr int kDigitBits = 11;
inline constexpr uint32_t kDigitMask = (1u << kDigitBits) - 1;

// A scored sample in eight bytes: the score as an order-preserving 32-bit key, and the sample's weight with the label in
// its sign bit. A fractional label becomes two records.
struct ScoreRecord {
  uint64_t bits = 0;

  static constexpr int kDigits = 3;
  uint32_t Digit(int i) const { return (key() >> (i * kDigitBits)) & kDigitMask; }
  uint32_t key() const { return static_cast<uint32_t>(bits >> 32); }
  bool positive() const { return (bits >> 31) & 1; }
  double weight() const { return std::bit_cast<float>(static_cast<uint32_t>(bits) & 0x7fffffffu); }
  bool operator<(const ScoreRecord& other) const { return key() < other.key(); }
};

// The same, ordered by group first.
struct GroupRecord {
  ScoreRecord score;
  uint64_t group = 0;

  static constexpr int kDigits = ScoreRecord::kDigits + 6;
  uint32_t Digit(int i) const {
    return i < ScoreRecord::kDigits ? score.Digit(i) : (group >> ((i - ScoreRecord::kDigits) * kDigitBits)) & kDigitMask;
  }
  bool operator<(const GroupRecord& other) const {
    return group != other.group ? group < other.group : score < other.score;
  }
};

// Maps a finite float to an integer with the same order; -0 and 0 are one key.
inline uint32_t OrderedKey(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value + 0.0f);
  return bits ^ ((bits >> 31) ? 0xffffffffu : 0x80000000u);
}

// REQUIRES: weight >= 0.
inline ScoreRecord MakeRecord(float score, bool positive, float weight) {
  return {uint64_t{OrderedKey(score)} << 32 | uint64_t{positive} << 31 |
          (std::bit_cast<uint32_t>(weight) & 0x7fffffffu)};
}

}  // namespace sluice::metric
