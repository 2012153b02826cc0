#include <algorithm>

#include <fmt/format.h>

#include "base/log.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "config/describe.h"
#include "config/reader.h"
#include "config/text.h"
#include "config/writer.h"
#include "data/synth.h"

namespace sluice::cli {
namespace {

std::string OptionName(const std::string& key) {
  std::string name = key;
  std::replace(name.begin(), name.end(), '_', '-');
  return "--" + name;
}

std::string OptionText(const config::KeyInfo& key) {
  std::string facts = key.range;
  if (!key.unit.empty()) facts += (facts.empty() ? "" : " ") + key.unit;
  if (!key.default_value.empty() && key.default_value != "\"\"")
    facts += (facts.empty() ? "" : "; ") + fmt::format("default {}", key.default_value);
  return facts.empty() ? key.text : fmt::format("{} [{}]", key.text, facts);
}

}  // namespace

// Every setting of the generator is an option, made from its schema.
void AddSynth(Application* application) {
  struct Argument {
    config::KeyInfo key;
    std::string value;
  };
  auto args = std::make_shared<std::vector<Argument>>();
  for (const auto& key : config::Describe<data::SynthConfig>())
    if (!key.section) args->push_back({key, ""});
  Verb* verb = application->Add("synth", "Write a synthetic click log whose best reachable AUC is known.");
  for (Argument& argument : *args)
    verb->Option(OptionName(argument.key.path), "VALUE", &argument.value, OptionText(argument.key));
  verb->Action([args] {
    InitLogging(true);
    data::SynthConfig config;
    for (const Argument& argument : *args) {
      if (argument.value.empty()) continue;
      const Status status =
          config::ReadOption(OptionName(argument.key.path), argument.key.path, argument.value, &config);
      if (!status.ok()) return status;
    }
    auto report = data::Synthesize(config);
    if (!report.ok()) return report.status();
    // Data on standard output must stay data.
    if (config.output != "-") return PrintLine(report->ToText());
    std::fprintf(stderr, "%s\n", report->ToText().c_str());
    return Status::Ok();
  });
}

}  // namespace sluice::cli
