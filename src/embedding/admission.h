#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/hash.h"
#include "base/status.h"
#include "embedding/config.h"

namespace sluice::embedding {

enum class AdmissionKind { kNone, kCount, kProbability };

struct Admission {
  AdmissionKind kind = AdmissionKind::kNone;
  uint32_t count = 1;
  double probability = 1.0;
  int64_t window_steps = 0;
  uint32_t sets_per_shard = 1;   // of CandidateCounts::kWays candidates

  static Result<Admission> Make(const AdmissionConfig& config);
};

// True where one of `sightings` at `step` admits the key; a function of the arguments alone.
bool AdmittedByChance(double probability, uint64_t seed, Key key, int64_t step, uint32_t sightings);

// Sightings of the keys of one shard that have no row yet: a set-associative store of 8 bytes per key.
// Semantics    a key's count is exact while it is remembered. A full set forgets the key with the fewest sightings, of
//              those the one seen longest ago, so the error is one-sided but for fingerprints: a key may be admitted
//              late, and early only where two keys of one set share 32 bits of hash (2e-9 per sighting in a full store).
// Threads      none of its own; the owner locks.
// Cost         one cache line per sighting; memory is taken with the first.
class CandidateCounts {
 public:
  static constexpr int kWays = 8;

  // Adds sightings at `step` to the key with this hash; returns its total, and forgets the key once that reaches
  // admission.count.
  uint32_t Add(const Admission& admission, uint64_t hash, int64_t step, uint32_t sightings);

  bool empty() const { return sets_.empty(); }
  void Clear() { sets_.clear(); }
  int64_t bytes() const { return static_cast<int64_t>(sets_.size() * sizeof(Set)); }

  // The whole state, for checkpoints. Restore returns false where the length does not fit the settings.
  std::span<const std::byte> State() const { return std::as_bytes(std::span(sets_)); }
  bool Restore(const Admission& admission, std::span<const std::byte> state);

 private:
  struct Candidate {
    uint32_t fingerprint = 0;
    uint16_t count = 0;   // 0: no candidate here
    uint16_t period = 0;  // of its last sighting; a period is 1/8 of the window, or 256 steps where there is none
  };
  struct alignas(64) Set {
    Candidate ways[kWays];
  };
  static_assert(sizeof(Set) == 64);

  std::vector<Set> sets_;
};

}  // namespace sluice::embedding
