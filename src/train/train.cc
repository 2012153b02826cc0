#include <cmath>

#include <fmt/format.h>

#include "base/log.h"
#include "telemetry/progress.h"
#include "train/api.h"
#include "train/run_folder.h"
#include "train/trainer.h"
#include "train/warm_start.h"

namespace sluice::train {

std::atomic<bool>& InterruptFlag() {
  static std::atomic<bool> flag{false};
  return flag;
}

std::map<std::string, double> ByName(const metric::Metrics& metrics) {
  std::map<std::string, double> values;
  const auto put = [&](const char* name, double value) {
    if (!std::isnan(value)) values[name] = value;
  };
  put("auc", metrics.auc);
  put("gauc", metrics.gauc);
  put("logloss", metrics.logloss);
  put("ne", metrics.ne);
  put("calibration", metrics.calibration);
  put("rmse", metrics.rmse);
  put("mean_prediction", metrics.mean_prediction);
  put("base_rate", metrics.base_rate);
  put("samples", static_cast<double>(metrics.samples));
  return values;
}

std::string ToText(const metric::Metrics& metrics) {
  std::string text;
  const auto put = [&](const char* name, double value) {
    if (!std::isnan(value)) text += fmt::format("{}{} {:.6f}", text.empty() ? "" : ", ", name, value);
  };
  put("AUC", metrics.auc);
  put("GAUC", metrics.gauc);
  put("logloss", metrics.logloss);
  put("NE", metrics.ne);
  put("calibration", metrics.calibration);
  put("RMSE", metrics.rmse);
  return fmt::format("{} ({} samples)", text, metrics.samples);
}

std::string TrainReport::ToText() const {
  std::string text;
  if (stopped_early) text += fmt::format("stopped early; best model is that of step {}\n", best_step > 0 ? best_step : steps);
  text += fmt::format("{} steps, {} samples in {}, loss {:.5f}\n", steps, samples, telemetry::HumanDuration(train_s), loss);
  if (skipped_lines > 0) text += fmt::format("skipped {} bad lines\n", skipped_lines);
  if (evaluated) text += train::ToText(eval) + "\n";
  text += fmt::format("{} samples/s, peak memory {}, bytes sent 0 and received 0 per sample (one process)\n",
                      telemetry::HumanCount(samples_per_s), telemetry::HumanBytes(static_cast<double>(peak_rss_bytes)));
  text += fmt::format("run folder {}", run_dir);
  if (!checkpoint.empty()) text += fmt::format("\nmodel {}", checkpoint);
  return text + "\n";
}

namespace {

template <class T>
Result<TrainReport> TrainAs(const RunConfig& config, const RunFolder& folder, const TrainOptions& options) {
  SLUICE_ASSIGN_OR_RETURN(const auto trainer, Trainer<T>::Make(config, folder, options));
  return trainer->Run();
}

}  // namespace

Result<TrainReport> Train(const RunConfig& configured, const TrainOptions& options) {
  RunConfig config = configured;
  try {
    SLUICE_RETURN_IF_ERROR(Validate(config));
    SLUICE_RETURN_IF_ERROR(RenameFields(&config));
    SLUICE_ASSIGN_OR_RETURN(const RunFolder folder, OpenRunFolder(config, options.run_dir));
    return config.precision == "fp64" ? TrainAs<double>(config, folder, options)
                                      : TrainAs<float>(config, folder, options);
  } catch (const StatusError& error) {
    return error.status();
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("out of memory");
  }
}

}  // namespace sluice::train
