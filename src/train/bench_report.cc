#include <cmath>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "telemetry/progress.h"
#include "train/api.h"

namespace sluice::train {
namespace {

using Json = nlohmann::ordered_json;

template <class Pairs>
Json Object(const Pairs& values) {
  Json json = Json::object();
  for (const auto& [name, value] : values) json[name] = value;
  return json;
}

// Of all ranks, each kind of traffic: bytes sent per sample, and milliseconds of exchanges of a rank per step on
// average.
std::string TrafficLines(const BenchReport& report) {
  std::string text;
  const double steps = static_cast<double>(report.steps), samples = static_cast<double>(report.samples);
  for (const auto& [kind, unused] : report.ranks[0].sent_bytes) {
    double bytes = 0, seconds = 0;
    for (const BenchRank& rank : report.ranks) {
      bytes += rank.sent_bytes.at(kind);
      seconds += rank.exchange_s.at(kind);
    }
    if (bytes == 0) continue;
    text += fmt::format("  exchange {:<16} {:9.1f} bytes a sample over all ranks, {:8.3f} ms a step\n", kind,
                        bytes / samples, 1e3 * seconds / static_cast<double>(report.ranks.size()) / steps);
  }
  return text;
}

Json ToJson(const BenchReport& report) {
  Json json;
  json["workload"] = report.workload;
  json["precision"] = report.precision;
  json["bf16_products"] = report.bf16_products;
  json["processor"] = report.processor;
  json["threads"] = report.threads;
  json["batch_size"] = report.batch_size;
  json["steps"] = report.steps;
  json["samples"] = report.samples;
  json["samples_per_s"] = report.samples_per_s;
  json["rounds"] = report.rounds;
  json["samples_per_s_per_core"] = report.samples_per_s_per_core;
  json["cpu_use"] = report.cpu_use;
  json["roofline_samples_per_s"] = report.roofline_samples_per_s;
  json["roofline_share"] = report.roofline_share;
  json["roofline_s_per_sample"] = Object(report.roofline_s_per_sample);
  json["machine"] = Object(report.machine);
  json["time_by_part_s"] = Object(report.time_by_part_s);
  json["unique_share"] = report.unique_share;
  json["unique_rows_per_sample"] = report.unique_rows_per_sample;
  json["bytes_per_row"] = report.bytes_per_row;
  json["rows"] = report.rows;
  json["flops_per_sample"] = report.flops_per_sample;
  json["first_step_s"] = report.first_step_s;
  if (std::isfinite(report.auc)) json["auc"] = report.auc;
  json["logloss"] = report.logloss;
  json["peak_rss_bytes"] = report.peak_rss_bytes;
  if (!report.ranks.empty()) {
    json["placement"] = report.placement;
    json["strategy"] = report.strategy;
    if (report.predicted_step_s > 0) json["predicted_step_s"] = report.predicted_step_s;
    for (const BenchRank& rank : report.ranks) {
      Json of_rank;
      of_rank["sent_bytes"] = Object(rank.sent_bytes);
      of_rank["exchange_s"] = Object(rank.exchange_s);
      of_rank["messages"] = rank.messages;
      of_rank["sent_bytes_in_all"] = rank.sent_bytes_in_all;
      of_rank["cpu_s"] = rank.cpu_s;
      of_rank["peak_rss_bytes"] = rank.peak_rss_bytes;
      of_rank["time_by_part_s"] = Object(rank.time_by_part_s);
      json["ranks"].push_back(of_rank);
    }
  }
  return json;
}

}  // namespace

std::string BenchReport::ToText() const {
  std::string text = fmt::format("{} {}: {} samples/s (batch {}, {} threads, {} steps; {} a core, {:.2f} cores busy)\n",
                                 workload, precision, telemetry::HumanCount(samples_per_s), batch_size, threads, steps,
                                 telemetry::HumanCount(samples_per_s_per_core), cpu_use);
  if (roofline_samples_per_s > 0)
    text += fmt::format("roofline {} samples/s; share {:.1f}%\n", telemetry::HumanCount(roofline_samples_per_s),
                        100 * roofline_share);
  for (const auto& [name, value] : roofline_s_per_sample)
    text += fmt::format("  roofline {:<12} {:8.3f} us a sample\n", name, 1e6 * value);
  for (const auto& [name, value] : machine) text += fmt::format("  machine {:<28} {:.4g}\n", name, value);
  for (const auto& [name, value] : time_by_part_s)
    text += fmt::format("  time {:<16} {:8.3f} ms a step\n", name, 1e3 * value);
  if (!ranks.empty())
    text += fmt::format("{} ranks, {}{}; this rank's times above\n{}", ranks.size(), strategy,
                        placement == strategy ? "" : " for " + placement, TrafficLines(*this));
  text += fmt::format("{:.2f} unique rows a sample ({:.1f}% of occurrences), {:.1f} bytes a row, {} rows\n",
                      unique_rows_per_sample, 100 * unique_share, bytes_per_row, rows);
  const std::string ranked = std::isfinite(auc) ? fmt::format("AUC {:.4f}, ", auc) : "";
  text += fmt::format("{:.2f} MFLOP a sample, first step after {:.2f} s, {}log loss {:.4f}, peak memory {}\n",
                      1e-6 * flops_per_sample, first_step_s, ranked, logloss,
                      telemetry::HumanBytes(static_cast<double>(peak_rss_bytes)));
  return text;
}

std::string ToJson(const std::vector<BenchReport>& reports) {
  Json json;
  if (reports.size() == 1)
    json = ToJson(reports[0]);
  else
    for (const BenchReport& report : reports) json.push_back(ToJson(report));
  return json.dump(2) + "\n";
}

}  // namespace sluice::train
