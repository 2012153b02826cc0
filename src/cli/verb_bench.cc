#include <algorithm>
#include <cstdio>

#include "base/log.h"
#include "cli/config_input.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/train_input.h"
#include "cli/verbs.h"
#include "comm/mpi.h"
#include "train/api.h"

namespace sluice::cli {

namespace {

Status Print(const std::vector<train::BenchReport>& reports) {
  for (const train::BenchReport& report : reports) SLUICE_RETURN_IF_ERROR(PrintLine(report.ToText()));
  return Status::Ok();
}

// A failure ends the process here: leaving MPI in good order would wait for a peer that is lost.
Status BenchUnderMpi(const std::vector<train::RunConfig>& configs, const train::BenchOptions& options) {
  auto reports = train::BenchAsRank(configs, options);
  if (!reports.ok()) {
    std::fprintf(stderr, "sluice: %s\n", reports.status().message().c_str());
    std::fflush(nullptr);
    comm::FinishMpi(true, reports.status().ExitCode());
    return reports.status();
  }
  if (reports->front().is_leader) SLUICE_RETURN_IF_ERROR(Print(*reports));
  comm::FinishMpi(false, 0);
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
  verb->Option("--ranks", "N", &args->ranks,
               "Bench N ranks that are threads of this process and share `threads`; see the strategy section.");
  verb->Option("--placements", "LIST", &args->placements,
               "Of several ranks: bench each in place of strategy.placement, round by round: des,rows_a2a,auto.");
  verb->Flag("-q,--quiet", &args->quiet, "Warnings and errors only.");
  verb->Action([args] {
    InitLogging(args->quiet);
    if (args->config.inputs.size() != 1 || !IsYamlName(args->config.inputs[0]))
      return InvalidArgument("bench needs one configuration (.yaml), not \"{}\"", args->config.inputs[0]);
    SLUICE_ASSIGN_OR_RETURN(const auto configs, LoadConfigs(args->config, args->placements));
    SLUICE_ASSIGN_OR_RETURN(args->options.ranks, ParseRanks("--ranks", args->ranks));
    CatchInterrupts();
    if (comm::LaunchedByMpi()) {
      if (args->options.ranks > 1)
        return InvalidArgument("--ranks {}: this process is a rank of those that a launcher started already",
                               args->ranks);
      return BenchUnderMpi(configs, args->options);
    }
    auto reports = train::Bench(configs, args->options);
    return reports.ok() ? Print(*reports) : reports.status();
  });
}

}  // namespace sluice::cli
