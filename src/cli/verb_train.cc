#include <charconv>
#include <cstdio>
#include <cstdlib>

#include "base/log.h"
#include "cli/config_input.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/reference.h"
#include "cli/verbs.h"
#include "comm/mpi.h"
#include "train/api.h"

namespace sluice::cli {

namespace {

Result<int> ParseRanks(const std::string& text) {
  int ranks = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), ranks);
  if (error != std::errc() || end != text.data() + text.size() || ranks < 1 || ranks > 64)
    return InvalidArgument("--ranks {}: a number from 1 to 64 was expected", text);
  return ranks;
}

// One process of those that mpirun or srun started. A failure ends it here: leaving MPI in good order would wait for a
// peer that is lost.
Status TrainUnderMpi(const train::RunConfig& config, const train::TrainOptions& options) {
  const auto leave = [](const Status& status) {
    std::fprintf(stderr, "sluice: %s\n", status.message().c_str());
    std::fflush(nullptr);
    comm::FinishMpi(true, status.ExitCode());
    std::_Exit(status.ExitCode());
  };
  auto report = train::TrainAsRank(config, options, [leave](int rank) {
    leave(Status(StatusCode::kUnavailable, fmt::format("rank {} was silent for the time of strategy.timeout_s", rank)));
  });
  if (!report.ok()) leave(report.status());
  if (report->is_leader) SLUICE_RETURN_IF_ERROR(PrintLine(report->ToText()));
  comm::FinishMpi(false, 0);
  return Status::Ok();
}

}  // namespace

void AddTrain(Application* application) {
  struct Arguments {
    ConfigInput config;
    train::TrainOptions options;
    std::string ranks = "1";
  };
  auto args = std::make_shared<Arguments>();
  Verb* verb = application->Add("train", "Train a model, evaluate it, and write a run folder with its checkpoints.");
  AddConfigInput(verb, &args->config);
  verb->Option("--run-dir", "DIR", &args->options.run_dir,
               "Run folder; a run that was interrupted goes on from its newest checkpoint.");
  verb->Option("--ranks", "N", &args->ranks,
               "Train with N ranks that are threads of this process; see the strategy section.");
  verb->Flag("-q,--quiet", &args->options.quiet, "No progress line; warnings and errors only.");
  verb->Footer([] {
    return "\nExamples:\n"
           "  sluice train config.yaml --set train.batch_size=4096\n"
           "  sluice train train.libffm --model fm --eval test.libffm\n\n" +
           SectionOverview();
  });
  verb->Action([args] {
    InitLogging(args->options.quiet);
    train::RunConfig config;
    SLUICE_ASSIGN_OR_RETURN(config, LoadConfig(args->config));
    SLUICE_ASSIGN_OR_RETURN(args->options.ranks, ParseRanks(args->ranks));
    CatchInterrupts();
    if (comm::LaunchedByMpi()) {
      if (args->options.ranks > 1)
        return InvalidArgument("--ranks {}: this process is a rank of those that a launcher started already", args->ranks);
      return TrainUnderMpi(config, args->options);
    }
    auto report = train::Train(config, args->options);
    if (!report.ok()) return report.status();
    return PrintLine(report->ToText());
  });
}

}  // namespace sluice::cli
