#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/exact_sum.h"
#include "base/status.h"
#include "base/thread_pool.h"
#include "nn/net.h"
#include "placement/partial_exchange.h"
#include "placement/row_exchange.h"
#include "train/model_state.h"
#include "train/rank_keys.h"
#include "train/table_set.h"
#include "train/working_set.h"

namespace sluice::train {

// What deterministic mode puts in place of RankStep's sums over ranks: the same messages with 64-bit fixed point in
// them, which adds up to the same bits on any number of ranks (nn/fixed_point.h; docs/determinism.md).
// Threads      one caller; works on the pool.
// Distributed  every function is collective on the ranks' worker communicator, in the order of steps.
// Errors       a StatusError: those of the communicator; kNumeric where a sum is out of range.
template <class T>
class RankFixed {
 public:
  RankFixed(const RankContext& context, ModelState<T>* state, ThreadPool* pool);

  // Reduced partials of the samples that this rank computes, from the rows that it owns.
  // `mine`: rows that travelled to the samples set.local; null where none do.
  nn::PartialColumns<const T> Partials(const WorkingSet& set, const std::vector<nn::RowsView<T>>& rows,
                                       const std::vector<nn::RowsView<T>>* mine);
  // The maxima of the global batch, after Partials.
  T* max_partials() { return max_.data(); }
  // Sums the dense gradient over ranks, in the middle of Net::TrainStep.
  void ReduceDenseGradient(std::span<int64_t> gradient);
  // After Net::TrainStep on `mine`: gradients of the rows that this rank owns and that travelled, into owned->grads.
  void PushRowGradients(const WorkingSet& set, const std::vector<std::vector<uint8_t>>& serves,
                        const RowBuffers<T>& mine, typename nn::Net<T>::Workspace* workspace, RowBuffers<T>* owned);
  // The loss of the global batch, summed in the order of logical chunks, and whether any rank has a wish.
  nn::LossSums Agree(const typename nn::Net<T>::Workspace& workspace, bool wish, bool* any_wish);
  double SumOverRanks(ExactSum sum);

 private:
  RankContext context_;
  comm::Communicator* comm_;
  ModelState<T>* state_;
  ThreadPool* pool_;
  AlignedBuffer<int64_t> partials_, my_partials_;
  AlignedBuffer<T> sum_, max_, my_max_;
  std::unique_ptr<placement::PartialExchange<int64_t>> sum_exchange_;  // null: replicated
  std::unique_ptr<placement::PartialExchange<T>> max_exchange_;
  placement::RowExchange<int64_t> exchange_;
  std::vector<AlignedBuffer<int64_t>> my_grads_, owned_grads_;  // [table]
};

}  // namespace sluice::train
