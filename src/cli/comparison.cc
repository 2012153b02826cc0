#include "cli/comparison.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "telemetry/json_number.h"
#include "telemetry/progress.h"

namespace sluice::cli {
namespace {

using Json = nlohmann::ordered_json;

const char* StateName(ComparedRun::State state) {
  switch (state) {
    case ComparedRun::State::kDone:
      return "done";
    case ComparedRun::State::kNotSupported:
      return "not supported";
    case ComparedRun::State::kFailed:
      return "failed";
  }
  return "";
}

double Number(const nlohmann::json& json, const char* name) {
  const auto at = json.find(name);
  return at != json.end() && at->is_number() ? at->get<double>() : std::numeric_limits<double>::quiet_NaN();
}

// Ranks and parameter servers write the same kinds of bytes under names of their own.
std::string KindName(std::string name) {
  if (name == "input_keys") return "keys";
  std::replace(name.begin(), name.end(), '_', ' ');
  return name;
}

// Cells of equal width, the first column to the left, the others to the right.
class Table {
 public:
  void Row(std::vector<std::string> cells) { rows_.push_back({std::move(cells), ""}); }
  // A row whose first cell is followed by words.
  void Words(std::string name, std::string words) { rows_.push_back({{std::move(name)}, std::move(words)}); }

  std::string Text() const {
    std::vector<size_t> widths;
    for (const auto& [cells, words] : rows_)
      for (size_t c = 0; c < cells.size(); ++c) {
        if (widths.size() <= c) widths.push_back(0);
        widths[c] = std::max(widths[c], Width(cells[c]));
      }
    std::string text;
    for (const auto& [cells, words] : rows_) {
      std::string line;
      for (size_t c = 0; c < cells.size(); ++c) {
        const std::string pad(widths[c] - Width(cells[c]), ' ');
        line += c == 0 ? cells[c] + pad : "  " + pad + cells[c];
      }
      if (!words.empty()) line += "  " + words;
      line.erase(line.find_last_not_of(' ') + 1);
      text += line + "\n";
    }
    return text;
  }

