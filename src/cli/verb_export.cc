#include <fmt/format.h>

#include "base/log.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "train/api.h"

namespace sluice::cli {

void AddExport(Application* application) {
  struct Arguments {
    train::ExportOptions options;
    bool no_tables = false;
  };
  auto args = std::make_shared<Arguments>();
  Verb* verb = application->Add("export", "Write a model as safetensors: dense parameters and tables.");
  verb->Argument("model", &args->options.checkpoint, "A checkpoint or run folder.", true);
  verb->Argument("output", &args->options.output, "The file to write, FILE.safetensors.", true);
  verb->Flag("--slots", &args->options.slots, "Optimizer state too.");
  verb->Flag("--no-tables", &args->no_tables, "Dense parameters only.");
  verb->Action([args] {
    InitLogging(true);
    train::ExportOptions options = args->options;
    options.tables = !args->no_tables;
    auto report = train::Export(options);
    if (!report.ok()) return report.status();
    return Print(fmt::format("{}: {} tensors, {} rows, {} bytes\n", options.output, report->tensors, report->rows,
                             report->bytes));
  });
}

}  // namespace sluice::cli
