#include "train/run_metrics.h"

namespace sluice::train {

telemetry::RunMetrics MetricsOf(const TrainReport& report) {
  telemetry::RunMetrics metrics;
  metrics.auc = report.eval.auc;
  metrics.logloss = report.eval.logloss;
  metrics.ne = report.eval.ne;
  metrics.calibration = report.eval.calibration;
  metrics.rmse = report.eval.rmse;
  metrics.gauc = report.eval.gauc;
  metrics.samples = report.samples;
  metrics.eval_samples = report.eval.samples;
  metrics.samples_per_s = report.samples_per_s;
  metrics.peak_rss_bytes = report.peak_rss_bytes;
  metrics.wall_s = report.wall_s;
  metrics.cpu_s = report.cpu_s;
  for (const auto& [kind, bytes] : report.bytes_per_sample) metrics.bytes_per_sample.emplace_back(kind, bytes);
  for (const auto& [kind, bytes] : report.predicted_bytes_per_sample)
    metrics.predicted_bytes_per_sample.emplace_back(kind, bytes);
  return metrics;
}

}  // namespace sluice::train
