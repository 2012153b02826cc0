#pragma once

#include <cstdint>
#include <vector>

#include "base/hash.h"
#include "base/rng.h"

namespace sluice::data {

// Which samples a source delivers: its side of the split, and the negatives that are kept. Every decision is a function of
// the sample itself, so that the two sides complement each other whatever blocks and threads read them.
struct SampleFilter {
  enum class Side { kAll, kTrain, kEval };
  enum class Split { kNone, kTail, kTime, kHash };

  Side side = Side::kAll;
  Split split = Split::kNone;
  std::vector<int64_t> file_starts;  // tail: uncompressed bytes (packed: samples) before each file
  int64_t tail_start = 0;            // tail: the eval side starts here, in the same unit
  double time_from = 0;
  double hash_fraction = 0;
  double keep_rate = 1;              // of negatives
  CounterRng rng{0, 0};

  bool splits() const { return side != Side::kAll && split != Split::kNone; }
  bool Wants(bool eval_side) const { return (side == Side::kEval) == eval_side; }
  bool TailWants(int64_t file, int64_t offset) const { return Wants(file_starts[file] + offset >= tail_start); }
  // The hash split does not depend on the run's seed, so that runs with different seeds are evaluated on the same samples.
  static constexpr uint64_t kHashSeed = 0x5911;
  bool HashWants(uint64_t hash) const {
    return Wants(static_cast<double>(Mix64(hash) >> 11) * 0x1.0p-53 < hash_fraction);
  }
  bool KeepsNegative(int64_t ordinal) const {
    return keep_rate >= 1 || rng.Uniform(static_cast<uint64_t>(ordinal)) < keep_rate;
  }
};

}  // namespace sluice::data
