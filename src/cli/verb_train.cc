#include <unistd.h>

#include <atomic>
#include <charconv>
#include <cstdio>
#include <cstdlib>

#include "base/log.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/reference.h"
#include "cli/train_input.h"
#include "cli/verbs.h"
#include "comm/mpi.h"
#include "train/api.h"

namespace sluice::cli {

namespace {

// One process of those that a launcher started. A failure ends it here: leaving MPI in good order would wait for a peer
// that is lost. Of two threads that come here one speaks.
[[noreturn]] void LeaveRank(const Status& status) {
  static std::atomic<bool> left{false};
  if (left.exchange(true))
    for (;;) pause();
  std::fprintf(stderr, "sluice: %s\n", OneLine(status.message()).c_str());
  std::fflush(nullptr);
  comm::FinishMpi(true, status.ExitCode());
  std::_Exit(status.ExitCode());
}

Status TrainUnderMpi(const train::RunConfig& config, const train::TrainOptions& options) {
  auto report = train::TrainAsRank(
      config, options, [](int rank, const Status& why) { LeaveRank(why.WithContext(fmt::format("rank {}", rank))); });
  if (!report.ok()) LeaveRank(report.status());
  if (report->is_leader) SLUICE_RETURN_IF_ERROR(PrintLine(report->ToText()));
  comm::FinishMpi(false, 0);
  return Status::Ok();
}

}  // namespace

void AddTrain(Application* application) {
  struct Arguments {
    TrainInput input;
    std::string ranks = "1";
  };
  auto args = std::make_shared<Arguments>();
  Verb* verb = application->Add("train", "Train a model, evaluate it, and write a run folder with its checkpoints.");
  AddTrainInput(verb, &args->input);
  verb->Option("--ranks", "N", &args->ranks,
               "Train with N ranks that are threads of this process; see the strategy section.");
  verb->Footer([] {
    return "\nExamples:\n"
           "  sluice train config.yaml --set train.batch_size=4096\n"
           "  sluice train train.libffm --model fm --eval test.libffm\n\n" +
           SectionOverview();
  });
  verb->Action([args] {
    InitLogging(args->input.quiet);
    train::RunConfig config;
    SLUICE_ASSIGN_OR_RETURN(config, LoadConfig(args->input.config));
    train::TrainOptions options = {.run_dir = args->input.run_dir, .quiet = args->input.quiet};
    SLUICE_ASSIGN_OR_RETURN(options.ranks, ParseRanks("--ranks", args->ranks));
    CatchInterrupts();
    if (comm::LaunchedByMpi()) {
      if (options.ranks > 1)
        return InvalidArgument("--ranks {}: this process is a rank of those that a launcher started already",
                               args->ranks);
      return TrainUnderMpi(config, options);
    }
    auto report = train::Train(config, options);
    if (!report.ok()) return report.status();
    return PrintLine(report->ToText());
  });
}

}  // namespace sluice::cli