 private:
  // Of UTF-8: bytes that begin a character.
  static size_t Width(const std::string& text) {
    return static_cast<size_t>(
        std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
  }
  std::vector<std::pair<std::vector<std::string>, std::string>> rows_;
};

std::string Fixed(const MeanSpread& value, int digits) {
  if (value.n == 0) return "-";
  std::string text = fmt::format("{:.{}f}", value.mean, digits);
  if (value.n > 1) text += fmt::format(" ±{:.{}f}", value.spread, digits);
  return text;
}

std::string Head(const Comparison& c) {
  std::string text =
      fmt::format("{}: {} processes that train, {} cores in all, {}\n", c.config, c.ranks, c.cores, c.network);
  text += fmt::format("batch size {} over all ranks", c.batch_size);
  if (c.servers > 0)
    text += fmt::format(" (presets ps-*: {} of each worker, {} server{})", c.worker_batch_size, c.servers,
                        c.servers > 1 ? "s" : "");
  text += c.samples > 0 ? fmt::format(", {} samples", telemetry::HumanCount(static_cast<double>(c.samples))) : "";
  text += fmt::format(", seed{}", c.seeds.size() > 1 ? "s" : "");
  for (const int64_t seed : c.seeds) text += fmt::format(" {}", seed);
  if (c.seeds.size() > 1) text += " (mean ± standard deviation)";
  text += fmt::format("\nAUC and log loss: {}\n", c.evaluated);
  if (c.ranks > c.cores)
    text += fmt::format("{} processes share {} cores: samples/s are not what as many machines would do; bytes are\n",
                        c.ranks, c.cores);
  return text;
}

std::vector<std::string> Kinds(const std::vector<ComparedPreset>& presets) {
  std::set<std::string> names;
  for (const ComparedPreset& preset : presets)
    for (const auto& [kind, bytes] : preset.bytes_per_sample())
      if (bytes > 0) names.insert(kind);
  return {names.begin(), names.end()};
}

}  // namespace

Status ReadReports(const std::vector<std::string>& texts, ComparedRun* run) {
  std::map<std::string, double> bytes;
  run->peak_rss_bytes.clear();
  run->samples = 0;
  run->train_s = 0;
  double staleness = 0, auc = 0, logloss = 0;
  for (const std::string& text : texts) {
    const auto json = nlohmann::json::parse(text, nullptr, false);
    const double samples = json.is_object() ? Number(json, "samples") : -1;
    if (!(samples >= 0) || !json.contains("bytes_per_sample") || !json["bytes_per_sample"].is_object())
      return DataLoss("metrics.json: not the report of a run");
    run->samples += static_cast<int64_t>(samples);
    const double train_s = Number(json, "train_s");
    if (train_s > run->train_s) run->train_s = train_s;
    // Rank 0 and worker 0 evaluate. Samples scored before they were trained on are each worker's own.
    const auto take = [&](const char* name, double* value, double* progressive) {
      if (std::isnan(*value)) *value = Number(json, name);
      if (samples > 0) *progressive += samples * Number(json, fmt::format("progressive_{}", name).c_str());
    };
    take("auc", &run->auc, &auc);
    take("logloss", &run->logloss, &logloss);
    staleness += samples * Number(json, "staleness_mean");
    for (const auto& [kind, value] : json["bytes_per_sample"].items())
      if (value.is_number()) bytes[KindName(kind)] += samples * value.get<double>();
    if (const auto processes = json.find("processes"); processes != json.end() && processes->is_array()) {
      for (const auto& process : *processes)
        if (process.is_object())
          run->peak_rss_bytes.push_back(static_cast<int64_t>(std::max(0.0, Number(process, "peak_rss_bytes"))));
    } else {
      run->peak_rss_bytes.push_back(static_cast<int64_t>(std::max(0.0, Number(json, "peak_rss_bytes"))));
    }
  }
  if (run->samples == 0) return DataLoss("the run trained on no sample");
  const auto samples = static_cast<double>(run->samples);
  run->samples_per_s = run->train_s > 0 ? samples / run->train_s : 0;
  run->staleness = staleness / samples;
  if (std::isnan(run->auc)) run->auc = auc / samples;
  if (std::isnan(run->logloss)) run->logloss = logloss / samples;
  run->bytes_per_sample.clear();
  // What a worker receives, its servers send.
  const bool service = std::isfinite(run->staleness);
  run->sent_per_sample = (bytes["sent"] + (service ? bytes["received"] : 0)) / samples;
  for (const auto& [kind, total] : bytes)
    if (kind != "sent" && kind != "received") run->bytes_per_sample[kind] = total / samples;
  for (const int64_t peak : run->peak_rss_bytes) run->largest_rss_bytes = std::max(run->largest_rss_bytes, peak);
  return Status::Ok();
}

MeanSpread Summarize(const std::vector<double>& values) {
  MeanSpread result;
  double sum = 0, squares = 0;
  for (const double value : values)
    if (std::isfinite(value)) {
      sum += value;
      ++result.n;
    }
  if (result.n == 0) return result;
  result.mean = sum / result.n;
  for (const double value : values)
    if (std::isfinite(value)) squares += (value - result.mean) * (value - result.mean);
  if (result.n > 1) result.spread = std::sqrt(squares / (result.n - 1));
  return result;
}

MeanSpread ComparedPreset::Of(double ComparedRun::*value) const {
  std::vector<double> values;
  for (const ComparedRun* run : done) values.push_back(run->*value);
  return Summarize(values);
}

std::map<std::string, double> ComparedPreset::bytes_per_sample() const {
  std::map<std::string, double> means;
  for (const ComparedRun* run : done)
    for (const auto& [kind, bytes] : run->bytes_per_sample) means[kind] += bytes / static_cast<double>(done.size());
  return means;
}

int64_t ComparedPreset::largest_rss_bytes() const {
  int64_t largest = 0;
  for (const ComparedRun* run : done) largest = std::max(largest, run->largest_rss_bytes);
  return largest;
}

std::vector<ComparedPreset> ByPreset(const Comparison& comparison) {
  std::vector<ComparedPreset> presets;
  for (const ComparedRun& run : comparison.runs) {
    auto at = std::find_if(presets.begin(), presets.end(), [&](const auto& p) { return p.preset == run.preset; });
    if (at == presets.end()) {
      presets.push_back({.preset = run.preset});
      at = presets.end() - 1;
    }
    if (run.state == ComparedRun::State::kDone) {
      at->done.push_back(&run);
    } else if (at->why_not.empty()) {
      at->not_supported = run.state == ComparedRun::State::kNotSupported;
      at->why_not = fmt::format("{}: {}", StateName(run.state), run.why);
    }
  }
  return presets;
}

std::string ToTable(const Comparison& comparison) {
  const auto presets = ByPreset(comparison);
  const auto kinds = Kinds(presets);
  const bool counted = std::any_of(presets.begin(), presets.end(),
                                   [](const auto& p) { return p.Of(&ComparedRun::wire_per_sample).n > 0; });
  const bool stale =
      std::any_of(presets.begin(), presets.end(), [](const auto& p) { return p.Of(&ComparedRun::staleness).n > 0; });
  Table main, bytes;
  std::vector<std::string> head = {"preset",   "samples/s", "B/sample", "AUC",
                                   "log loss", "memory",    "cores",    "CPU us/sample"};
  if (stale) head.push_back("staleness");
  main.Row(head);
  std::vector<std::string> kinds_head = {"B/sample"};
  kinds_head.insert(kinds_head.end(), kinds.begin(), kinds.end());
  if (counted) kinds_head.push_back("on the wire");
  bytes.Row(kinds_head);
  for (const ComparedPreset& preset : presets) {
    if (preset.done.empty()) {
      main.Words(preset.preset, preset.why_not);
      continue;
    }
    std::vector<std::string> cells = {preset.preset,
                                      Fixed(preset.Of(&ComparedRun::samples_per_s), 0),
                                      Fixed(preset.Of(&ComparedRun::sent_per_sample), 1),
                                      Fixed(preset.Of(&ComparedRun::auc), 5),
                                      Fixed(preset.Of(&ComparedRun::logloss), 5),
                                      telemetry::HumanBytes(static_cast<double>(preset.largest_rss_bytes())),
                                      Fixed(preset.Of(&ComparedRun::cores), 2),
                                      Fixed(preset.Of(&ComparedRun::cpu_us_per_sample), 1)};
    if (stale) cells.push_back(Fixed(preset.Of(&ComparedRun::staleness), 2));
    main.Row(cells);
    if (!preset.why_not.empty()) main.Words("", "another seed " + preset.why_not);
    const auto means = preset.bytes_per_sample();
    std::vector<std::string> row = {preset.preset};
    for (const std::string& kind : kinds)
      row.push_back(means.contains(kind) && means.at(kind) > 0 ? fmt::format("{:.1f}", means.at(kind)) : "-");
    if (counted) row.push_back(Fixed(preset.Of(&ComparedRun::wire_per_sample), 1));
    bytes.Row(row);
  }
  return Head(comparison) + "\n" + main.Text() + "\n" + bytes.Text();
}

std::string ToJson(const Comparison& comparison) {
  const auto number = telemetry::JsonNumber<Json>;
  const auto spread = [&](const MeanSpread& value) {
    return Json{{"mean", number(value.mean)}, {"standard_deviation", number(value.spread)}, {"runs", value.n}};
  };
  Json json = {{"config", comparison.config},
               {"network", comparison.network},
               {"link_mbit_per_s", number(comparison.link_mbit_per_s)},
               {"evaluated", comparison.evaluated},
               {"ranks", comparison.ranks},
               {"servers", comparison.servers},
               {"cores", comparison.cores},
               {"batch_size", comparison.batch_size},
               {"worker_batch_size", comparison.worker_batch_size},
               {"samples", comparison.samples},
               {"seeds", comparison.seeds},
               {"presets", Json::array()},
               {"runs", Json::array()}};
  for (const ComparedPreset& preset : ByPreset(comparison)) {
    Json entry = {{"preset", preset.preset}};
    if (!preset.why_not.empty()) entry["why_not"] = preset.why_not;
    if (!preset.done.empty()) {
      entry["samples_per_s"] = spread(preset.Of(&ComparedRun::samples_per_s));
      entry["sent_per_sample"] = spread(preset.Of(&ComparedRun::sent_per_sample));
      entry["wire_per_sample"] = spread(preset.Of(&ComparedRun::wire_per_sample));
      entry["auc"] = spread(preset.Of(&ComparedRun::auc));
      entry["logloss"] = spread(preset.Of(&ComparedRun::logloss));
      entry["staleness"] = spread(preset.Of(&ComparedRun::staleness));
      entry["cores_busy"] = spread(preset.Of(&ComparedRun::cores));
      entry["cpu_us_per_sample"] = spread(preset.Of(&ComparedRun::cpu_us_per_sample));
      entry["largest_rss_bytes"] = preset.largest_rss_bytes();
      for (const auto& [kind, bytes] : preset.bytes_per_sample()) entry["bytes_per_sample"][kind] = number(bytes);
    }
    json["presets"].push_back(entry);
  }
  for (const ComparedRun& run : comparison.runs) {
    Json entry = {{"preset", run.preset}, {"seed", run.seed}, {"state", StateName(run.state)}};
    if (run.state == ComparedRun::State::kDone) {
      entry.update({{"samples", run.samples},
                    {"train_s", number(run.train_s)},
                    {"samples_per_s", number(run.samples_per_s)},
                    {"sent_per_sample", number(run.sent_per_sample)},
                    {"wire_per_sample", number(run.wire_per_sample)},
                    {"auc", number(run.auc)},
                    {"logloss", number(run.logloss)},
                    {"staleness", number(run.staleness)},
                    {"cores_busy", number(run.cores)},
                    {"cpu_us_per_sample", number(run.cpu_us_per_sample)},
                    {"largest_rss_bytes", run.largest_rss_bytes},
                    {"peak_rss_bytes", run.peak_rss_bytes}});
      entry["bytes_per_sample"] = Json::object();
      for (const auto& [kind, bytes] : run.bytes_per_sample) entry["bytes_per_sample"][kind] = number(bytes);
    } else {
      entry["why"] = run.why;
    }
    json["runs"].push_back(entry);
  }
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace sluice::cli
