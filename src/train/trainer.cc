#include "train/trainer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <utility>

#include "base/file.h"
#include "base/log.h"
#include "checkpoint/checkpoint_folder.h"
#include "config/writer.h"
#include "telemetry/metrics_file.h"
#include "telemetry/resource.h"
#include "train/planning.h"
#include "train/rank_context.h"
#include "train/run_metrics.h"
#include "train/warm_start.h"

namespace sluice::train {
namespace {

// Bytes of the training files where they are plain text, for the share of the work that is done; 0: unknown.
int64_t PlainBytes(const data::DataConfig& data) {
  int64_t total = 0;
  for (const std::string& path : data.train) {
    std::error_code error;
    const bool packed = path.ends_with(".gz") || path.ends_with(".zst");
    const auto size =
        std::filesystem::is_regular_file(path, error) && !packed ? std::filesystem::file_size(path, error) : 0;
    if (error || size == 0) return 0;
    total += static_cast<int64_t>(size);
  }
  return total;
}

}  // namespace

template <class T>
Trainer<T>::Trainer(const RunFolder& folder, const TrainOptions& options, placement::Ranks* ranks)
    : context_{.ranks = ranks}, folder_(folder), options_(options), start_s_(telemetry::WallSeconds()) {}

template <class T>
Result<std::unique_ptr<Trainer<T>>> Trainer<T>::Make(const RunConfig& config, const RunFolder& folder,
                                                     const TrainOptions& options, placement::Ranks* ranks) {
  std::unique_ptr<Trainer> trainer(new Trainer(folder, options, ranks));
  Status status;
  try {
    status = trainer->OpenData(config);
    if (status.ok()) status = trainer->OpenModel();
  } catch (const StatusError& error) {
    status = error.status();
  }
  if (ranks != nullptr) status = status.ok() ? ranks->Agree(status) : ranks->Leave(status);
  SLUICE_RETURN_IF_ERROR(status);
  return trainer;
}

template <class T>
Status Trainer<T>::OpenData(const RunConfig& config) {
  header_.config = config;
  header_.fp64 = sizeof(T) == 8;
  if (!folder_.resume_from.empty()) {
    SLUICE_ASSIGN_OR_RETURN(checkpoint_, checkpoint::CheckpointReader::Open(folder_.resume_from));
    SLUICE_ASSIGN_OR_RETURN(CheckpointHeader old, ReadHeader(*checkpoint_));
    header_.features = std::move(old.features);
    header_.progress = std::move(old.progress);
    const std::string difference = FirstDifference(config, old.config);
    if (!difference.empty() && !config.features.empty() && leads())
      SLUICE_WARN("{}: other settings than the run had ({}); going on with these", folder_.resume_from, difference);
  } else {
    SLUICE_ASSIGN_OR_RETURN(header_.features,
                            data::FitFeatures(config.data, config.features, WantsDenseInput(config.model)));
    if (!config.checkpoint.init_from.empty()) SLUICE_RETURN_IF_ERROR(AdoptTransforms(config, &header_.features));
  }
  loss_ = config.model.loss == "mse" ? nn::LossKind::kMse : nn::LossKind::kBce;
  pool_ = std::make_unique<ThreadPool>(static_cast<int>(config.threads));

  SLUICE_RETURN_IF_ERROR(OpenTrainingData());
  total_bytes_ = PlainBytes(config.data);
  SLUICE_ASSIGN_OR_RETURN(state_, ModelState<T>::Make(config, source_->schema()));
  if (config.train.progressive.window > 0) {
    metric::EvaluatorOptions options;
    options.scores = loss_ == nn::LossKind::kBce ? metric::ScoreKind::kLogit : metric::ScoreKind::kValue;
    options.num_labels = state_->schema.num_labels();
    progressive_ = std::make_unique<metric::ProgressiveEvaluator>(options, config.train.progressive.window);
  }
  return Status::Ok();
}

template <class T>
Status Trainer<T>::OpenTrainingData() {
  const RunConfig& config = header_.config;
  data::OpenOptions open;
  open.purpose = data::Purpose::kTrain;
  open.batch_size = config.train.batch_size;
  open.epochs = config.train.epochs;
  open.seed = static_cast<uint64_t>(config.seed);
  open.num_reader_threads = static_cast<int>(config.data.reader_threads);
  open.slice = InputSlice();
  SLUICE_ASSIGN_OR_RETURN(source_, data::OpenSource(config.data, header_.features, open));
  return Status::Ok();
}

template <class T>
Status Trainer<T>::OpenModel() {
  const RunConfig& config = header_.config;
  if (context_.ranks != nullptr) {
    SLUICE_RETURN_IF_ERROR(SettleStrategy(
        config, leads() && !options_.quiet, [&](const placement::Machine& link) { return Plan(link); }, &context_,
        state_.get()));
    SLUICE_RETURN_IF_ERROR(PredictTraffic());
  }
  if (context_.strategy.sharded_input) SLUICE_RETURN_IF_ERROR(OpenTrainingData());
  WorkerOptions<T> worker_options;
  worker_options.ranks = ranks();
  worker_options.gather_logits = config.train.progressive.window > 0;
  if (context_.ranks != nullptr) worker_options.check_replicas_every = config.strategy.dense.check_every_steps;
  worker_options.clip_norm = config.train.clip_norm;
  worker_options.clip_norm_dense = config.optimizer.clip_norm;
  worker_options.check_finite = config.train.check_finite;
  worker_options.seed = static_cast<uint64_t>(config.seed);
  worker_ = std::make_unique<Worker<T>>(state_.get(), pool_.get(), worker_options);

  if (checkpoint_ != nullptr) {
    SLUICE_RETURN_IF_ERROR(LoadState(*checkpoint_, state_.get(), ranks()));
    if (progressive_ != nullptr && !checkpoint_->Names("progressive/").empty())
      SLUICE_RETURN_IF_ERROR(progressive_->Load(*checkpoint_, "progressive"));
    checkpoint_.reset();
    RestoreSchedules(header_.progress, state_.get());
    if (!header_.progress.position.empty()) SLUICE_RETURN_IF_ERROR(source_->Seek(header_.progress.position));
    if (leads())
      SLUICE_INFO("resumed from {}: step {}, {} samples", folder_.resume_from, header_.progress.step,
                  header_.progress.samples);
  } else if (!config.checkpoint.init_from.empty()) {
    SLUICE_ASSIGN_OR_RETURN(WarmStartReport warm, WarmStart(config, state_.get(), &header_.progress, ranks()));
    SLUICE_ASSIGN_OR_RETURN(warm.rows, SumOverRanks(warm.rows));
    if (leads()) SLUICE_INFO("started from {}: {}", config.checkpoint.init_from, warm.ToText());
  }
  if (leads()) SLUICE_RETURN_IF_ERROR(WriteFileAtomically(folder_.File("config.yaml"), config::ToYaml(config)));
  return OpenLog();
}

template <class T>
Status Trainer<T>::OpenLog() {
  const int64_t resume_step = folder_.resume_from.empty() ? -1 : header_.progress.step;
  if (leads()) SLUICE_RETURN_IF_ERROR(log_.Open(folder_.File("train.jsonl"), resume_step));
  if (leads() && header_.config.log.tensorboard) SLUICE_RETURN_IF_ERROR(log_.AddEventFile(folder_.path, resume_step));
  telemetry::ProgressOptions progress;
  progress.quiet = options_.quiet || !leads();
  progress.log_interval_s = header_.config.log.every_seconds;
  progress_ = std::make_unique<telemetry::Progress>(progress);
  return Status::Ok();
}

template <class T>
bool Trainer<T>::EvaluationDue(int64_t step) const {
  const int64_t every = header_.config.train.eval_every_steps;
  return every > 0 && step % every == 0 && data::HasEvaluation(header_.config.data);
}

template <class T>
bool Trainer<T>::RestAfter(int64_t step) const {
  const int64_t every = header_.config.checkpoint.every_steps;
  return EvaluationDue(step) || (every > 0 && step % every == 0);
}

template <class T>
Result<TrainReport> Trainer<T>::Run() {
  const TrainConfig& train = header_.config.train;
  HostStageOptions<T> host;
  host.overlap = train.Overlaps(pool_->num_threads(), header_.features.format != "packed");
  host.queue_depth = train.queue_depth;
  host.last_step = header_.progress.step;
  host.last_epoch = header_.progress.epoch;
  host.max_steps = train.max_steps;
  host.ranks = ranks();
  host.needs_labels = train.progressive.window > 0;
  host.rest_after = [this](int64_t step) { return RestAfter(step); };
  host.rest_between_epochs = train.eval_every_epoch && data::HasEvaluation(header_.config.data);
  host_ = std::make_unique<HostStage<T>>(source_.get(), state_->tables.get(), pool_.get(), host);
  last_checkpoint_s_ = last_log_s_ = stretch_begin_s_ = telemetry::WallSeconds();
  Status status;
  try {
    if (!header_.progress.stopped_early) status = Loop();
    host_.reset();
    if (status.ok()) status = Finish();
  } catch (const StatusError& error) {
    host_.reset();
    status = error.status();
  } catch (const std::bad_alloc&) {
    host_.reset();
    status = ResourceExhausted("out of memory at step {}", header_.progress.step);
  }
  progress_->Clear();
  if (leads()) (void)log_.Close();
  if (!status.ok()) return status;
  if (interrupted_)
    return Status(StatusCode::kCancelled,
                  report_.checkpoint.empty() ? "interrupted" : "interrupted; checkpoint " + report_.checkpoint);
  return report_;
}

template <class T>
Status Trainer<T>::Loop() {
  using Event = typename HostStage<T>::Event;
  const TrainConfig& train = header_.config.train;
  double begin_s = telemetry::WallSeconds();
  while (!stop_) {
    SLUICE_ASSIGN_OR_RETURN(const auto item, host_->Next());
    switch (item.event) {
      case Event::kBatch: {
        worker_->Train(*item.set);
        state_->tables->Release(*item.set);
        const Status status = AfterStep(*item.set);
        host_->Recycle(item.set);
        SLUICE_RETURN_IF_ERROR(status);
        break;
      }
      case Event::kRest:
      case Event::kEpochEnd: {
        train_s_ += telemetry::WallSeconds() - begin_s;
        SLUICE_RETURN_IF_ERROR(item.event == Event::kRest ? AtRest() : AtEpochEnd());
        // Nothing is resolved for a batch that will not come: other ranks might not take part.
        if (!stop_) host_->Continue();
        begin_s = telemetry::WallSeconds();
        break;
      }
      case Event::kEnd:
        train_s_ += telemetry::WallSeconds() - begin_s;
        data_ended_ = train.max_steps == 0 || header_.progress.step < train.max_steps;
        return Status::Ok();
    }
  }
  return Status::Ok();
}

template <class T>
Status Trainer<T>::AfterStep(const WorkingSet& set) {
  train::Progress& progress = header_.progress;
  progress.step = set.step;
  progress.samples += set.batch.size;
  progress.epoch = set.batch.epoch;
  progress.position = set.position;
  report_.samples += set.batch.size;
  report_.skipped_lines = set.stats.skipped_lines;
  host_times_.read_s += set.times.read_s;
  host_times_.unique_s += set.times.unique_s;
  host_times_.resolve_s += set.times.resolve_s;
  const nn::LossSums loss = worker_->loss();
  stretch_.loss += loss.loss;
  stretch_.weight += loss.weight;
  stretch_samples_ += set.batch.size;
  ++stretch_steps_;
  SLUICE_RETURN_IF_ERROR(ScoreBeforeTraining(set));
  const double now = telemetry::WallSeconds();
  const LogConfig& log = header_.config.log;
  if (now - last_log_s_ >= log.every_seconds || (log.every_steps > 0 && progress.step % log.every_steps == 0))
    SLUICE_RETURN_IF_ERROR(LogStretch(state_->schedule.LearningRate(progress.step)));
  if (progress_->Due()) {
    telemetry::ProgressState shown;
    shown.step = progress.step;
    shown.samples = progress.samples;
    shown.fraction = Fraction(set);
    shown.loss = stretch_.weight > 0 ? stretch_.loss / stretch_.weight : report_.loss;
    shown.auc = live_auc_.Auc();
    progress_->Update(shown);
  }
  const double every_s = header_.config.checkpoint.every_seconds;
  const bool by_time = every_s > 0 && now - last_checkpoint_s_ >= every_s;
  if (context_.ranks != nullptr) {
    // Every rank hears of a wish in the same step, and rests after one that no host stage has come to yet.
    if (!rest_asked_ && worker_->any_wish()) {
      rest_asked_ = true;
      host_->RequestRestAt(progress.step + HostStage<T>::kRestAhead);
    }
    worker_->set_wish(!rest_asked_ && ((by_time && leads()) || InterruptFlag().load(std::memory_order_relaxed)));
    return Status::Ok();
  }
  if (!rest_asked_ && (by_time || InterruptFlag().load(std::memory_order_relaxed))) {
    rest_asked_ = true;
    host_->RequestRest();
  }
  return Status::Ok();
}

// The logits of a step are those of the model before its update.
template <class T>
Status Trainer<T>::ScoreBeforeTraining(const WorkingSet& set) {
  const T* logits = worker_->logits();
  if (logits == nullptr) return Status::Ok();  // this rank's samples alone say little
  const double correction = data::LogitCorrection(header_.config.data);
  scores_.resize(set.batch.labels.size());
  for (size_t i = 0; i < scores_.size(); ++i)
    scores_[i] = static_cast<float>(static_cast<double>(logits[i]) + correction);
  if (loss_ == nn::LossKind::kBce && !options_.quiet && state_->schema.num_labels() == 1)
    live_auc_.Add(scores_, set.batch.labels, set.batch.sample_weights);
  if (progressive_ == nullptr) return Status::Ok();
  windows_.clear();
  const auto weights =
      PopulationWeights(header_.config.data.negative_keep_rate, state_->schema.num_labels(), set.batch, &weights_);
  SLUICE_RETURN_IF_ERROR(progressive_->Add({scores_, set.batch.labels, weights, {}}, &windows_));
  return LogWindows();
}

template <class T>
Status Trainer<T>::LogWindows() {
  for (const auto& window : windows_) {
    std::vector<std::pair<std::string, double>> values = {{"first_sample", static_cast<double>(window.first_sample)}};
    for (const auto& [name, value] : ByName(window.metrics)) values.emplace_back(name, value);
    SLUICE_RETURN_IF_ERROR(Log({"window", header_.progress.step, header_.progress.samples, std::move(values)}));
  }
  return Status::Ok();
}

// The window that the end of the data cut short, and the whole stream. After the last checkpoint: both start anew.
template <class T>
Status Trainer<T>::FinishProgressive() {
  if (progressive_ == nullptr || !data_ended_ || !leads()) return Status::Ok();
  windows_.clear();
  SLUICE_ASSIGN_OR_RETURN(auto last, progressive_->FinishWindow());
  if (last) windows_.push_back(*last);
  SLUICE_RETURN_IF_ERROR(LogWindows());
  SLUICE_ASSIGN_OR_RETURN(report_.progressive, progressive_->Finish());
  if (report_.progressive.samples == 0) return Status::Ok();
  progress_->Clear();
  if (!options_.quiet) SLUICE_INFO("before training: {}", ToText(report_.progressive));
  const auto values = ByName(report_.progressive);
  return Log({"progressive", header_.progress.step, header_.progress.samples, {values.begin(), values.end()}});
}

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
Status Trainer<T>::AtRest() {
  const int64_t step = header_.progress.step;
  const CheckpointConfig& checkpoints = header_.config.checkpoint;
  const double begin_s = telemetry::WallSeconds();
  if (EvaluationDue(step)) SLUICE_RETURN_IF_ERROR(EvaluateNow());
  SLUICE_ASSIGN_OR_RETURN(const int64_t interrupts,
                          SumOverRanks(InterruptFlag().load(std::memory_order_relaxed) ? 1 : 0));
  interrupted_ = interrupts > 0;
  if (interrupted_ || rest_asked_ || (checkpoints.every_steps > 0 && step % checkpoints.every_steps == 0))
    SLUICE_RETURN_IF_ERROR(WriteCheckpoint(folder_.checkpoints()));
  rest_asked_ = false;
  stop_ = stop_ || interrupted_;
  stretch_begin_s_ += telemetry::WallSeconds() - begin_s;
  return Status::Ok();
}

template <class T>
Status Trainer<T>::AtEpochEnd() {
  const double begin_s = telemetry::WallSeconds();
  ++header_.progress.epoch;
  SLUICE_RETURN_IF_ERROR(EvaluateNow());
  stretch_begin_s_ += telemetry::WallSeconds() - begin_s;
  return Status::Ok();
}

template <class T>
ScoreOptions<T> Trainer<T>::ScoringOptions() const {
  ScoreOptions<T> options;
  options.overlap = header_.config.train.Overlaps(pool_->num_threads(), header_.features.format != "packed");
  options.queue_depth = header_.config.train.queue_depth;
  options.ranks = ranks();
  options.logit_correction = data::LogitCorrection(header_.config.data);
  return options;
}

template <class T>
Status Trainer<T>::Measure() {
  const double begin_s = telemetry::WallSeconds();
  comm::TrafficTotals before;
  if (context_.ranks != nullptr) before = context_.ranks->ledger().totals();
  data::OpenOptions open;
  open.purpose = data::Purpose::kEval;
  open.batch_size = header_.config.train.batch_size;
  open.seed = static_cast<uint64_t>(header_.config.seed);
  open.num_reader_threads = static_cast<int>(header_.config.data.reader_threads);
  open.slice = InputSlice();
  SLUICE_ASSIGN_OR_RETURN(const auto source, data::OpenSource(header_.config.data, header_.features, open));
  SLUICE_ASSIGN_OR_RETURN(report_.eval,
                          EvaluateSource<T>(state_.get(), loss_, source.get(), pool_.get(), ScoringOptions()));
  if (context_.ranks != nullptr) {
    const comm::TrafficTotals spent = context_.ranks->ledger().totals() - before;
    for (size_t kind = 0; kind < spent.sent_bytes.size(); ++kind) {
      eval_traffic_.sent_bytes[kind] += spent.sent_bytes[kind];
      eval_traffic_.received_bytes[kind] += spent.received_bytes[kind];
    }
  }
  report_.evaluated = true;
  eval_s_ += telemetry::WallSeconds() - begin_s;
  std::vector<std::pair<std::string, double>> values;
  for (const auto& [name, value] : ByName(report_.eval)) values.emplace_back(name, value);
  SLUICE_RETURN_IF_ERROR(Log({"eval", header_.progress.step, header_.progress.samples, std::move(values)}));
  progress_->Clear();
  if (!options_.quiet && leads()) SLUICE_INFO("step {}: {}", header_.progress.step, ToText(report_.eval));
  return Status::Ok();
}

template <class T>
Status Trainer<T>::EvaluateNow() {
  train::Progress& progress = header_.progress;
  if (progress.last_eval_step == progress.step) return Status::Ok();
  SLUICE_RETURN_IF_ERROR(Measure());
  progress.last_eval_step = progress.step;
  const EarlyStoppingConfig& early = header_.config.train.early_stopping;
  const bool plateau = header_.config.optimizer.schedule.kind == "plateau" || state_->tables->HasPlateau();
  if (early.patience == 0 && !plateau) return Status::Ok();
  SLUICE_ASSIGN_OR_RETURN(const double value, Goodness(report_.eval, early.metric));
  state_->schedule.Observe(value);
  for (int t = 0; t < state_->tables->size(); ++t) state_->tables->schedule(t).Observe(value);
  if (early.patience == 0) return Status::Ok();
  if (!progress.has_best || value > progress.best_value + early.min_delta) {
    progress.has_best = true;
    progress.best_value = value;
    progress.best_step = progress.step;
    progress.evaluations_since_best = 0;
    return WriteCheckpoint(folder_.best());
  }
  if (++progress.evaluations_since_best >= early.patience) {
    stop_ = true;
    progress.stopped_early = true;
  }
  return Status::Ok();
}

template <class T>
Status Trainer<T>::WriteCheckpoint(const std::string& to) {
  CaptureSchedules(*state_, &header_.progress);
  worker_->CompleteState();
  SLUICE_ASSIGN_OR_RETURN(const std::string path, SaveCheckpoint(to, header_, *state_, progressive_.get(), ranks()));
  const bool best = to == folder_.best();
  if (leads()) SLUICE_RETURN_IF_ERROR(checkpoint::KeepLast(to, best ? 1 : header_.config.checkpoint.keep));
  if (!best) {
    report_.checkpoint = path;
    last_checkpoint_s_ = telemetry::WallSeconds();
  }
  return Log({"checkpoint", header_.progress.step, header_.progress.samples, {}});
}

template <class T>
Status Trainer<T>::Finish() {
  const train::Progress& progress = header_.progress;
  if (stretch_samples_ > 0) SLUICE_RETURN_IF_ERROR(LogStretch(state_->schedule.LearningRate(progress.step)));
  if (!interrupted_) {
    if (data::HasEvaluation(header_.config.data)) {
      // A run cut short by max_steps may go on: what schedules know must not depend on where it was cut.
      if (data_ended_ || header_.config.train.early_stopping.patience > 0) SLUICE_RETURN_IF_ERROR(EvaluateNow());
      // A run that had ended is taken up again: nothing new to learn from, but its metrics are asked for.
      if (!report_.evaluated) SLUICE_RETURN_IF_ERROR(Measure());
    }
    if (header_.config.checkpoint.at_end) SLUICE_RETURN_IF_ERROR(WriteCheckpoint(folder_.checkpoints()));
    SLUICE_RETURN_IF_ERROR(FinishProgressive());
    if (progress.has_best && progress.best_step != progress.step) SLUICE_RETURN_IF_ERROR(RestoreBest());
  }
  return FillReport();
}

template <class T>
Status Trainer<T>::RestoreBest() {
  SLUICE_ASSIGN_OR_RETURN(report_.checkpoint, FindModel(folder_.path));
  SLUICE_ASSIGN_OR_RETURN(const auto reader, checkpoint::CheckpointReader::Open(report_.checkpoint));
  worker_.reset();
  state_.reset();  // before the other one comes: there may not be memory for two
  SLUICE_ASSIGN_OR_RETURN(state_, ModelState<T>::Make(header_.config, source_->schema()));
  SLUICE_RETURN_IF_ERROR(state_->TakeForm(context_.form));
  SLUICE_RETURN_IF_ERROR(LoadState(*reader, state_.get(), ranks()));
  report_.best_step = header_.progress.best_step;
  return Measure();
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

template <class T>
Result<placement::Strategy> Trainer<T>::Plan(const placement::Machine& link) {
  const RunConfig& config = header_.config;
  SLUICE_ASSIGN_OR_RETURN(const placement::PlanInput input,
                          MakePlanInput(config, header_.features, *state_, context_.ranks->size(), link, pool_.get()));
  SLUICE_ASSIGN_OR_RETURN(PlannedRun planned, PlanForms(config, input, *state_));
  planned_ = std::make_unique<PlannedRun>(std::move(planned));
  if (!options_.quiet) {
    SLUICE_INFO("{} ranks: {}", context_.ranks->size(), planned_->plan.reason);
    SLUICE_INFO("the batch size of {} is that of all ranks together", config.train.batch_size);
  }
  return planned_->plan.strategy;
}

// What the settled strategy should send, for the report.
template <class T>
Status Trainer<T>::PredictTraffic() {
  if (planned_ == nullptr) return Status::Ok();
  SLUICE_ASSIGN_OR_RETURN(const placement::StepCost cost,
                          CostAs(context_.form, context_.strategy, *state_, planned_.get()));
  for (int kind = 0; kind < comm::kNumTraffics; ++kind)
    if (static_cast<comm::Traffic>(kind) != comm::Traffic::kControl)
      report_.predicted_bytes_per_sample[comm::TrafficName(static_cast<comm::Traffic>(kind))] =
          cost.bytes[static_cast<size_t>(kind)] / static_cast<double>(planned_->input.batch_size);
  planned_.reset();
  return Status::Ok();
}

template <class T>
data::Slice Trainer<T>::InputSlice() const {
  if (context_.ranks == nullptr || !context_.strategy.sharded_input) return {};
  return {context_.ranks->rank(), context_.ranks->size()};
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
