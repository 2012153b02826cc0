#include <algorithm>

#include "base/join.h"
#include "base/log.h"
#include "cli/config_input.h"
#include "cli/csv_guess.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "config/describe.h"
#include "config/reader.h"
#include "config/text.h"
#include "config/writer.h"
#include "data/byte_input.h"
#include "data/features.h"
#include "data/open.h"
#include "train/config.h"
#include "train/model_state.h"

namespace sluice::cli {
namespace {

struct InitArguments {
  std::vector<std::string> inputs;
  std::vector<std::string> eval;
  std::string label;
  std::string model = "deepfm";
  std::string output = "-";
};

constexpr size_t kHeadBytes = size_t{4} << 20;

Result<std::string> Head(const std::string& path) {
  std::unique_ptr<data::ByteInput> input;
  SLUICE_ASSIGN_OR_RETURN(input, data::ByteInput::Open(path));
  std::string text(kHeadBytes, '\0');
  size_t size = 0;
  while (size < text.size()) {
    size_t more = 0;
    SLUICE_ASSIGN_OR_RETURN(more, input->Read(text.data() + size, text.size() - size));
    if (more == 0) break;
    size += more;
  }
  text.resize(size);
  if (text.empty()) return DataLoss("{}: is empty", path);
  // A last line without newline counts where the whole file was read.
  if (size < kHeadBytes && text.back() != '\n') text += '\n';
  return text;
}

// A Criteo line has 40 columns; other text with tabs is a csv file whose name says nothing.
bool LooksLikeCriteo(const std::string& text) {
  const auto end = std::find(text.begin(), text.end(), '\n');
  return std::count(text.begin(), end, '\t') == 39;
}

// {type: numeric, transform: log}: what differs from the defaults, and always the type.
std::string FeatureText(const data::FeatureConfig& feature) {
  static const auto defaults = config::Describe<data::FeatureConfig>();
  const auto keys = config::Describe(feature);
  std::vector<std::string> parts;
  for (size_t i = 0; i < keys.size(); ++i) {
    if (keys[i].path == "type" || keys[i].default_value != defaults[i].default_value)
      parts.push_back(keys[i].path + ": " + keys[i].default_value);
  }
  return fmt::format("{{{}}}", Join(parts, ", "));
}

// "C17" is ("C", 17); -1 where a name does not end with a number that can be written back.
std::pair<std::string, int64_t> NumberedName(const std::string& name) {
  const size_t digits = name.find_last_not_of("0123456789") + 1;
  int64_t number = -1;
  if (digits == name.size() || name.size() - digits > 9 || (name[digits] == '0' && name.size() - digits > 1) ||
      !config::ParseInteger(name.substr(digits), &number))
    return {name, -1};
  return {name.substr(0, digits), number};
}

// One line a feature; runs such as C1 C2 ... C26 with equal settings become C{1..26}.
std::string FeatureLines(const data::FeatureList& features) {
  std::string out;
  for (size_t i = 0; i < features.size();) {
    const std::string text = FeatureText(features[i].second);
    const auto [stem, first] = NumberedName(features[i].first);
    size_t end = i + 1;
    while (first >= 0 && end < features.size() && FeatureText(features[end].second) == text &&
           NumberedName(features[end].first) == std::pair(stem, first + static_cast<int64_t>(end - i)))
      ++end;
    // Two names are clearer than a range.
    if (end - i < 3) end = i + 1;
    std::string name = config::YamlText(config::EscapeRanges(features[i].first));
    if (end - i >= 3) {
      name = fmt::format("{}{{{}..{}}}", config::EscapeRanges(stem), first, first + static_cast<int64_t>(end - i) - 1);
      const std::string quoted = config::YamlText(stem);
      if (quoted[0] == '"') name = "\"" + name + "\"";
    }
    out += fmt::format("  {}: {}\n", name, text);
    i = end;
  }
  return out;
}

std::string DataLines(const data::DataConfig& data, const CsvGuess* guess, bool has_eval) {
  std::string out = fmt::format("data:\n  format: {}\n  train: {}\n", data.format, ListValue(data.train));
  if (has_eval) {
    out += fmt::format("  eval: {}\n", ListValue(data.eval));
  } else {
    out += "  split: {kind: hash, fraction: 0.1}   # no --eval: a tenth of the samples is held out\n";
  }
  if (guess == nullptr) return out;
  const auto reason = [](const std::string& text) { return text.empty() ? "" : "   # " + text; };
  out += fmt::format("  label: {}{}\n", config::YamlText(guess->label), reason(guess->label_reason));
  if (!guess->positive_label.empty())
    out += fmt::format("  positive_label: {}{}\n", config::YamlText(guess->positive_label),
                       reason(guess->positive_reason));
  if (guess->regression) out += "  label_min: -.inf   # labels are not in [0, 1]: see model.loss\n  label_max: .inf\n";
  if (guess->separator != ',')
    out += fmt::format("  separator: {}\n", config::YamlText(std::string(1, guess->separator)));
  if (!guess->header) out += fmt::format("  header: false\n  columns: {}\n", ListValue(guess->columns));
  if (!guess->ids.empty())
    out += fmt::format("  passthrough: {}   # another value in every line: no feature\n", ListValue(guess->ids));
  return out;
}

Status Init(const InitArguments& args) {
  train::RunConfig run;
  SLUICE_RETURN_IF_ERROR(config::ReadOption("--model", "model.preset", args.model, &run));
  data::DataConfig& data = run.data;
  data.train = args.inputs;
  data.eval = args.eval;
  std::vector<std::string> files;
  SLUICE_ASSIGN_OR_RETURN(files, data::ExpandFiles(data.train));
  if (files.front() == "-") return InvalidArgument("init looks at files; standard input cannot be read again by train");
  data.format = data::ResolveFormat(data);
  CsvGuess guess;
  bool is_csv = data.format == "csv";
  if (is_csv || data.format == "criteo") {
    std::string head;
    SLUICE_ASSIGN_OR_RETURN(head, Head(files.front()));
    is_csv = is_csv || !LooksLikeCriteo(head);
    if (is_csv) {
      SLUICE_ASSIGN_OR_RETURN(guess, GuessCsv(head, files.front(), args.label));
    }
  }
  if (!is_csv && !args.label.empty())
    return InvalidArgument("--label {}: files of format {} have their label in its place", args.label, data.format);
  if (is_csv) {
    data.format = "csv";
    data.label = {guess.label};
    data.positive_label = guess.positive_label;
    data.separator = std::string(1, guess.separator);
    data.header = guess.header;
    if (!guess.header) data.columns = guess.columns;
    data.passthrough = guess.ids;
  }
  data::FeatureList features;
  SLUICE_ASSIGN_OR_RETURN(features, data::InferFeatures(data, train::WantsDenseInput(run.model)));
  for (auto& [name, feature] : features) {
    if (std::find(guess.multi.begin(), guess.multi.end(), name) == guess.multi.end()) continue;
    feature = data::FeatureConfig();
    feature.multi = true;
  }
  std::string yaml =
      fmt::format("# Made by sluice init from {}; `sluice reference` explains every key.\n", Join(args.inputs, " "));
  if (is_csv)
    yaml += fmt::format("# Types are inferred from the first {} lines; check label and features.\n", guess.lines);
  yaml += "seed: 1\n" + DataLines(data, is_csv ? &guess : nullptr, !data.eval.empty());
  yaml += "features:\n" + FeatureLines(features);
  yaml += fmt::format("model:\n  preset: {}\n{}", args.model, guess.regression ? "  loss: mse\n" : "");
  yaml += "train:\n  batch_size: 2048\n  epochs: 1\n";
  return WriteOutput(args.output, yaml);
}

}  // namespace

void AddInit(Application* application) {
  auto args = std::make_shared<InitArguments>();
  Verb* verb =
      application->Add("init", "Write a configuration for data files: types inferred, label guessed and said.");
  verb->Arguments("data", &args->inputs, "Data files or globs.", true);
  verb->Options("--eval", "FILE", &args->eval, "Held-out data; may be repeated.");
  verb->Option("--label", "COLUMN", &args->label, "Label column of csv files; guessed where left out.");
  verb->Option("--model", "NAME", &args->model, "Model preset (default deepfm).");
  verb->Option("-o,--output", "FILE", &args->output, "Where the configuration goes; - is standard output (default).");
  verb->Action([args] {
    InitLogging(true);
    return Init(*args);
  });
}

}  // namespace sluice::cli
