// What train::Trainer logs and reports.
#include <algorithm>
#include <array>
#include <utility>

#include "telemetry/metrics_file.h"
#include "telemetry/resource.h"
#include "train/run_metrics.h"
#include "train/trainer.h"

namespace sluice::train {

template <class T>
double Trainer<T>::Fraction(const WorkingSet& set) const {
  const TrainConfig& train = header_.config.train;
  if (train.max_steps > 0) return static_cast<double>(header_.progress.step) / static_cast<double>(train.max_steps);
  if (total_bytes_ == 0) return 0;
  return std::min(1.0, static_cast<double>(set.stats.bytes) / (static_cast<double>(total_bytes_) * train.epochs));
}

template <class T>
Status Trainer<T>::LogStretch(double lr) {
  const double now = telemetry::WallSeconds();
  if (stretch_.weight > 0) report_.loss = stretch_.loss / stretch_.weight;
  const Status status = Log({"step",
                             header_.progress.step,
                             header_.progress.samples,
                             {{"epoch", static_cast<double>(header_.progress.epoch)},
                              {"loss", report_.loss},
                              {"lr", lr},
                              {"samples_per_s", stretch_samples_ / std::max(1e-9, now - stretch_begin_s_)},
                              {"rss_bytes", static_cast<double>(telemetry::RssBytes())}}});
  stretch_ = {};
  stretch_samples_ = stretch_steps_ = 0;
  stretch_begin_s_ = last_log_s_ = now;
  return status;
}

template <class T>
Status Trainer<T>::FillReport() {
  report_.run_dir = folder_.path;
  report_.stopped_early = header_.progress.stopped_early;
  report_.steps = header_.progress.step;
  report_.wall_s = telemetry::WallSeconds() - start_s_;
  report_.train_s = train_s_;
  report_.samples_per_s = train_s_ > 0 ? report_.samples / train_s_ : 0;
  report_.cpu_s = telemetry::CpuSeconds();
  report_.peak_rss_bytes = telemetry::PeakRssBytes();
  SLUICE_RETURN_IF_ERROR(CountTraffic());
  telemetry::RunMetrics metrics = MetricsOf(report_);
  SLUICE_ASSIGN_OR_RETURN(metrics.processes, Processes());
  int64_t rows = 0;
  for (int t = 0; t < state_->tables->size(); ++t) rows += state_->tables->table(t).stats().rows;
  SLUICE_ASSIGN_OR_RETURN(rows, SumOverRanks(rows));
  metrics.others = {{"steps", static_cast<double>(report_.steps)},
                    {"train_s", report_.train_s},
                    {"train_loss", report_.loss},
                    {"rows", static_cast<double>(rows)},
                    {"skipped_lines", static_cast<double>(report_.skipped_lines)},
                    {"best_step", static_cast<double>(report_.best_step)}};
  if (!report_.shares.empty()) {
    metrics.others.emplace_back("rows_skew", Skew(report_.shares, &RankShare::rows));
    metrics.others.emplace_back("sent_skew", Skew(report_.shares, &RankShare::sent_bytes));
  }
  if (report_.progressive.samples > 0)
    for (const auto& [name, value] : ByName(report_.progressive))
      metrics.others.emplace_back("progressive_" + name, value);
  if (!leads()) return Status::Ok();
  return telemetry::WriteMetricsFile(folder_.File("metrics.json"), metrics);
}

template <class T>
Status Trainer<T>::Log(telemetry::StepRecord record) {
  return leads() ? log_.Write(record) : Status::Ok();
}

template <class T>
Result<int64_t> Trainer<T>::SumOverRanks(int64_t value) {
  if (context_.ranks == nullptr) return value;
  SLUICE_RETURN_IF_ERROR(context_.ranks->control().template AllReduce<int64_t>({&value, 1}, comm::ReduceOp::kSum,
                                                                               comm::Traffic::kControl));
  return value;
}

// Ranks that are threads are one process.
template <class T>
Result<std::vector<telemetry::ProcessUse>> Trainer<T>::Processes() {
  const telemetry::ProcessUse mine = {report_.peak_rss_bytes, report_.cpu_s};
  if (context_.ranks == nullptr || options_.ranks > 1) return std::vector<telemetry::ProcessUse>{mine};
  const auto size = static_cast<size_t>(context_.ranks->size());
  const std::vector<int64_t> numbers = {mine.peak_rss_bytes, static_cast<int64_t>(1e6 * mine.cpu_s)};
  std::vector<int64_t> all(2 * size);
  SLUICE_RETURN_IF_ERROR(context_.ranks->control().template AllGather<int64_t>(numbers, std::vector<int64_t>(size, 2),
                                                                               all, comm::Traffic::kControl));
  std::vector<telemetry::ProcessUse> processes;
  for (size_t r = 0; r < size; ++r) processes.push_back({all[2 * r], 1e-6 * static_cast<double>(all[2 * r + 1])});
  return processes;
}

template <class T>
Status Trainer<T>::CountTraffic() {
  report_.bytes_per_sample = {{"sent", 0.0}, {"received", 0.0}};
  if (context_.ranks == nullptr || report_.samples == 0) return Status::Ok();
  report_.ranks = context_.ranks->size();
  const comm::TrafficTotals totals = context_.ranks->ledger().totals() - eval_traffic_;
  std::vector<int64_t> bytes(totals.sent_bytes.begin(), totals.sent_bytes.end());
  int64_t received = 0;
  for (const int64_t kind : totals.received_bytes) received += kind;
  bytes.push_back(received);
  SLUICE_RETURN_IF_ERROR(
      context_.ranks->control().template AllReduce<int64_t>(bytes, comm::ReduceOp::kSum, comm::Traffic::kControl));
  const auto per_sample = [&](int64_t total) { return static_cast<double>(total) / report_.samples; };
  int64_t sent = 0;
  for (int kind = 0; kind < comm::kNumTraffics; ++kind) {
    sent += bytes[static_cast<size_t>(kind)];
    report_.bytes_per_sample[comm::TrafficName(static_cast<comm::Traffic>(kind))] =
        per_sample(bytes[static_cast<size_t>(kind)]);
  }
  report_.bytes_per_sample["sent"] = per_sample(sent);
  report_.bytes_per_sample["received"] = per_sample(bytes.back());
  return CompareRanks(totals.total_sent());
}

template <class T>
Status Trainer<T>::CompareRanks(int64_t sent_bytes) {
  std::array<int64_t, 3> mine = {0, 0, sent_bytes};
  for (int t = 0; t < state_->tables->size(); ++t) {
    const embedding::TableStats stats = state_->tables->table(t).stats();
    mine[0] += stats.rows;
    mine[1] += stats.memory_bytes;
  }
  const std::vector<int64_t> counts(static_cast<size_t>(report_.ranks), static_cast<int64_t>(mine.size()));
  std::vector<int64_t> all(counts.size() * mine.size());
  SLUICE_RETURN_IF_ERROR(
      context_.ranks->control().template AllGather<int64_t>(mine, counts, all, comm::Traffic::kControl));
  report_.shares.clear();
  for (size_t at = 0; at < all.size(); at += mine.size())
    report_.shares.push_back({.rows = all[at], .table_bytes = all[at + 1], .sent_bytes = all[at + 2]});
  return Status::Ok();
}

template class Trainer<float>;
template class Trainer<double>;

}  // namespace sluice::train
