#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "cli/comparison.h"
#include "cli/train_input.h"

namespace sluice::cli {

// What is run: every preset with every seed, one after another, seed by seed, so that a machine that changes its pace
// changes it for all.
struct ComparePlan {
  ConfigInput input;
  std::string program;  // absolute path of this one
  std::string mpirun;   // path; empty: searched for in PATH
  std::vector<std::string> presets;
  std::vector<int64_t> seeds = {1};
  int ranks = 2;
  int servers = 0;             // of presets ps-*; 0: one beside every worker
  int64_t samples = 0;         // 0: all of the data
  int64_t worker_batch = 0;    // of presets ps-*; 0: the ranks' share of train.batch_size
  double link_mbit_per_s = 0;  // 0: loopback and shared memory
  std::string keep;            // folder for the run folders; empty: they are removed
};

// Presets that there are: one, a placement for all fields, auto, or a preset of strategy.preset with parameter servers.
const std::vector<std::string>& ComparablePresets();

// The arguments, after the program's name, that train `preset`; `networks` as LaunchPlan's.
std::vector<std::string> CompareArguments(const ComparePlan& plan, const Comparison& comparison,
                                          const std::string& preset, int64_t seed, const std::string& networks,
                                          const std::string& folder);

// Runs them. What one of them fails with stands in its row, and the others still run. Temporary folders and namespaces
// are removed, after an interrupt too. `cancelled`  set where an interrupt ended it; the comparison then holds what was
// done before.
// Errors       kInvalidArgument for settings that do not hold for any preset.
Result<Comparison> RunComparison(const ComparePlan& plan, bool* cancelled);

// Ok, or the first failure that is not "not supported"; kInvalidArgument where no preset is supported.
Status Judge(const Comparison& comparison);

}  // namespace sluice::cli
