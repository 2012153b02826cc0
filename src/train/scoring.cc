// Evaluate and Predict of train/api.h, in one process and on several ranks.

#include <chrono>
#include <cmath>
#include <functional>
#include <iterator>
#include <utility>

#include <fmt/format.h>

#include "base/output_file.h"
#include "placement/ownership.h"
#include "telemetry/metrics_file.h"
#include "telemetry/resource.h"
#include "train/api.h"
#include "train/model.h"
#include "train/run_ranks.h"

namespace sluice::train {
namespace {

// Between columns of the input, hence of the output too.
std::string Separator(const Model& model) {
  if (model.features().format != "csv") return "\t";
  const std::string& separator = model.config().data.separator;
  return separator == "\\t" ? "\t" : separator;
}

// What the run's configuration says, and this call over it. Where it cannot be read every rank will say so itself.
std::chrono::milliseconds TimeoutOf(const std::string& checkpoint, const std::vector<std::string>& overrides) {
  auto config = Model::ConfigOf(checkpoint, overrides);
  return Timeout(config.ok() ? config->strategy : placement::StrategyConfig());
}

Result<metric::Metrics> EvaluateOn(const EvaluateOptions& options, const ModelRanks& ranks) {
  const auto adjust = [&](RunConfig* config) {
    if (options.ranks > 1) config->threads = ShareOfThreads(config->threads, options.ranks);
    if (options.inputs.empty()) return;
    config->data.eval = options.inputs;
    config->data.split = {};
  };
  SLUICE_ASSIGN_OR_RETURN(const auto model, Model::Load(options.checkpoint, options.overrides, adjust, ranks));
  if (!data::HasEvaluation(model->config().data)) {
    const Status status =
        InvalidArgument("{}: the run has no held-out data; name files to evaluate on", options.checkpoint);
    return ranks.ranks != nullptr ? ranks.ranks->LeaveTogether(status) : status;
  }
  const double begin_s = telemetry::WallSeconds();
  SLUICE_ASSIGN_OR_RETURN(const auto source, model->Open(data::Purpose::kEval));
  SLUICE_ASSIGN_OR_RETURN(const metric::Metrics metrics, model->Evaluate(source.get()));
  const bool leads = ranks.ranks == nullptr || ranks.ranks->leads();
  if (options.json.empty() || !leads) return metrics;
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
  return metrics;
}

// A line for each of some samples of a batch.
class Lines {
 public:
  Lines(const Model& model, const PredictOptions& options)
      : separator_(Separator(model)),
        labels_(model.schema().labels),
        columns_(options.columns),
        probabilities_(model.config().model.loss != "mse") {}

  std::string Names() const {
    std::string line;
    for (const auto& column : columns_) line += column + separator_;
    for (size_t l = 0; l < labels_.size(); ++l)
      line += (l > 0 ? separator_ : "") + (labels_.size() == 1 ? "score" : "score_" + labels_[l]);
    return line + '\n';
  }
  void Append(const data::Batch& batch, const float* scores, Range samples, std::string* lines) const {
    for (int64_t i = samples.begin; i < samples.end; ++i) {
      if (!columns_.empty()) *lines += batch.passthrough[static_cast<size_t>(i)] + separator_;
      for (size_t l = 0; l < labels_.size(); ++l) {
        const double score = static_cast<double>(scores[static_cast<size_t>(i) * labels_.size() + l]);
        if (l > 0) *lines += separator_;
        fmt::format_to(std::back_inserter(*lines), "{:.9g}", probabilities_ ? 1.0 / (1.0 + std::exp(-score)) : score);
      }
      *lines += '\n';
    }
  }

