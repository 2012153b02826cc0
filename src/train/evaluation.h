#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include "base/status.h"
#include "base/thread_pool.h"
#include "data/source.h"
#include "metric/metrics.h"
#include "train/model_state.h"
#include "train/rank_keys.h"
#include "train/remote_step.h"

namespace sluice::train {

template <class T>
struct ScoreOptions {
  bool overlap = true;
  int64_t queue_depth = 2;
  double logit_correction = 0;              // added to every logit: data::LogitCorrection
  const RankContext* ranks = nullptr;       // null: one process; else collective, and every rank has all scores
  RemoteStep<T>* remote = nullptr;          // where rows live on parameter servers
  const std::atomic<bool>* stop = nullptr;  // set, on any rank: all leave with kCancelled before the data has ended
};

// Scores every batch of a source, in its order, with rows looked up and never inserted.
// Shapes       scores [batch size, num_labels]: corrected logits, or predictions of a regression.
// Threads      everything else that uses `state` at rest.
// Errors       those of the source; kNumeric for scores that are not finite; whatever `visit` returns.
using ScoreVisitor = std::function<Status(const data::Batch& batch, const float* scores)>;
template <class T>
Status ScoreSource(ModelState<T>* state, data::BatchSource* source, ThreadPool* pool, const ScoreOptions<T>& options,
                   const ScoreVisitor& visit);

// The exact metrics of a model over a source.
template <class T>
Result<metric::Metrics> EvaluateSource(ModelState<T>* state, nn::LossKind loss, data::BatchSource* source,
                                       ThreadPool* pool, const ScoreOptions<T>& options);

// Larger is better: the value of a metric that early stopping, or a plateau schedule, compares.
// Errors: kInvalidArgument where the data does not define it, saying why.
Result<double> Goodness(const metric::Metrics& metrics, const std::string& name);

}  // namespace sluice::train
