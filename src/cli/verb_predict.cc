#include "base/log.h"
#include "cli/interrupt.h"
#include "cli/rank_process.h"
#include "cli/score_input.h"
#include "cli/verbs.h"

namespace sluice::cli {

void AddPredict(Application* application) {
  struct Arguments {
    PredictInput input;
    std::string ranks = "1";
  };
  auto args = std::make_shared<Arguments>();
  Verb* verb = application->Add("predict", "Write a score for every sample of the data.");
  AddPredictInput(verb, &args->input);
  AddRanks(verb, "Predict by", &args->ranks);
  verb->Action([args] {
    InitLogging(args->input.quiet);
    train::PredictOptions& options = args->input.options;
    options.header = !args->input.no_header;
    if (options.inputs.empty()) options.inputs = {"-"};
    SLUICE_ASSIGN_OR_RETURN(options.ranks, RanksOf(args->ranks));
    CatchInterrupts();
    const auto tell = [](const train::PredictReport& report) {
      SLUICE_INFO("{} samples scored in {:.1f} s, {} bad lines skipped", report.samples, report.wall_s,
                  report.skipped_lines);
      return Status::Ok();
    };
    if (comm::LaunchedByMpi()) return FinishRank(train::PredictAsRank(options, LeaveAfterLoss), tell);
    auto report = train::Predict(options);
    return report.ok() ? tell(*report) : report.status();
  });
}

}  // namespace sluice::cli
