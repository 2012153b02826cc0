#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "cli/application.h"
#include "train/api.h"

// `sluice eval` and `sluice predict`: what they are told beside the number of ranks, also where `sluice launch` passes
// it on.
namespace sluice::cli {

void AddEvalInput(Verb* verb, train::EvaluateOptions* options);
std::vector<std::string> EvalArguments(const train::EvaluateOptions& options);

struct PredictInput {
  train::PredictOptions options = {.inputs = {}};
  bool no_header = false;
  bool quiet = false;
};
void AddPredictInput(Verb* verb, PredictInput* input);
std::vector<std::string> PredictArguments(const PredictInput& input);

}  // namespace sluice::cli
