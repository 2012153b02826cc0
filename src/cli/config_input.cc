#include "cli/config_input.h"

#include <algorithm>

#include "base/huge_pages.h"
#include "base/join.h"
#include "config/reader.h"
#include "config/text.h"
#include "config/writer.h"

namespace sluice::cli {

void AddConfigInput(Verb* verb, ConfigInput* input, bool required) {
  verb->Arguments("input", &input->inputs, "A configuration (.yaml), or data files, globs or - for standard input.",
                  required);
  verb->Options("--set", "KEY=VALUE", &input->set, "Override a setting; may be repeated.");
  verb->Option("--model", "NAME", &input->model, "Model preset: model.preset.");
  verb->Options("--eval", "FILE", &input->eval, "Held-out data: data.eval; may be repeated.");
  verb->Options("--label", "COLUMN", &input->label, "Label column: data.label; may be repeated.");
}

bool IsYamlName(const std::string& name) { return name.ends_with(".yaml") || name.ends_with(".yml"); }

std::string ListValue(const std::vector<std::string>& values) {
  std::vector<std::string> items;
  for (const std::string& value : values) items.push_back(config::YamlText(config::EscapeEnvironment(value)));
  return fmt::format("[{}]", Join(items, ", "));
}

Result<train::RunConfig> LoadConfig(const ConfigInput& input) {
  const auto yaml = std::count_if(input.inputs.begin(), input.inputs.end(), IsYamlName);
  if (yaml > 0 && input.inputs.size() > 1)
    return InvalidArgument("one configuration or data files, not both and not several: {}", Join(input.inputs, " "));

  train::RunConfig config;
  if (yaml == 1) {
    SLUICE_RETURN_IF_ERROR(config::ReadFile(input.inputs[0], input.set, &config));
  } else {
    config = train::ConfigForFiles(input.inputs, input.eval, config.model.preset);
    SLUICE_RETURN_IF_ERROR(config::ReadOverrides(input.set, &config));
  }
  if (!input.model.empty()) SLUICE_RETURN_IF_ERROR(config::ReadOption("--model", "model.preset", input.model, &config));
  if (!input.eval.empty())
    SLUICE_RETURN_IF_ERROR(config::ReadOption("--eval", "data.eval", ListValue(input.eval), &config));
  if (!input.label.empty())
    SLUICE_RETURN_IF_ERROR(config::ReadOption("--label", "data.label", ListValue(input.label), &config));
  if (!config.huge_pages) RefuseHugePages();
  return config;
}

}  // namespace sluice::cli
