#pragma once

#include <vector>

#include "placement/ranks.h"
#include "train/api.h"

namespace sluice::train {

// The bench of one process, or of one rank of several; then collective.
Result<BenchReport> RunBench(const RunConfig& config, placement::Ranks* ranks);

// What every rank did, on every rank.
Result<std::vector<BenchRank>> CollectRanks(const BenchRank& mine, placement::Ranks* ranks);

}  // namespace sluice::train
