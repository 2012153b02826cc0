#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "nn/net.h"
#include "train/model_state.h"
#include "train/rank_step.h"
#include "train/remote_step.h"
#include "train/table_set.h"
#include "train/working_set.h"

namespace sluice::train {

template <class T>
struct WorkerOptions {
  double clip_norm = 0;        // over dense and row gradients together; 0: off
  double clip_norm_dense = 0;  // over dense gradients alone; 0: off
  bool check_finite = true;
  uint64_t seed = 1;
  const RankContext* ranks = nullptr;  // null: one process
  int64_t check_replicas_every = 0;    // with several ranks: steps between comparisons of dense parameters; 0: never
  RemoteStep<T>* remote = nullptr;     // where rows and dense parameters live on parameter servers
  bool gather_logits = false;          // with several ranks: logits of the global batch after Train too
};

// Seconds of the worker stage by part, summed over steps.
struct WorkerTimes {
  double gather_s = 0;
  // With several ranks: before the net, partials of owned keys and what travels of them, or pulling rows; after it,
  // gradients on their way to the ranks that apply them, the wait for dense gradients, agreement.
  double ranks_before_s = 0, ranks_after_s = 0;
  double net_s = 0;     // forward, loss and backward
  double update_s = 0;  // row gradients, optimizers of rows and dense parameters
};

// Stage 3: one training step on a batch whose rows are resolved, or its scores.
// Semantics    the optimizer runs once per unique row and step. Without clip_norm a row's gradient is summed and
//              applied while it is in the cache; with it, all gradients are summed first.
// Threads      one caller; works on the pool.
// Errors       a StatusError: kNumeric naming step, and layer or field and key, for the first NaN or infinity; the
//              model is then unfit to go on.
template <class T>
class Worker {
 public:
  Worker(ModelState<T>* state, ThreadPool* pool, const WorkerOptions<T>& options);

  void Train(const WorkingSet& set);
  void Predict(const WorkingSet& set);

  // Of the last call: [batch size, num_labels], and the loss.
  // With several ranks, of the global batch; logits after Train only where they are gathered, else null.
  const T* logits() const { return logits_; }
  nn::LossSums loss() const { return loss_; }
  // With several ranks: a wish of this rank that the others hear of in the next Train, and whether any rank had one.
  void set_wish(bool wish) { wish_ = wish; }
  bool any_wish() const { return any_wish_; }
  // With several ranks, collective: the state is whole on every rank, for a checkpoint.
  void CompleteState() {
    if (rank_step_ != nullptr) rank_step_->ShareOwnedLayers();
  }

  const WorkerTimes& times() const { return times_; }
  void ResetTimes() { times_ = {}; }

 private:
  // The batch, rows and partials that the net works on.
  typename RankStep<T>::Input Gather(const WorkingSet& set);
  void Update(const WorkingSet& set);
  void Push(const WorkingSet& set);
  void PushNothing(const WorkingSet& set);
  void ClipByNorm(const WorkingSet& set);
  double SumOfSquaresOfRows(const WorkingSet& set);
  void ApplyDense(int part, int parts);
  void ApplyDense(Range params);
  void RowGradients(const WorkingSet& set, const RowTask& task);
  [[noreturn]] void ThrowNotFinite(const WorkingSet& set, const Status& status);

  ModelState<T>* state_;
  ThreadPool* pool_;
  WorkerOptions<T> options_;
  typename nn::Net<T>::WorkspacePtr workspace_;
  std::unique_ptr<RankStep<T>> rank_step_;  // null: one process
  const T* logits_ = nullptr;
  nn::LossSums loss_;
  bool wish_ = false, any_wish_ = false;
  RowBuffers<T> buffers_;
  AlignedBuffer<T> clipped_;  // dense gradients after clipping
  const T* dense_grad_ = nullptr;
  std::vector<RowTask> tasks_;
  std::vector<double> row_squares_;
  optim::Rule step_rule_;
  int64_t step_ = 0;
  WorkerTimes times_;
};

}  // namespace sluice::train
