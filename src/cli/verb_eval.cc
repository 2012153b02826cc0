#include "base/log.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "train/api.h"

namespace sluice::cli {

void AddEval(Application* application) {
  auto options = std::make_shared<train::EvaluateOptions>();
  Verb* verb = application->Add("eval", "Evaluate a model on labelled data.");
  verb->Argument("model", &options->checkpoint, "A checkpoint or run folder.", true);
  verb->Arguments("data", &options->inputs, "Data files; the run's own held-out data where left out.", false);
  verb->Options("--set", "KEY=VALUE", &options->overrides, "Override a setting of the run; may be repeated.");
  verb->Option("--json", "FILE", &options->json, "Also write the metrics here as JSON.");
  verb->Action([options] {
    InitLogging(true);
    CatchInterrupts();
    auto metrics = train::Evaluate(*options);
    if (!metrics.ok()) return metrics.status();
    return PrintLine(train::ToText(*metrics));
  });
}

}  // namespace sluice::cli
