#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "cli/application.h"
#include "train/config.h"

namespace sluice::cli {

// How a verb is told what to run: one YAML file, or data files and a model's name without any YAML; overrides come on
// top.
struct ConfigInput {
  std::vector<std::string> inputs;
  std::vector<std::string> eval;
  std::string model;
  std::vector<std::string> label;
  std::vector<std::string> set;
};

void AddConfigInput(Verb* verb, ConfigInput* input, bool required = true);

// Whether a name is that of a YAML file.
bool IsYamlName(const std::string& name);

// A text or a list of texts as the right side of an override, quoted where YAML needs it.
std::string ListValue(const std::vector<std::string>& values);

// Semantics    what the configuration says of the process as a whole (huge_pages) holds from then on.
// Errors       kInvalidArgument naming the file and line, or the option.
Result<train::RunConfig> LoadConfig(const ConfigInput& input);

}  // namespace sluice::cli
