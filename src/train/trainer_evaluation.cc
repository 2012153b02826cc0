// Evaluations and checkpoints of train::Trainer, and what follows from them.
#include <utility>

#include "base/log.h"
#include "checkpoint/checkpoint_folder.h"
#include "telemetry/resource.h"
#include "train/trainer.h"

namespace sluice::train {

// The logits of a step are those of the model before its update.
template <class T>
Status Trainer<T>::ScoreBeforeTraining(const WorkingSet& set) {
  const T* logits = worker_->logits();
  if (logits == nullptr) return Status::Ok();  // this rank's samples alone say little
  SLUICE_RETURN_IF_ERROR(progressive_->Add(set.batch, logits));
  if (loss_ == nn::LossKind::kBce && !options_.quiet && state_->schema.num_labels() == 1)
    live_auc_.Add(progressive_->scores(), set.batch.labels, set.batch.sample_weights);
  return Status::Ok();
}

// After the last checkpoint: what was added up starts anew.
template <class T>
Status Trainer<T>::FinishProgressive() {
  if (!data_ended_ || !leads()) return Status::Ok();
  SLUICE_ASSIGN_OR_RETURN(report_.progressive, progressive_->Finish());
  if (report_.progressive.samples == 0) return Status::Ok();
  progress_->Clear();
  if (!options_.quiet) SLUICE_INFO("before training: {}", ToText(report_.progressive));
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
  SLUICE_ASSIGN_OR_RETURN(const std::string path,
                          SaveCheckpoint(to, header_, *state_, progressive_->evaluator(), ranks()));
  const bool best = to == folder_.best();
  if (leads()) SLUICE_RETURN_IF_ERROR(checkpoint::KeepLast(to, best ? 1 : header_.config.checkpoint.keep));
  if (!best) {
    report_.checkpoint = path;
    last_checkpoint_s_ = telemetry::WallSeconds();
  }
  return Log({"checkpoint", header_.progress.step, header_.progress.samples, {}});
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

template class Trainer<float>;
template class Trainer<double>;

}  // namespace sluice::train
