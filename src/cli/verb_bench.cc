#include "base/log.h"
#include "cli/config_input.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "train/api.h"

namespace sluice::cli {

void AddBench(Application* application) {
  struct Arguments {
    ConfigInput config;
    train::BenchOptions options;
    bool quiet = false;
  };
  auto args = std::make_shared<Arguments>();
  Verb* verb = application->Add("bench", "Measure training speed and its share of what the machine can do.");
  verb->Arguments("config", &args->config.inputs, "A configuration (.yaml); its section bench is the workload.", true);
  verb->Options("--set", "KEY=VALUE", &args->config.set, "Override a setting; may be repeated.");
  verb->Option("--json", "FILE", &args->options.json, "Also write the report here as JSON.");
  verb->Flag("-q,--quiet", &args->quiet, "Warnings and errors only.");
  verb->Action([args] {
    InitLogging(args->quiet);
    if (args->config.inputs.size() != 1 || !IsYamlName(args->config.inputs[0]))
      return InvalidArgument("bench needs one configuration (.yaml), not \"{}\"", args->config.inputs[0]);
    train::RunConfig config;
    SLUICE_ASSIGN_OR_RETURN(config, LoadConfig(args->config));
    CatchInterrupts();
    auto report = train::Bench(config, args->options);
    if (!report.ok()) return report.status();
    return PrintLine(report->ToText());
  });
}

}  // namespace sluice::cli
