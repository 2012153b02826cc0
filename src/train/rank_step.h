#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "nn/net.h"
#include "placement/partial_exchange.h"
#include "placement/row_exchange.h"
#include "train/model_state.h"
#include "train/owned_layers.h"
#include "train/rank_fixed.h"
#include "train/rank_keys.h"
#include "train/table_set.h"
#include "train/working_set.h"

namespace sluice::train {

// Partials of a batch, or their gradients.
template <class T>
struct PartialBuffers {
  AlignedBuffer<T> sum, max;
  nn::PartialColumns<T> view() { return {sum.data(), max.data()}; }
  void Resize(int64_t rows, int64_t sum_columns, int64_t max_columns) {
    sum.Resize(rows * sum_columns);
    max.Resize(rows * max_columns);
  }
};

// The worker's part of a step on many ranks: what the net gets in place of the rows of the whole batch, and what
// travels after it. Source: DES (Rong et al., SIGIR 2020); docs/algorithms/des.md,
// docs/decisions/0003-distributed-step.md.
// Threads      one caller; works on the pool.
// Distributed  every function is collective on the ranks' worker communicator, in the order of steps; dense gradients
//              travel on a communicator of their own from the time they are final.
// Errors       a StatusError: those of the communicator.
template <class T>
class RankStep {
 public:
  RankStep(const RankContext& context, ModelState<T>* state, ThreadPool* pool);

  struct Input {
    const data::Batch* batch = nullptr;
    const std::vector<nn::RowsView<T>>* rows = nullptr;
    const nn::StepParts<T>* parts = nullptr;
  };
  // After the rows that this rank owns were gathered into `buffers`.
  Input Forward(const WorkingSet& set, RowBuffers<T>* buffers);
  // After Net::TrainStep: dense gradients and gradients of partials or rows reach the ranks that apply them.
  void Backward(const WorkingSet& set, typename nn::Net<T>::Workspace* workspace, RowBuffers<T>* buffers);
  // Gradients of rows in `range`, of one vocabulary, that this rank owns, into buffers->grads. Ranges may run
  // concurrently.
  void RowGradients(const WorkingSet& set, int table, Range range, typename nn::Net<T>::Workspace* workspace,
                    RowBuffers<T>* buffers);
  // The sum over ranks of a number that each computed for its own rows.
  double SumOverRanks(double value);
  double SumOverRanks(const ExactSum& sum) { return fixed_->SumOverRanks(sum); }  // deterministic mode

  // The loss of the global batch, from that of this rank's samples, and whether any rank has a wish.
  nn::LossSums Agree(const typename nn::Net<T>::Workspace& workspace, bool wish, bool* any_wish);
  // Logits of the global batch [batch size, num_labels] from those of this rank's samples.
  const T* GatherLogits(const WorkingSet& set, const T* mine);

  bool replicated() const { return context_.strategy.replicated; }
  // Who has which weights of first layers.
  const OwnedLayers<T>& owned_layers() const { return owned_layers_; }
  // Over all ranks, of a dense gradient after Backward.
  double SumOfDenseSquares(const T* dense_grad);
  // Before a checkpoint: every rank has all parameters and slots.
  void ShareOwnedLayers();

 private:
  Input ForwardReplicated(const WorkingSet& set, RowBuffers<T>* buffers);
  Input ForwardDivided(const WorkingSet& set, RowBuffers<T>* buffers);
  std::vector<placement::TableRows<T>> Tables(RowBuffers<T>* buffers, bool gradients);
  void ProjectionGradients(const WorkingSet& set, T* dense_grad);
  void ReduceDenseGradients(T* dense_grad);
  void LocalRowGradients(const WorkingSet& set, typename nn::Net<T>::Workspace* workspace);
  bool rows_travel() const { return context_.strategy.uses(placement::Placement::kRowsA2a); }

  RankContext context_;
  comm::Communicator* comm_;
  ModelState<T>* state_;
  ThreadPool* pool_;
  std::unique_ptr<RankFixed<T>> fixed_;  // deterministic mode, else null
  int64_t sum_columns_, max_columns_;
  bool owners_compute_;  // some partials are computed by the owners of rows
  OwnedLayers<T> owned_layers_;
  nn::ProjectionBuffers<T> projected_, local_projected_;  // of the global batch, and of this rank's samples
  AlignedBuffer<T> everywhere_grads_;                     // dense gradients that travel, where some do not
  sync::AllReduceSync<T> dense_sync_;                     // idle where the dense net is replicated
  nn::StepParts<T> parts_;
  std::vector<nn::RowsView<T>> no_rows_;
  // The global batch's partials from the rows that this rank owns, those of this rank's samples, and gradients of both.
  PartialBuffers<T> partials_, local_partials_, partial_grads_, local_grads_;
  T* max_partials() { return fixed_ != nullptr ? fixed_->max_partials() : partials_.max.data(); }
  std::unique_ptr<placement::PartialExchange<T>> partial_exchange_;
  // Rows of my samples that travelled here, and their gradients.
  placement::RowExchange<T> row_exchange_;
  RowBuffers<T> local_;
  std::vector<std::vector<uint8_t>> serves_;  // [table][vocabulary]
  AlignedBuffer<T> logits_;
};

}  // namespace sluice::train
