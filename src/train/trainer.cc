#include "train/trainer.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "base/file.h"
#include "base/log.h"
#include "config/writer.h"
#include "telemetry/resource.h"
#include "train/rank_context.h"
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
  progressive_ = std::make_unique<ProgressiveEvaluation>(
      config, state_->schema.num_labels(), [this](const char* event, ProgressiveEvaluation::Values values) {
        return Log({event, header_.progress.step, header_.progress.samples, std::move(values)});
      });
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
    if (progressive_->evaluator() != nullptr && !checkpoint_->Names("progressive/").empty())
      SLUICE_RETURN_IF_ERROR(progressive_->evaluator()->Load(*checkpoint_, "progressive"));
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

template class Trainer<float>;
template class Trainer<double>;

}  // namespace sluice::train
