#include "telemetry/metrics_file.h"

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "telemetry/json_number.h"

namespace sluice::telemetry {

Status WriteMetricsFile(const std::string& path, const RunMetrics& metrics) {
  using Json = nlohmann::ordered_json;
  const auto number = JsonNumber<Json>;
  Json json;
  json["auc"] = number(metrics.auc);
  json["logloss"] = number(metrics.logloss);
  json["ne"] = number(metrics.ne);
  json["calibration"] = number(metrics.calibration);
  json["rmse"] = number(metrics.rmse);
  json["gauc"] = number(metrics.gauc);
  json["samples"] = metrics.samples;
  json["eval_samples"] = metrics.eval_samples;
  json["samples_per_s"] = number(metrics.samples_per_s);
  json["peak_rss_bytes"] = metrics.peak_rss_bytes;
  json["wall_s"] = number(metrics.wall_s);
  json["cpu_s"] = number(metrics.cpu_s);
  json["bytes_per_sample"] = Json::object();
  for (const auto& [kind, bytes] : metrics.bytes_per_sample) json["bytes_per_sample"][kind] = number(bytes);
  if (!metrics.predicted_bytes_per_sample.empty()) json["predicted_bytes_per_sample"] = Json::object();
  for (const auto& [kind, bytes] : metrics.predicted_bytes_per_sample)
    json["predicted_bytes_per_sample"][kind] = number(bytes);
  json["processes"] = Json::array();
  for (const ProcessUse& process : metrics.processes)
    json["processes"].push_back({{"peak_rss_bytes", process.peak_rss_bytes}, {"cpu_s", number(process.cpu_s)}});
  for (const auto& [name, value] : metrics.others) json[name] = number(value);
  return WriteFileAtomically(path, json.dump(2) + "\n");
}

}  // namespace sluice::telemetry
