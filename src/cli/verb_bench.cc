#include <algorithm>

#include "base/log.h"
#include "cli/config_input.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/rank_process.h"
#include "cli/verbs.h"
#include "train/api.h"

namespace sluice::cli {

namespace {

Status PrintAll(const std::vector<train::BenchReport>& reports) {
  for (const train::BenchReport& report : reports) SLUICE_RETURN_IF_ERROR(PrintLine(report.ToText()));
  return Status::Ok();
}

// A configuration for each of a list of placements, or the one that is given.
Result<std::vector<train::RunConfig>> LoadConfigs(const ConfigInput& input, const std::string& placements) {
  std::vector<train::RunConfig> configs;
  for (size_t begin = 0; begin < placements.size();) {
    const size_t end = std::min(placements.find(',', begin), placements.size());
    ConfigInput one = input;
    one.set.push_back("strategy.placement=" + placements.substr(begin, end - begin));
    SLUICE_ASSIGN_OR_RETURN(configs.emplace_back(), LoadConfig(one));
    begin = end + 1;
  }
  if (configs.empty()) {
    SLUICE_ASSIGN_OR_RETURN(configs.emplace_back(), LoadConfig(input));
  }
  return configs;
}

}  // namespace

void AddBench(Application* application) {
  struct Arguments {
    ConfigInput config;
    train::BenchOptions options;
    bool quiet = false;
    std::string ranks = "1", placements;
  };
  auto args = std::make_shared<Arguments>();
  Verb* verb = application->Add("bench", "Measure training speed and its share of what the machine can do.");
  verb->Arguments("config", &args->config.inputs, "A configuration (.yaml); its section bench is the workload.", true);
  verb->Options("--set", "KEY=VALUE", &args->config.set, "Override a setting; may be repeated.");
  verb->Option("--json", "FILE", &args->options.json, "Also write the report here as JSON.");
  AddRanks(verb, "Bench", &args->ranks);
  verb->Option("--placements", "LIST", &args->placements,
               "Of several ranks: bench each in place of strategy.placement, round by round: des,rows_a2a,auto.");
  verb->Flag("-q,--quiet", &args->quiet, "Warnings and errors only.");
  verb->Action([args] {
    InitLogging(args->quiet);
    if (args->config.inputs.size() != 1 || !IsYamlName(args->config.inputs[0]))
      return InvalidArgument("bench needs one configuration (.yaml), not \"{}\"", args->config.inputs[0]);
    SLUICE_ASSIGN_OR_RETURN(const auto configs, LoadConfigs(args->config, args->placements));
    SLUICE_ASSIGN_OR_RETURN(args->options.ranks, RanksOf(args->ranks));
    CatchInterrupts();
    if (comm::LaunchedByMpi()) return FinishRank(train::BenchAsRank(configs, args->options), PrintAll);
    auto reports = train::Bench(configs, args->options);
    return reports.ok() ? PrintAll(*reports) : reports.status();
  });
}

}  // namespace sluice::cli
