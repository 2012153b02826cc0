// Evaluate and Predict of train/api.h.

#include <cmath>
#include <iterator>

#include <fmt/format.h>

#include "base/output_file.h"
#include "telemetry/metrics_file.h"
#include "telemetry/resource.h"
#include "train/api.h"
#include "train/model.h"

namespace sluice::train {
namespace {

// Between columns of the input, hence of the output too.
std::string Separator(const Model& model) {
  if (model.features().format != "csv") return "\t";
  const std::string& separator = model.config().data.separator;
  return separator == "\\t" ? "\t" : separator;
}

}  // namespace

Result<metric::Metrics> Evaluate(const EvaluateOptions& options) {
  try {
    SLUICE_ASSIGN_OR_RETURN(const auto model,
                            Model::Load(options.checkpoint, options.overrides, [&](RunConfig* config) {
                              if (options.inputs.empty()) return;
                              config->data.eval = options.inputs;
                              config->data.split = {};
                            }));
    if (!data::HasEvaluation(model->config().data))
      return InvalidArgument("{}: the run has no held-out data; name files to evaluate on", options.checkpoint);
    const double begin_s = telemetry::WallSeconds();
    SLUICE_ASSIGN_OR_RETURN(const auto source, model->Open(data::Purpose::kEval));
    SLUICE_ASSIGN_OR_RETURN(const metric::Metrics metrics, model->Evaluate(source.get()));
    if (!options.json.empty()) {
      telemetry::RunMetrics run;
      run.auc = metrics.auc;
      run.logloss = metrics.logloss;
      run.ne = metrics.ne;
      run.calibration = metrics.calibration;
      run.rmse = metrics.rmse;
      run.gauc = metrics.gauc;
      run.eval_samples = metrics.samples;
      run.wall_s = telemetry::WallSeconds() - begin_s;
      run.cpu_s = telemetry::CpuSeconds();
      run.peak_rss_bytes = telemetry::PeakRssBytes();
      SLUICE_RETURN_IF_ERROR(telemetry::WriteMetricsFile(options.json, run));
    }
    return metrics;
  } catch (const StatusError& error) {
    return error.status();
  }
}

Result<PredictReport> Predict(const PredictOptions& options) {
  try {
    const double begin_s = telemetry::WallSeconds();
    SLUICE_ASSIGN_OR_RETURN(const auto model,
                            Model::Load(options.checkpoint, options.overrides, [&](RunConfig* config) {
                              config->data.eval = options.inputs;
                              config->data.split = {};
                              config->data.passthrough = options.columns;
                            }));
    SLUICE_ASSIGN_OR_RETURN(const auto source, model->Open(data::Purpose::kPredict));
    const std::string separator = Separator(*model);
    const auto& labels = model->schema().labels;
    const bool bce = model->config().model.loss != "mse";
    OutputFile output;
    SLUICE_RETURN_IF_ERROR(output.Open(options.output));
    PredictReport report;
    std::string lines;  // the names first, which go out with the first scores: data that cannot be read gives no output
    if (options.header) {
      for (const auto& column : options.columns) lines += column + separator;
      for (size_t l = 0; l < labels.size(); ++l)
        lines += (l > 0 ? separator : "") + (labels.size() == 1 ? "score" : "score_" + labels[l]);
      lines += '\n';
    }
    SLUICE_RETURN_IF_ERROR(model->Score(source.get(), [&](const data::Batch& batch, const float* scores) {
      for (int64_t i = 0; i < batch.size; ++i) {
        if (!options.columns.empty()) lines += batch.passthrough[static_cast<size_t>(i)] + separator;
        for (size_t l = 0; l < labels.size(); ++l) {
          const double score = static_cast<double>(scores[static_cast<size_t>(i) * labels.size() + l]);
          if (l > 0) lines += separator;
          fmt::format_to(std::back_inserter(lines), "{:.9g}", bce ? 1.0 / (1.0 + std::exp(-score)) : score);
        }
        lines += '\n';
      }
      report.samples += batch.size;
      const Status status = output.Write(lines);
      lines.clear();
      return status;
    }));
    SLUICE_RETURN_IF_ERROR(output.Write(lines));
    SLUICE_RETURN_IF_ERROR(output.Finish());
    report.skipped_lines = source->stats().skipped_lines;
    report.wall_s = telemetry::WallSeconds() - begin_s;
    return report;
  } catch (const StatusError& error) {
    return error.status();
  }
}

}  // namespace sluice::train
