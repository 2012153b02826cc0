#include "cli/score_input.h"

namespace sluice::cli {
namespace {

constexpr const char* kModel = "A checkpoint or run folder.";
constexpr const char* kSet = "Override a setting of the run; may be repeated.";

void AppendOption(const char* option, const std::vector<std::string>& values, std::vector<std::string>* arguments) {
  for (const std::string& value : values) arguments->insert(arguments->end(), {option, value});
}

// Last, as names that begin with a hyphen may be among them.
void AppendInputs(const std::string& model, const std::vector<std::string>& inputs,
                  std::vector<std::string>* arguments) {
  arguments->insert(arguments->end(), {"--", model});
  arguments->insert(arguments->end(), inputs.begin(), inputs.end());
}

}  // namespace

void AddEvalInput(Verb* verb, train::EvaluateOptions* options) {
  verb->Argument("model", &options->checkpoint, kModel, true);
  verb->Arguments("data", &options->inputs, "Data files; the run's own held-out data where left out.", false);
  verb->Options("--set", "KEY=VALUE", &options->overrides, kSet);
  verb->Option("--json", "FILE", &options->json, "Also write the metrics here as JSON.");
}

std::vector<std::string> EvalArguments(const train::EvaluateOptions& options) {
  std::vector<std::string> arguments = {"eval"};
  AppendOption("--set", options.overrides, &arguments);
  if (!options.json.empty()) AppendOption("--json", {options.json}, &arguments);
  AppendInputs(options.checkpoint, options.inputs, &arguments);
  return arguments;
}

void AddPredictInput(Verb* verb, PredictInput* input) {
  train::PredictOptions* options = &input->options;
  verb->Argument("model", &options->checkpoint, kModel, true);
  verb->Arguments("data", &options->inputs, "Data files; - or nothing for standard input.", false);
  verb->Option("-o,--output", "FILE", &options->output, "Where scores go; - is standard output (default).");
  verb->Options("--column", "NAME", &options->columns,
                "Copy this column of the input in front of the score; may be repeated.");
  verb->Options("--set", "KEY=VALUE", &options->overrides, kSet);
  verb->Flag("--no-header", &input->no_header, "Leave out the line that names the columns.");
  verb->Flag("-q,--quiet", &input->quiet, "Warnings and errors only.");
}

std::vector<std::string> PredictArguments(const PredictInput& input) {
  std::vector<std::string> arguments = {"predict"};
  AppendOption("--output", {input.options.output}, &arguments);
  AppendOption("--column", input.options.columns, &arguments);
  AppendOption("--set", input.options.overrides, &arguments);
  if (input.no_header) arguments.emplace_back("--no-header");
  if (input.quiet) arguments.emplace_back("--quiet");
  AppendInputs(input.options.checkpoint, input.options.inputs, &arguments);
  return arguments;
}

}  // namespace sluice::cli
