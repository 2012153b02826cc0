#include "base/log.h"
#include "cli/interrupt.h"
#include "cli/verbs.h"
#include "train/api.h"

namespace sluice::cli {

void AddPredict(Application* application) {
  struct Arguments {
    train::PredictOptions options;
    bool no_header = false;
    bool quiet = false;
  };
  auto args = std::make_shared<Arguments>();
  args->options.inputs.clear();
  Verb* verb = application->Add("predict", "Write a score for every sample of the data.");
  verb->Argument("model", &args->options.checkpoint, "A checkpoint or run folder.", true);
  verb->Arguments("data", &args->options.inputs, "Data files; - or nothing for standard input.", false);
  verb->Option("-o,--output", "FILE", &args->options.output, "Where scores go; - is standard output (default).");
  verb->Options("--column", "NAME", &args->options.columns,
                "Copy this column of the input in front of the score; may be repeated.");
  verb->Options("--set", "KEY=VALUE", &args->options.overrides, "Override a setting of the run; may be repeated.");
  verb->Flag("--no-header", &args->no_header, "Leave out the line that names the columns.");
  verb->Flag("-q,--quiet", &args->quiet, "Warnings and errors only.");
  verb->Action([args] {
    InitLogging(args->quiet);
    CatchInterrupts();
    train::PredictOptions options = args->options;
    options.header = !args->no_header;
    if (options.inputs.empty()) options.inputs = {"-"};
    auto report = train::Predict(options);
    if (!report.ok()) return report.status();
    SLUICE_INFO("{} samples scored in {:.1f} s, {} bad lines skipped", report->samples, report->wall_s,
                report->skipped_lines);
    return Status::Ok();
  });
}

}  // namespace sluice::cli