 private:
  std::string separator_;
  std::vector<std::string> labels_, columns_;
  bool probabilities_;
};

// Every rank parses all samples, since lines to predict need not be alike, and computes and prints its own; rank 0
// joins what they printed.
Result<PredictReport> PredictOn(const PredictOptions& options, const ModelRanks& ranks) {
  const double begin_s = telemetry::WallSeconds();
  const auto adjust = [&](RunConfig* config) {
    if (options.ranks > 1) config->threads = ShareOfThreads(config->threads, options.ranks);
    config->data.eval = options.inputs;
    config->data.split = {};
    config->data.passthrough = options.columns;
  };
  SLUICE_ASSIGN_OR_RETURN(const auto model, Model::Load(options.checkpoint, options.overrides, adjust, ranks));
  SLUICE_ASSIGN_OR_RETURN(const auto source, model->Open(data::Purpose::kPredict));
  const bool leads = ranks.ranks == nullptr || ranks.ranks->leads();
  const Lines printer(*model, options);
  OutputFile output;
  if (leads) SLUICE_RETURN_IF_ERROR(output.Open(options.output));
  PredictReport report;
  std::string lines;  // the names first, which go out with the first scores: data that cannot be read gives no output
  if (options.header && leads) lines = printer.Names();
  const auto visit = [&](const data::Batch& batch, const float* scores) -> Status {
    report.samples += batch.size;
    Range mine{0, batch.size};
    if (ranks.ranks != nullptr) mine = placement::SamplesOfRank(batch.size, ranks.ranks->rank(), ranks.ranks->size());
    printer.Append(batch, scores, mine, &lines);
    if (ranks.ranks != nullptr) {
      SLUICE_ASSIGN_OR_RETURN(const auto texts, ranks.ranks->Gather(lines));
      lines.clear();
      for (const std::string& text : texts) lines += text;
    }
    const Status status = leads ? output.Write(lines) : Status::Ok();
    lines.clear();
    return status;
  };
  SLUICE_RETURN_IF_ERROR(model->Score(source.get(), visit));
  Status status = leads ? output.Write(lines) : Status::Ok();
  if (status.ok() && leads) status = output.Finish();
  SLUICE_RETURN_IF_ERROR(ranks.ranks != nullptr ? ranks.ranks->Agree(status) : status);
  report.skipped_lines = source->stats().skipped_lines;
  report.wall_s = telemetry::WallSeconds() - begin_s;
  return report;
}

// One call of EvaluateOn or PredictOn, by one process or by its threads as ranks.
template <class R, class Options>
Result<R> ScoreHere(const Options& options, bool sharded_input, Result<R> (*score)(const Options&, const ModelRanks&)) {
  if (options.ranks > 1)
    return RunOnThreads<R>(
        options.ranks, TimeoutOf(options.checkpoint, options.overrides),
        [&](placement::Ranks* ranks) { return score(options, {.ranks = ranks, .sharded_input = sharded_input}); });
  try {
    return score(options, {});
  } catch (const StatusError& error) {
    return error.status();
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("out of memory");
  }
}

// By this process as one of several ranks; the result of rank 0 alone.
template <class R, class Options>
Result<std::optional<R>> ScoreAsRank(const Options& options, bool sharded_input, comm::Heartbeat::OnLost on_lost,
                                     Result<R> (*score)(const Options&, const ModelRanks&)) {
  using Leaders = std::optional<R>;
  return RunAsProcess<Leaders>(
      TimeoutOf(options.checkpoint, options.overrides), std::move(on_lost),
      [&](placement::Ranks* ranks) -> Result<Leaders> {
        SLUICE_ASSIGN_OR_RETURN(
            const R result, score(options, {.ranks = ranks, .are_processes = true, .sharded_input = sharded_input}));
        return ranks->leads() ? Leaders(result) : Leaders();
      });
}

}  // namespace

Result<metric::Metrics> Evaluate(const EvaluateOptions& options) {
  return ScoreHere<metric::Metrics>(options, true, EvaluateOn);
}

Result<std::optional<metric::Metrics>> EvaluateAsRank(const EvaluateOptions& options, comm::Heartbeat::OnLost on_lost) {
  return ScoreAsRank<metric::Metrics>(options, true, std::move(on_lost), EvaluateOn);
}

Result<PredictReport> Predict(const PredictOptions& options) {
  return ScoreHere<PredictReport>(options, false, PredictOn);
}

Result<std::optional<PredictReport>> PredictAsRank(const PredictOptions& options, comm::Heartbeat::OnLost on_lost) {
  return ScoreAsRank<PredictReport>(options, false, std::move(on_lost), PredictOn);
}

}  // namespace sluice::train
