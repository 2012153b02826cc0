#include <fmt/format.h>

#include "base/log.h"
#include "cli/config_input.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "data/open.h"
#include "train/model_state.h"

namespace sluice::cli {
namespace {

struct PackArguments {
  ConfigInput config;
  std::string output;
  std::string part = "train";
};

Status Pack(const PackArguments& args) {
  if (args.part != "train" && args.part != "eval")
    return InvalidArgument("--part {}: must be train or eval", args.part);
  train::RunConfig config;
  SLUICE_ASSIGN_OR_RETURN(config, LoadConfig(args.config));
  // Shuffling and dropping negatives belong to training, which may do both on packed data.
  config.data.shuffle_window = 0;
  config.data.negative_keep_rate = 1;
  data::FittedFeatures features;
  SLUICE_ASSIGN_OR_RETURN(features,
                          data::FitFeatures(config.data, config.features, train::WantsDenseInput(config.model)));
  data::OpenOptions options;
  options.purpose = args.part == "train" ? data::Purpose::kTrain : data::Purpose::kEval;
  options.batch_size = 8192;
  options.seed = static_cast<uint64_t>(config.seed);
  if (options.purpose == data::Purpose::kEval && !data::HasEvaluation(config.data))
    return InvalidArgument("--part eval: the configuration has neither data.eval nor data.split");
  std::unique_ptr<data::BatchSource> source;
  SLUICE_ASSIGN_OR_RETURN(source, data::OpenSource(config.data, features, options));
  int64_t samples = 0;
  SLUICE_ASSIGN_OR_RETURN(samples, data::Pack(source.get(), features, args.output));
  return Print(
      fmt::format("{}: {} samples, {} bad lines skipped\n", args.output, samples, source->stats().skipped_lines));
}

}  // namespace

void AddPack(Application* application) {
  auto args = std::make_shared<PackArguments>();
  Verb* verb = application->Add("pack", "Write data as a packed file, which is read many times faster than text.");
  AddConfigInput(verb, &args->config);
  verb->Option("-o,--output", "FILE", &args->output, "The file to write, FILE.sluice.");
  verb->Option("--part", "train|eval", &args->part,
               "Which side of the data: train (default) or eval, both with the transforms fitted on train.");
  verb->Action([args] {
    InitLogging(true);
    if (args->output.empty()) return InvalidArgument("pack needs --output FILE.sluice");
    return Pack(*args);
  });
}

}  // namespace sluice::cli
