#pragma once

#include <vector>

#include "placement/ranks.h"
#include "train/api.h"

namespace sluice::train {

// The bench of one process, or of one rank of several; then collective. Of several configurations, which differ in
// strategy alone, each has its round in turn. REQUIRES: one configuration where bench.data is text.
Result<std::vector<BenchReport>> RunBench(const std::vector<RunConfig>& configs, placement::Ranks* ranks);

// What every rank did, on every rank.
Result<std::vector<BenchRank>> CollectRanks(const BenchRank& mine, placement::Ranks* ranks);

}  // namespace sluice::train
