#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/log.h"
#include "config/reader.h"
#include "config/writer.h"
#include "placement/ranks.h"
#include "placement/strategy.h"
#include "telemetry/progress.h"
#include "train/api.h"
#include "train/peers.h"
#include "train/run_folder.h"
#include "train/run_ranks.h"
#include "train/service_worker.h"
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

namespace {

// Bytes per sample, all of them and by kind.
std::string Traffic(const TrainReport& report) {
  if (report.ranks == 1 && report.servers == 0) return "bytes sent 0 and received 0 per sample (one process)";
  const auto& bytes = report.bytes_per_sample;
  const auto of = [&](const std::string& kind) { return bytes.contains(kind) ? bytes.at(kind) : 0.0; };
  std::string kinds;
  for (const auto& [kind, value] : bytes)
    if (kind != "sent" && kind != "received")
      kinds += fmt::format("{}{} {:.1f}", kinds.empty() ? "" : ", ", kind, value);
  const std::string over = report.servers > 0 ? fmt::format("to and from {} parameter servers", report.servers)
                                              : fmt::format("over {} ranks", report.ranks);
  return fmt::format("bytes sent {:.1f} and received {:.1f} per sample {} ({})", of("sent"), of("received"), over,
                     kinds);
}

// What the planner had said beside what was sent.
std::string Predictions(const TrainReport& report) {
  std::string kinds;
  double predicted = 0, measured = 0;
  for (const auto& [kind, value] : report.predicted_bytes_per_sample) {
    const auto found = report.bytes_per_sample.find(kind);
    const double sent = found == report.bytes_per_sample.end() ? 0 : found->second;
    predicted += value;
    measured += sent;
    if (value > 0 || sent > 0) kinds += fmt::format("{}{} {:.1f} {:.1f}", kinds.empty() ? "" : ", ", kind, value, sent);
  }
  if (report.predicted_bytes_per_sample.empty()) return "";
  return fmt::format("bytes per sample predicted {:.1f}, measured {:.1f} (without control; {})\n", predicted, measured,
                     kinds);
}

// How evenly ranks share rows and traffic.
std::string Shares(const TrainReport& report) {
  if (report.shares.empty()) return "";
  const auto largest = [&](int64_t RankShare::*number) {
    int64_t most = 0;
    for (const RankShare& share : report.shares) most = std::max(most, share.*number);
    return static_cast<double>(most);
  };
  return fmt::format("largest rank: {} rows ({:.2f} of the mean), tables {}, sent {} ({:.2f} of the mean)\n",
                     telemetry::HumanCount(largest(&RankShare::rows)), Skew(report.shares, &RankShare::rows),
                     telemetry::HumanBytes(largest(&RankShare::table_bytes)),
                     telemetry::HumanBytes(largest(&RankShare::sent_bytes)),
                     Skew(report.shares, &RankShare::sent_bytes));
}

}  // namespace

double Skew(const std::vector<RankShare>& shares, int64_t RankShare::*number) {
  int64_t most = 0, all = 0;
  for (const RankShare& share : shares) {
    most = std::max(most, share.*number);
    all += share.*number;
  }
  return all == 0 ? 1.0 : static_cast<double>(most) * static_cast<double>(shares.size()) / static_cast<double>(all);
}

std::string TrainReport::ToText() const {
  std::string text;
  if (stopped_early)
    text += fmt::format("stopped early; best model is that of step {}\n", best_step > 0 ? best_step : steps);
  text +=
      fmt::format("{} steps, {} samples in {}, loss {:.5f}\n", steps, samples, telemetry::HumanDuration(train_s), loss);
  if (skipped_lines > 0) text += fmt::format("skipped {} bad lines\n", skipped_lines);
  if (evaluated) text += train::ToText(eval) + "\n";
  text += Predictions(*this);
  text += fmt::format("{} samples/s, peak memory {}, {}\n", telemetry::HumanCount(samples_per_s),
                      telemetry::HumanBytes(static_cast<double>(peak_rss_bytes)), Traffic(*this));
  if (servers > 0)
    text += fmt::format("staleness {:.2f} pushes on average, {} at most\n", staleness_mean, staleness_max);
  if (replayed_pushes + lost_pushes > 0)
    text += fmt::format("after restarts of servers {} pushes were sent again and {} were lost\n", replayed_pushes,
                        lost_pushes);
  text += Shares(*this);
  text += fmt::format("run folder {}", run_dir);
  if (!checkpoint.empty()) text += fmt::format("\nmodel {}", checkpoint);
  return text + "\n";
}

