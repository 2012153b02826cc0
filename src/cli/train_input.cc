#include "cli/train_input.h"

#include <charconv>

namespace sluice::cli {

void AddTrainInput(Verb* verb, TrainInput* input, bool required) {
  AddConfigInput(verb, &input->config, required);
  verb->Option("--run-dir", "DIR", &input->run_dir,
               "Run folder; a run that was interrupted goes on from its newest checkpoint.");
  verb->Flag("-q,--quiet", &input->quiet, "No progress line; warnings and errors only.");
}

std::vector<std::string> TrainArguments(const TrainInput& input) {
  std::vector<std::string> arguments = {"train"};
  const auto add = [&](const char* option, const std::string& value) {
    arguments.push_back(option);
    arguments.push_back(value);
  };
  for (const std::string& value : input.config.set) add("--set", value);
  if (!input.config.model.empty()) add("--model", input.config.model);
  for (const std::string& value : input.config.eval) add("--eval", value);
  for (const std::string& value : input.config.label) add("--label", value);
  if (!input.run_dir.empty()) add("--run-dir", input.run_dir);
  if (input.quiet) arguments.push_back("--quiet");
  arguments.push_back("--");
  arguments.insert(arguments.end(), input.config.inputs.begin(), input.config.inputs.end());
  return arguments;
}

Result<int> ParseRanks(const std::string& option, const std::string& text) {
  int ranks = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), ranks);
  if (error != std::errc() || end != text.data() + text.size() || ranks < 1 || ranks > 64)
    return InvalidArgument("{} {}: a number from 1 to 64 was expected", option, text);
  return ranks;
}

}  // namespace sluice::cli
