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

// A failure ends the process here: leaving MPI in good order would wait for a peer that is lost.
Status BenchUnderMpi(const train::RunConfig& config, const train::BenchOptions& options) {
  auto report = train::BenchAsRank(config, options);
  if (!report.ok()) {
    std::fprintf(stderr, "sluice: %s\n", report.status().message().c_str());
    std::fflush(nullptr);
    comm::FinishMpi(true, report.status().ExitCode());
  } else if (report->is_leader) {
    SLUICE_RETURN_IF_ERROR(PrintLine(report->ToText()));
  }
  comm::FinishMpi(false, 0);
  return report.status();
}

}  // namespace

void AddBench(Application* application) {
  struct Arguments {
    ConfigInput config;
    train::BenchOptions options;
    bool quiet = false;
    std::string ranks = "1";
  };
  auto args = std::make_shared<Arguments>();
  Verb* verb = application->Add("bench", "Measure training speed and its share of what the machine can do.");
  verb->Arguments("config", &args->config.inputs, "A configuration (.yaml); its section bench is the workload.", true);
  verb->Options("--set", "KEY=VALUE", &args->config.set, "Override a setting; may be repeated.");
  verb->Option("--json", "FILE", &args->options.json, "Also write the report here as JSON.");
  verb->Option("--ranks", "N", &args->ranks,
               "Bench N ranks that are threads of this process and share `threads`; see the strategy section.");
  verb->Flag("-q,--quiet", &args->quiet, "Warnings and errors only.");
  verb->Action([args] {
    InitLogging(args->quiet);
    if (args->config.inputs.size() != 1 || !IsYamlName(args->config.inputs[0]))
      return InvalidArgument("bench needs one configuration (.yaml), not \"{}\"", args->config.inputs[0]);
    train::RunConfig config;
    SLUICE_ASSIGN_OR_RETURN(config, LoadConfig(args->config));
    SLUICE_ASSIGN_OR_RETURN(args->options.ranks, ParseRanks("--ranks", args->ranks));
    CatchInterrupts();
    if (comm::LaunchedByMpi()) {
      if (args->options.ranks > 1)
        return InvalidArgument("--ranks {}: this process is a rank of those that a launcher started already",
                               args->ranks);
      return BenchUnderMpi(config, args->options);
    }
    auto report = train::Bench(config, args->options);
    if (!report.ok()) return report.status();
    return PrintLine(report->ToText());
  });
}

}  // namespace sluice::cli
