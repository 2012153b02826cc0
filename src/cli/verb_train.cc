#include "base/log.h"
#include "cli/config_input.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/reference.h"
#include "cli/verbs.h"
#include "train/api.h"

namespace sluice::cli {

void AddTrain(Application* application) {
  struct Arguments {
    ConfigInput config;
    train::TrainOptions options;
  };
  auto args = std::make_shared<Arguments>();
  Verb* verb = application->Add("train", "Train a model, evaluate it, and write a run folder with its checkpoints.");
  AddConfigInput(verb, &args->config);
  verb->Option("--run-dir", "DIR", &args->options.run_dir,
               "Run folder; a run that was interrupted goes on from its newest checkpoint.");
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
    CatchInterrupts();
    auto report = train::Train(config, args->options);
    if (!report.ok()) return report.status();
    return PrintLine(report->ToText());
  });
}

}  // namespace sluice::cli
