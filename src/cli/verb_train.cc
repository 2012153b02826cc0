#include "base/log.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/rank_process.h"
#include "cli/reference.h"
#include "cli/train_input.h"
#include "cli/verbs.h"
#include "comm/mpi.h"
#include "train/api.h"

namespace sluice::cli {

void AddTrain(Application* application) {
  struct Arguments {
    TrainInput input;
    std::string ranks = "1";
  };
  auto args = std::make_shared<Arguments>();
  Verb* verb = application->Add("train", "Train a model, evaluate it, and write a run folder with its checkpoints.");
  AddTrainInput(verb, &args->input);
  AddRanks(verb, "Train with", &args->ranks);
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
    SLUICE_ASSIGN_OR_RETURN(options.ranks, RanksOf(args->ranks));
    CatchInterrupts();
    const auto print = [](const train::TrainReport& report) { return PrintLine(report.ToText()); };
    if (comm::LaunchedByMpi()) return FinishRank(train::TrainAsRank(config, options, LeaveAfterLoss), print);
    auto report = train::Train(config, options);
    return report.ok() ? print(*report) : report.status();
  });
}

}  // namespace sluice::cli