namespace {

template <class T>
Result<TrainReport> TrainAs(const RunConfig& config, const RunFolder& folder, const TrainOptions& options,
                            placement::Ranks* ranks) {
  SLUICE_ASSIGN_OR_RETURN(const auto trainer, Trainer<T>::Make(config, folder, options, ranks));
  auto report = trainer->Run();
  // Before the trainer's threads are waited for, which may themselves wait for the other ranks.
  if (!report.ok() && ranks != nullptr) return ranks->Leave(report.status());
  return report;
}

// The folder that rank 0 opened.
Result<RunFolder> ShareRunFolder(const RunConfig& config, const TrainOptions& options, placement::Ranks* ranks) {
  RunFolder folder;
  Result<std::string> mine = std::string();
  if (ranks->leads()) {
    auto opened = OpenRunFolder(config, options.run_dir);
    if (opened.ok()) {
      folder = std::move(opened).value();
      mine = folder.path + "\n" + folder.resume_from;
    } else {
      mine = opened.status();
    }
  }
  SLUICE_ASSIGN_OR_RETURN(const std::string shared, ranks->Share(mine));
  const size_t end = shared.find('\n');
  folder.path = shared.substr(0, end);
  folder.resume_from = shared.substr(end + 1);
  return folder;
}

Result<TrainReport> TrainByRanks(RunConfig config, const TrainOptions& options, placement::Ranks* ranks) {
  const bool processes = options.ranks == 1;  // threads of one process have its configuration, files and processors
  if (processes) SLUICE_RETURN_IF_ERROR(CheckPeers(config, ranks));
  SLUICE_RETURN_IF_ERROR(ranks->LeaveTogether(Validate(config)));
  SLUICE_RETURN_IF_ERROR(ranks->LeaveTogether(ValidateForRanks(config)));
  SLUICE_RETURN_IF_ERROR(RenameFields(&config));
  if (config.deterministic && ranks->size() > kNumChunks)
    return ranks->LeaveTogether(InvalidArgument(
        "deterministic: true takes at most {} ranks, one for each logical chunk of a batch", kNumChunks));
  if (processes) {
    SLUICE_ASSIGN_OR_RETURN(config.threads, AgreeOnThreads(config, ranks));
  }
  SLUICE_ASSIGN_OR_RETURN(const RunFolder folder, ShareRunFolder(config, options, ranks));
  return config.precision == "fp64" ? TrainAs<double>(config, folder, options, ranks)
                                    : TrainAs<float>(config, folder, options, ranks);
}

template <class T>
Result<TrainReport> TrainAsWorker(const RunConfig& config, const RunFolder& folder, const TrainOptions& options) {
  SLUICE_ASSIGN_OR_RETURN(const auto worker, ServiceWorker<T>::Make(config, folder, options));
  return worker->Run();
}

Result<TrainReport> TrainWithServers(RunConfig config, const TrainOptions& options) {
  if (options.ranks > 1)
    return InvalidArgument(
        "--ranks: workers of a parameter service are processes of their own; sluice launch starts them");
  try {
    SLUICE_RETURN_IF_ERROR(Validate(config));
    SLUICE_RETURN_IF_ERROR(ValidateForServers(config));
    SLUICE_RETURN_IF_ERROR(RenameFields(&config));
    SLUICE_ASSIGN_OR_RETURN(const RunFolder folder, OpenRunFolder(config, options.run_dir));
    return config.precision == "fp64" ? TrainAsWorker<double>(config, folder, options)
                                      : TrainAsWorker<float>(config, folder, options);
  } catch (const StatusError& error) {
    return error.status();
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("out of memory");
  }
}

}  // namespace

Result<std::optional<TrainReport>> TrainAsRank(const RunConfig& config, const TrainOptions& options,
                                               comm::Heartbeat::OnLost on_lost) {
  using Leaders = std::optional<TrainReport>;
  return RunAsProcess<Leaders>(Timeout(config.strategy), std::move(on_lost),
                               [&](placement::Ranks* ranks) -> Result<Leaders> {
                                 TrainOptions mine = options;
                                 mine.quiet = options.quiet || !ranks->leads();
                                 SLUICE_ASSIGN_OR_RETURN(TrainReport report, TrainByRanks(config, mine, ranks));
                                 return ranks->leads() ? Leaders(std::move(report)) : Leaders();
                               });
}

Result<TrainReport> Train(const RunConfig& configured, const TrainOptions& options) {
  RunConfig config = configured;
  if (placement::UsesServers(config.strategy)) return TrainWithServers(std::move(config), options);
  if (options.ranks > 1) {
    config.threads = ShareOfThreads(config.threads, options.ranks);
    return RunOnThreads<TrainReport>(options.ranks, Timeout(config.strategy),
                                     [&](placement::Ranks* ranks) { return TrainByRanks(config, options, ranks); });
  }
  try {
    SLUICE_RETURN_IF_ERROR(Validate(config));
    SLUICE_RETURN_IF_ERROR(RenameFields(&config));
    SLUICE_ASSIGN_OR_RETURN(const RunFolder folder, OpenRunFolder(config, options.run_dir));
    return config.precision == "fp64" ? TrainAs<double>(config, folder, options, nullptr)
                                      : TrainAs<float>(config, folder, options, nullptr);
  } catch (const StatusError& error) {
    return error.status();
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("out of memory");
  }
}

}  // namespace sluice::train
