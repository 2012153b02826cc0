#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "cli/config_input.h"

namespace sluice::cli {

// What `sluice train` is told beside the number of ranks, also where `sluice launch` passes it on.
struct TrainInput {
  ConfigInput config;
  std::string run_dir;
  bool quiet = false;
};

void AddTrainInput(Verb* verb, TrainInput* input, bool required = true);

// The arguments of `sluice train` that say the same.
std::vector<std::string> TrainArguments(const TrainInput& input);

// Errors       kInvalidArgument naming the option where `text` is no number from 1 to 64.
Result<int> ParseRanks(const std::string& option, const std::string& text);

}  // namespace sluice::cli
