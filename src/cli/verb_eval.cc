#include "base/log.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/rank_process.h"
#include "cli/score_input.h"
#include "cli/verbs.h"

namespace sluice::cli {

void AddEval(Application* application) {
  struct Arguments {
    train::EvaluateOptions options;
    std::string ranks = "1";
  };
  auto args = std::make_shared<Arguments>();
  Verb* verb = application->Add("eval", "Evaluate a model on labelled data.");
  AddEvalInput(verb, &args->options);
  AddRanks(verb, "Evaluate by", &args->ranks);
  verb->Action([args] {
    InitLogging(true);
    SLUICE_ASSIGN_OR_RETURN(args->options.ranks, RanksOf(args->ranks));
    CatchInterrupts();
    const auto print = [](const metric::Metrics& metrics) { return PrintLine(train::ToText(metrics)); };
    if (comm::LaunchedByMpi()) return FinishRank(train::EvaluateAsRank(args->options, LeaveAfterLoss), print);
    auto metrics = train::Evaluate(args->options);
    return metrics.ok() ? print(*metrics) : metrics.status();
  });
}

}  // namespace sluice::cli
