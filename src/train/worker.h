#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "nn/net.h"
#include "train/model_state.h"
#include "train/table_set.h"
#include "train/working_set.h"

namespace sluice::train {

struct WorkerOptions {
  double clip_norm = 0;         // over dense and row gradients together; 0: off
  double clip_norm_dense = 0;   // over dense gradients alone; 0: off
  bool check_finite = true;
  uint64_t seed = 1;
};

// Seconds of the worker stage by part, summed over steps.
struct WorkerTimes {
  double gather_s = 0;
  double net_s = 0;      // forward, loss and backward
  double update_s = 0;   // row gradients, optimizers of rows and dense parameters
};

// Stage 3: one training step on a batch whose rows are resolved, or its scores.
// Semantics    the optimizer runs once per unique row and step. Without clip_norm a row's gradient is summed and applied
//              while it is in the cache; with it, all gradients are summed first.
// Threads      one caller; works on the pool.
// Errors       a StatusError: kNumeric naming step, and layer or field and key, for the first NaN or infinity; the model
//              is then unfit to go on.
template <class T>
class Worker {
 public:
  Worker(ModelState<T>* state, ThreadPool* pool, const WorkerOptions& options);

  void Train(const WorkingSet& set);
  void Predict(const WorkingSet& set);

  // Of the last call: [batch size, num_labels], and the loss.
  const T* logits() const { return nn::Net<T>::logits(*workspace_); }
  nn::LossSums loss() const { return nn::Net<T>::loss(*workspace_); }

  const WorkerTimes& times() const { return times_; }
  void ResetTimes() { times_ = {}; }

 private:
  void Update(const WorkingSet& set);
  void ClipByNorm(const WorkingSet& set);
  double SumOfSquaresOfRows(const WorkingSet& set);
  void ApplyDense(int part, int parts);
  void RowGradients(const WorkingSet& set, const RowTask& task);
  [[noreturn]] void ThrowNotFinite(const WorkingSet& set, const Status& status);

  ModelState<T>* state_;
  ThreadPool* pool_;
  WorkerOptions options_;
  typename nn::Net<T>::WorkspacePtr workspace_;
  RowBuffers<T> buffers_;
  AlignedBuffer<T> clipped_;            // dense gradients after clipping
  const T* dense_grad_ = nullptr;
  std::vector<RowTask> tasks_;
  std::vector<double> row_squares_;
  optim::Rule step_rule_;
  int64_t step_ = 0;
  WorkerTimes times_;
};

}  // namespace sluice::train
