// Bench of train/api.h.

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <map>
#include <optional>

#include <fmt/format.h>

#include "base/file.h"
#include "base/join.h"
#include "base/log.h"
#include "base/simd.h"
#include "data/open.h"
#include "data/sliced_source.h"
#include "data/synth.h"
#include "metric/histogram_auc.h"
#include "placement/machine.h"
#include "placement/ownership.h"
#include "telemetry/resource.h"
#include "train/api.h"
#include "train/bench_ranks.h"
#include "train/bench_workload.h"
#include "train/host_stage.h"
#include "train/model_state.h"
#include "train/planning.h"
#include "train/rank_context.h"
#include "train/roofline.h"
#include "train/stopwatch.h"
#include "train/worker.h"

namespace sluice::train {
namespace {

// A text file made for a bench without files; removed with the object.
class TemporaryText {
 public:
  ~TemporaryText() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove(path_, ignored);
  }
  Result<std::string> Write(const RunConfig& config) {
    data::SynthConfig synth;
    path_ = (std::filesystem::temp_directory_path() / fmt::format("sluice-bench-{}.tsv", ::getpid())).string();
    synth.output = path_;
    synth.samples = config.bench.text_samples;
    synth.rows = std::min<int64_t>(config.bench.rows_per_field, 1 << 24);
    synth.report = false;
    SLUICE_ASSIGN_OR_RETURN(const data::SynthReport report, data::Synthesize(synth));
    SLUICE_INFO("wrote {}: {} samples", path_, report.samples);
    return path_;
  }

 private:
  std::string path_;
};

// des, or the number of vocabularies of each placement: 6 rows_a2a, 2 des_rs.
std::string PlacementsOf(const placement::Strategy& strategy) {
  using placement::Placement;
  if (const auto pure = strategy.pure()) return placement::PlacementName(*pure);
  std::vector<std::string> parts;
  for (const Placement p : {Placement::kDes, Placement::kDesRs, Placement::kFieldA2a, Placement::kRowsA2a})
    if (const auto n = std::count(strategy.of_vocabulary.begin(), strategy.of_vocabulary.end(), p); n > 0)
      parts.push_back(fmt::format("{} {}", n, placement::PlacementName(p)));
  return Join(parts, ", ");
}

// What the timed rounds add up.
struct Tally {
  int64_t steps = 0, samples = 0, unique = 0, occurrences = 0;
  double loss = 0, weight = 0;
  HostTimes host;
  double seconds = 0, cpu_s = 0;
};

// One model's bench. Over batches in memory: Prepare, Round as often as wanted, Report. Over text: OnText, Report.
class Bencher {
 public:
  Bencher(const RunConfig& config, placement::Ranks* ranks)
      : config_(config), pool_(static_cast<int>(config.threads)), context_{.ranks = ranks} {}

  Status Prepare(std::shared_ptr<const BenchWorkload> workload);
  Status Round();
  Status OnText();
  Result<BenchReport> Report();

 private:
  Status NewModel(const data::Schema& schema);
  void FillTables(const BenchWorkload& workload);
  // Trains until the source ends, `seconds` have passed or `max_steps` are done. Adds to `tally` where it is not null.
  Status Train(data::BatchSource* source, int64_t max_steps, double seconds, Tally* tally);
  void AddRound(const Tally& tally);
  void Roofline();
  void Finish();
  Status FinishRanks();
  Result<placement::Strategy> Plan(const placement::Machine& link);
  const RankContext* ranks() const { return context_.ranks != nullptr ? &context_ : nullptr; }

