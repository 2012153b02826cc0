#include "train/evaluation.h"

#include <cmath>
#include <vector>

#include "metric/evaluator.h"
#include "train/host_stage.h"
#include "train/worker.h"

namespace sluice::train {

namespace {

template <class T>
Result<bool> AskedToStop(const ScoreOptions<T>& options) {
  if (options.stop == nullptr) return false;
  int64_t asked = options.stop->load(std::memory_order_relaxed) ? 1 : 0;
  if (options.ranks != nullptr)
    SLUICE_RETURN_IF_ERROR(options.ranks->ranks->control().template AllReduce<int64_t>(
        {&asked, 1}, comm::ReduceOp::kSum, comm::Traffic::kControl));
  return asked > 0;
}

}  // namespace

template <class T>
Status ScoreSource(ModelState<T>* state, data::BatchSource* source, ThreadPool* pool, const ScoreOptions<T>& options,
                   const ScoreVisitor& visit) {
  HostStageOptions<T> host_options;
  host_options.mode = embedding::ResolveMode::kLookup;
  host_options.overlap = options.overlap;
  host_options.queue_depth = options.queue_depth;
  host_options.ranks = options.ranks;
  host_options.remote = options.remote;
  host_options.needs_labels = true;
  WorkerOptions<T> worker_options;
  worker_options.ranks = options.ranks;
  worker_options.remote = options.remote;
  Worker<T> worker(state, pool, worker_options);
  HostStage<T> host(source, state->tables.get(), pool, host_options);
  std::vector<float> scores;
  bool leaving = false;
  try {
    while (true) {
      SLUICE_ASSIGN_OR_RETURN(const auto item, host.Next());
      if (item.event == HostStage<T>::Event::kEnd) return Status::Ok();
      if (item.event == HostStage<T>::Event::kRest) return Status(StatusCode::kCancelled, "interrupted");
      WorkingSet* set = item.set;
      worker.Predict(*set);
      if (options.remote == nullptr) state->tables->Release(*set);
      const T* logits = worker.logits();
      scores.resize(static_cast<size_t>(set->batch.size) * state->schema.num_labels());
      for (size_t i = 0; i < scores.size(); ++i)
        scores[i] = static_cast<float>(static_cast<double>(logits[i]) + options.logit_correction);
      SLUICE_RETURN_IF_ERROR(visit(set->batch, scores.data()));
      const int64_t step = set->step;
      host.Recycle(set);
      if (leaving) continue;
      SLUICE_ASSIGN_OR_RETURN(leaving, AskedToStop(options));
      if (!leaving) continue;
      if (options.ranks == nullptr) return Status(StatusCode::kCancelled, "interrupted");
      // Host stages are some batches ahead, and none may wait for the keys of a batch that others have given up.
      host.RequestRestAt(step + HostStage<T>::kRestAhead);
    }
  } catch (const StatusError& error) {
    return error.status();
  }
}

template <class T>
Result<metric::Metrics> EvaluateSource(ModelState<T>* state, nn::LossKind loss, data::BatchSource* source,
                                       ThreadPool* pool, const ScoreOptions<T>& options) {
  metric::EvaluatorOptions evaluator_options;
  evaluator_options.scores = loss == nn::LossKind::kBce ? metric::ScoreKind::kLogit : metric::ScoreKind::kValue;
  evaluator_options.num_labels = state->schema.num_labels();
  evaluator_options.grouped = state->schema.has_group;
  metric::Evaluator evaluator(evaluator_options);
  SLUICE_RETURN_IF_ERROR(
      ScoreSource<T>(state, source, pool, options, [&](const data::Batch& batch, const float* scores) {
        return evaluator.Add({{scores, batch.labels.size()}, batch.labels, batch.sample_weights, batch.groups});
      }));
  return evaluator.Finish();
}

Result<double> Goodness(const metric::Metrics& metrics, const std::string& name) {
  double value = metric::kUndefined;
  if (name == "auc") value = metrics.auc;
  if (name == "gauc") value = metrics.gauc;
  if (name == "logloss") value = -metrics.logloss;
  if (name == "normalized_entropy") value = -metrics.ne;
  if (name == "rmse") value = -metrics.rmse;
  if (std::isnan(value))
    return InvalidArgument(
        "train.early_stopping.metric: the held-out data does not define {} (one class only, or no "
        "groups)",
        name);
  return value;
}

template Status ScoreSource(ModelState<float>*, data::BatchSource*, ThreadPool*, const ScoreOptions<float>&,
                            const ScoreVisitor&);
template Status ScoreSource(ModelState<double>*, data::BatchSource*, ThreadPool*, const ScoreOptions<double>&,
                            const ScoreVisitor&);
template Result<metric::Metrics> EvaluateSource(ModelState<float>*, nn::LossKind, data::BatchSource*, ThreadPool*,
                                                const ScoreOptions<float>&);
template Result<metric::Metrics> EvaluateSource(ModelState<double>*, nn::LossKind, data::BatchSource*, ThreadPool*,
                                                const ScoreOptions<double>&);

}  // namespace sluice::train