  RunConfig config_;
  ThreadPool pool_;
  RankContext context_;          // ranks null: one rank
  comm::TrafficTotals traffic_;  // of the timed rounds
  std::shared_ptr<const BenchWorkload> workload_;
  std::unique_ptr<data::BatchSource> source_;
  std::unique_ptr<ModelState<float>> state_;
  std::unique_ptr<Worker<float>> worker_;
  metric::HistogramAuc auc_;
  std::vector<float> scores_;
  int64_t step_ = 0;
  Tally total_;
  WorkerTimes worker_times_;
  BenchReport report_;
};

Status Bencher::NewModel(const data::Schema& schema) {
  worker_.reset();
  state_.reset();
  SLUICE_ASSIGN_OR_RETURN(state_, ModelState<float>::Make(config_, schema));
  if (ranks() != nullptr)
    SLUICE_RETURN_IF_ERROR(SettleStrategy(
        config_, context_.ranks->leads(), [&](const placement::Machine& link) { return Plan(link); }, &context_,
        state_.get()));
  WorkerOptions<float> options;
  options.ranks = ranks();
  options.clip_norm = config_.train.clip_norm;
  options.clip_norm_dense = config_.optimizer.clip_norm;
  options.check_finite = config_.train.check_finite;
  options.seed = static_cast<uint64_t>(config_.seed);
  worker_ = std::make_unique<Worker<float>>(state_.get(), &pool_, options);
  step_ = 0;
  return Status::Ok();
}

// As the trainer does: rank 0 plans for all, from the batches in memory.
Result<placement::Strategy> Bencher::Plan(const placement::Machine& link) {
  CyclingSource source(workload_.get());
  SLUICE_ASSIGN_OR_RETURN(const placement::PlanInput input,
                          MakePlanInput(config_, &source, 0, *state_, context_.ranks->size(), link, &pool_));
  SLUICE_ASSIGN_OR_RETURN(const PlannedRun planned, PlanForms(config_, input, *state_));
  report_.predicted_step_s = planned.plan.cost.time.total_s();
  return planned.plan.strategy;
}

void Bencher::FillTables(const BenchWorkload& workload) {
  constexpr int64_t kRows = 8192;
  WorkingSet set;
  set.batch.fields.resize(workload.schema().fields.size());
  std::optional<placement::Ownership> ownership;
  if (ranks() != nullptr) ownership.emplace(context_.strategy, context_.ranks->rank(), context_.ranks->size());
  for (int64_t begin = 0; begin < config_.bench.rows_per_field; begin += kRows) {
    const int64_t end = std::min(config_.bench.rows_per_field, begin + kRows);
    set.batch.size = end - begin;
    for (int f = 0; f < workload.schema().num_fields(); ++f) {
      auto& keys = set.batch.fields[static_cast<size_t>(f)].keys;
      keys.clear();
      for (int64_t i = begin; i < end; ++i) {
        const Key key = workload.KeyOf(f, i);
        if (!ownership || ownership->OfKey(state_->tables->ids().vocabulary_of_field(f), key) == ownership->rank())
          keys.push_back(key);
      }
    }
    state_->tables->ids().Build(set.batch, &pool_, &set.ids);
    state_->tables->Resolve(&set, embedding::ResolveMode::kTrain, ++step_, &pool_);
    state_->tables->Release(set);
  }
}

Status Bencher::Train(data::BatchSource* source, int64_t max_steps, double seconds, Tally* tally) {
  using Event = HostStage<float>::Event;
  HostStageOptions<float> options;
  options.overlap = config_.train.Overlaps(pool_.num_threads(), config_.bench.data == "text");
  options.queue_depth = config_.train.queue_depth;
  options.last_step = step_;
  options.max_steps = max_steps > 0 ? step_ + max_steps : 0;
  options.ranks = ranks();
  worker_->ResetTimes();
  const comm::TrafficTotals traffic_begin =
      ranks() != nullptr ? context_.ranks->ledger().totals() : comm::TrafficTotals{};
  const double cpu_begin = telemetry::CpuSeconds();
  Stopwatch watch;
  HostStage<float> host(source, state_->tables.get(), &pool_, options);
  bool resting = false;
  while (true) {
    SLUICE_ASSIGN_OR_RETURN(const auto item, host.Next());
    if (item.event != Event::kBatch) break;
    WorkingSet* set = item.set;
    worker_->Train(*set);
    state_->tables->Release(*set);
    step_ = set->step;
    if (worker_->logits() != nullptr) {  // else this rank has those of its own samples alone
      scores_.assign(worker_->logits(), worker_->logits() + set->batch.labels.size());
      auc_.Add(scores_, set->batch.labels);
    }
    if (tally != nullptr) {
      ++tally->steps;
      tally->samples += set->batch.size;
      tally->unique += set->ids.num_unique();
      for (const auto& field : set->batch.fields) tally->occurrences += field.nnz();
      tally->loss += worker_->loss().loss;
      tally->weight += worker_->loss().weight;
      tally->host.read_s += set->times.read_s;
      tally->host.unique_s += set->times.unique_s;
      tally->host.resolve_s += set->times.resolve_s;
    }
    host.Recycle(set);
    if (InterruptFlag().load(std::memory_order_relaxed)) return Status(StatusCode::kCancelled, "interrupted");
    // The batches on their way are trained too, so that none stays pinned.
    const bool wish = !resting && seconds > 0 && watch.Elapsed() >= seconds;
    if (ranks() != nullptr) {
      // Every rank hears of the leader's wish in the same step.
      if (!resting && worker_->any_wish()) {
        resting = true;
        host.RequestRestAt(step_ + HostStage<float>::kRestAhead);
      }
      worker_->set_wish(wish && !resting && context_.ranks->leads());
    } else if (wish) {
      resting = true;
      host.RequestRest();
    }
  }
  if (ranks() != nullptr) worker_->set_wish(false);
  if (tally != nullptr) {
    if (ranks() != nullptr) traffic_ += context_.ranks->ledger().totals() - traffic_begin;
    tally->seconds = watch.Elapsed();
    tally->cpu_s = telemetry::CpuSeconds() - cpu_begin;
  }
  return Status::Ok();
}

void Bencher::AddRound(const Tally& tally) {
  report_.rounds.push_back(static_cast<double>(tally.samples) / tally.seconds);
  total_.steps += tally.steps;
  total_.samples += tally.samples;
  total_.unique += tally.unique;
  total_.occurrences += tally.occurrences;
  total_.loss += tally.loss;
  total_.weight += tally.weight;
  total_.host.read_s += tally.host.read_s;
  total_.host.unique_s += tally.host.unique_s;
  total_.host.resolve_s += tally.host.resolve_s;
  total_.seconds += tally.seconds;
  total_.cpu_s += tally.cpu_s;
  worker_times_.gather_s += worker_->times().gather_s;
  worker_times_.ranks_before_s += worker_->times().ranks_before_s;
  worker_times_.ranks_after_s += worker_->times().ranks_after_s;
  worker_times_.net_s += worker_->times().net_s;
  worker_times_.update_s += worker_->times().update_s;
}

Status Bencher::Prepare(std::shared_ptr<const BenchWorkload> workload) {
  workload_ = std::move(workload);
  Stopwatch start;
  SLUICE_RETURN_IF_ERROR(NewModel(workload_->schema()));
  source_ = std::make_unique<CyclingSource>(workload_.get());
  if (context_.strategy.sharded_input)
    source_ = std::make_unique<data::SelectingSource>(std::move(source_),
                                                      data::Slice{context_.ranks->rank(), context_.ranks->size()});
  SLUICE_RETURN_IF_ERROR(Train(source_.get(), 1, 0, nullptr));
  report_.first_step_s = start.Elapsed();
  if (config_.bench.fill_tables) FillTables(*workload_);
  if (config_.bench.warmup_steps > 0) return Train(source_.get(), config_.bench.warmup_steps, 0, nullptr);
  return Status::Ok();
}

Status Bencher::Round() {
  Tally tally;
  SLUICE_RETURN_IF_ERROR(Train(source_.get(), 0, std::max(1e-3, config_.bench.seconds), &tally));
  AddRound(tally);
  return Status::Ok();
}

Status Bencher::OnText() {
  TemporaryText text;
  if (config_.data.train.empty()) {
    SLUICE_ASSIGN_OR_RETURN(const std::string path, text.Write(config_));
    config_.data.train = {path};
    config_.data.format = "criteo";
  }
  SLUICE_ASSIGN_OR_RETURN(const data::FittedFeatures features,
                          data::FitFeatures(config_.data, config_.features, WantsDenseInput(config_.model)));
  data::OpenOptions open;
  open.batch_size = config_.train.batch_size;
  open.seed = static_cast<uint64_t>(config_.seed);
  open.num_reader_threads = static_cast<int>(config_.data.reader_threads);
  for (int64_t round = 0; round < config_.bench.rounds; ++round) {
    Stopwatch start;
    SLUICE_RETURN_IF_ERROR(NewModel(features.MakeSchema()));
    {
      SLUICE_ASSIGN_OR_RETURN(const auto source, data::OpenSource(config_.data, features, open));
      SLUICE_RETURN_IF_ERROR(Train(source.get(), 1, 0, nullptr));
    }
    if (round == 0) report_.first_step_s = start.Elapsed();
    SLUICE_RETURN_IF_ERROR(NewModel(features.MakeSchema()));
    SLUICE_ASSIGN_OR_RETURN(const auto source, data::OpenSource(config_.data, features, open));
    auc_ = metric::HistogramAuc();
    Tally tally;
    SLUICE_RETURN_IF_ERROR(Train(source.get(), 0, 0, &tally));
    AddRound(tally);
  }
  return Status::Ok();
}

// Source of the definition: docs/performance.md.
void Bencher::Roofline() {
  std::vector<GemmShape> shapes;
  for (const auto& param : state_->net->params().params())
    if (param.shape.size() == 2 && param.size >= 256) shapes.push_back({param.shape[0], param.shape[1]});
  const bool bf16 = PrecisionOf(config_) == nn::Precision::kBf16;
  MachineRates rates;
  rates.gemm_flops_per_s = MeasureGemm(shapes, config_.train.batch_size, bf16, pool_);
  rates.stream_bytes_per_s = MeasureStream(pool_);
  report_.machine = {{"gemm_gflops", rates.gemm_flops_per_s * 1e-9},
                     {"stream_gb_per_s", rates.stream_bytes_per_s * 1e-9}};

  const double samples = static_cast<double>(total_.samples);
  const double gemm_s = rates.gemm_flops_per_s > 0 ? report_.flops_per_sample / rates.gemm_flops_per_s : 0;
  double rows_s = 0, bytes = 0;
  for (int t = 0; t < state_->tables->size(); ++t) {
    const auto& table = state_->tables->table(t);
    const auto stats = table.stats();
    const int64_t stride = std::max<int64_t>(8, stats.row_bytes / 8 * 8);
    const int64_t memory = std::clamp<int64_t>(stats.rows * stride, int64_t{1} << 20, int64_t{1} << 31);
    const double rate = MeasureRandomRows(stride, memory, pool_);
    report_.machine.emplace_back("random_rows_per_s." + table.name(), rate);
    const double unique = static_cast<double>(total_.unique) / samples;
    rows_s += unique / rate;
    // The optimizer reads the gradient, and reads and writes weights and slots.
    bytes += unique * static_cast<double>(sizeof(float) * (3 * table.dim() + 2 * table.num_slots()));
  }
  const double batch = samples / static_cast<double>(total_.steps);
  bytes += static_cast<double>(sizeof(float) * (3 * state_->params.size() + 2 * state_->slots.size())) / batch;
  const double optimizer_s = bytes / rates.stream_bytes_per_s;
  report_.roofline_s_per_sample = {{"gemm", gemm_s}, {"rows", rows_s}, {"optimizer", optimizer_s}};
  report_.roofline_samples_per_s = 1.0 / (gemm_s + rows_s + optimizer_s);
  report_.roofline_share = report_.samples_per_s / report_.roofline_samples_per_s;
}

void Bencher::Finish() {
  report_.workload = config_.name;
  report_.precision = config_.precision;
  report_.bf16_products = PrecisionOf(config_) == nn::Precision::kBf16;
  report_.processor = ProcessorName();
  report_.threads = pool_.num_threads();
  report_.batch_size = config_.train.batch_size;
  report_.steps = total_.steps;
  report_.samples = total_.samples;
  std::vector<double> sorted = report_.rounds;
  std::sort(sorted.begin(), sorted.end());
  report_.samples_per_s = sorted[sorted.size() / 2];
  report_.cpu_use = total_.cpu_s / total_.seconds;
  report_.samples_per_s_per_core = report_.samples_per_s / std::max(1, pool_.num_threads());
  const double steps = static_cast<double>(total_.steps);
  const WorkerTimes& w = worker_times_;
  const double worker_s = w.gather_s + w.ranks_before_s + w.net_s + w.ranks_after_s + w.update_s;
  report_.time_by_part_s = {{"gather", w.gather_s / steps}};
  if (ranks() != nullptr) report_.time_by_part_s.emplace_back("ranks_before", w.ranks_before_s / steps);
  report_.time_by_part_s.emplace_back("net", w.net_s / steps);
  if (ranks() != nullptr) report_.time_by_part_s.emplace_back("ranks_after", w.ranks_after_s / steps);
  for (const auto& [part, seconds] : std::initializer_list<std::pair<const char*, double>>{
           {"update", w.update_s / steps},
           {"worker_waits", std::max(0.0, total_.seconds - worker_s) / steps},
           {"host_read", total_.host.read_s / steps},
           {"host_unique", total_.host.unique_s / steps},
           {"host_resolve", total_.host.resolve_s / steps}})
    report_.time_by_part_s.emplace_back(part, seconds);
  report_.unique_share = static_cast<double>(total_.unique) / std::max(1.0, static_cast<double>(total_.occurrences));
  report_.unique_rows_per_sample = static_cast<double>(total_.unique) / static_cast<double>(total_.samples);
  double row_bytes = 0;
  for (int t = 0; t < state_->tables->size(); ++t) {
    const auto stats = state_->tables->table(t).stats();
    report_.rows += stats.rows;
    row_bytes += static_cast<double>(stats.memory_bytes);
  }
  report_.bytes_per_row = report_.rows > 0 ? row_bytes / static_cast<double>(report_.rows) : 0;
  report_.flops_per_sample = state_->net->flops_per_sample();
  report_.auc = auc_.Auc();
  report_.logloss = total_.weight > 0 ? total_.loss / total_.weight : 0;
  report_.peak_rss_bytes = telemetry::PeakRssBytes();
}

Status Bencher::FinishRanks() {
  placement::Ranks& all = *context_.ranks;
  BenchRank mine;
  for (int kind = 0; kind < comm::kNumTraffics; ++kind) {
    const std::string name = comm::TrafficName(static_cast<comm::Traffic>(kind));
    const auto k = static_cast<size_t>(kind);
    mine.sent_bytes[name] = static_cast<double>(traffic_.sent_bytes[k]);
    mine.exchange_s[name] = 1e-9 * static_cast<double>(traffic_.nanoseconds[k]);
    mine.messages += static_cast<double>(traffic_.messages[k]);
  }
  mine.sent_bytes_in_all = static_cast<double>(all.ledger().totals().total_sent());
  char host[256] = "";
  ::gethostname(host, sizeof(host) - 1);
  mine.process = fmt::format("{}:{}", host, ::getpid());
  mine.cpu_s = total_.cpu_s;
  mine.peak_rss_bytes = static_cast<double>(report_.peak_rss_bytes);
  mine.time_by_part_s = report_.time_by_part_s;
  SLUICE_ASSIGN_OR_RETURN(report_.ranks, CollectRanks(mine, &all));
  std::map<std::string, double> cpu_s;  // ranks that are threads of one process all count what it used
  for (const BenchRank& rank : report_.ranks) cpu_s[rank.process] = rank.cpu_s;
  report_.cpu_use = 0;
  for (const auto& [process, seconds] : cpu_s) report_.cpu_use += seconds / total_.seconds;
  report_.placement = config_.strategy.placement;
  report_.strategy = PlacementsOf(context_.strategy);
  report_.threads *= all.size();
  report_.samples_per_s_per_core = report_.samples_per_s / report_.threads;
  SLUICE_RETURN_IF_ERROR(
      all.control().AllReduce<int64_t>({&report_.rows, 1}, comm::ReduceOp::kSum, comm::Traffic::kControl));
  return Status::Ok();
}

Result<BenchReport> Bencher::Report() {
  if (total_.steps == 0) return InvalidArgument("bench: no step was timed; give it more data or seconds");
  Finish();
  if (ranks() != nullptr) SLUICE_RETURN_IF_ERROR(FinishRanks());
  if (config_.bench.roofline && ranks() == nullptr) Roofline();
  return report_;
}

// Rounds in turn, so that what disturbs the machine for a while disturbs every configuration; each round begins with
// another.
Result<std::vector<BenchReport>> OnMemory(const std::vector<RunConfig>& configs, placement::Ranks* ranks) {
  const RunConfig& first = configs[0];
  const auto workload =
      std::make_shared<const BenchWorkload>(first.bench, first.train.batch_size, static_cast<uint64_t>(first.seed));
  std::vector<std::unique_ptr<Bencher>> benchers;
  for (const RunConfig& config : configs) {
    benchers.push_back(std::make_unique<Bencher>(config, ranks));
    SLUICE_RETURN_IF_ERROR(benchers.back()->Prepare(workload));
  }
  for (int64_t round = 0; round < first.bench.rounds; ++round)
    for (size_t i = 0; i < benchers.size(); ++i)
      SLUICE_RETURN_IF_ERROR(benchers[(static_cast<size_t>(round) + i) % benchers.size()]->Round());
  std::vector<BenchReport> reports;
  for (const auto& bencher : benchers) {
    SLUICE_ASSIGN_OR_RETURN(reports.emplace_back(), bencher->Report());
  }
  return reports;
}

Result<std::vector<BenchReport>> OnText(const RunConfig& config) {
  Bencher bencher(config, nullptr);
  SLUICE_RETURN_IF_ERROR(bencher.OnText());
  SLUICE_ASSIGN_OR_RETURN(BenchReport report, bencher.Report());
  return std::vector<BenchReport>{std::move(report)};
}

}  // namespace

Result<std::vector<BenchReport>> RunBench(const std::vector<RunConfig>& configs, placement::Ranks* ranks) {
  try {
    return configs[0].bench.data == "memory" ? OnMemory(configs, ranks) : OnText(configs[0]);
  } catch (const StatusError& error) {
    return error.status();
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("out of memory");
  }
}

}  // namespace sluice::train
