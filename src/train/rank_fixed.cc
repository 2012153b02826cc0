#include "train/rank_fixed.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "placement/ownership.h"

namespace sluice::train {
namespace {

using comm::ReduceOp;
using comm::Traffic;

void Must(const Status& status) {
  if (!status.ok()) throw StatusError(status);
}

// Rows whose fixed-point gradients are summed or converted at a time.
constexpr int64_t kTaskRows = 4096;

}  // namespace

template <class T>
RankFixed<T>::RankFixed(const RankContext& context, ModelState<T>* state, ThreadPool* pool)
    : context_(context), comm_(&context.ranks->worker()), state_(state), pool_(pool), exchange_(comm_) {}

template <class T>
nn::PartialColumns<const T> RankFixed<T>::Partials(const data::Batch& batch, const std::vector<nn::RowsView<T>>& rows) {
  const nn::Net<T>& net = *state_->net;
  const int64_t columns = net.partial_columns(nn::Reduction::kSum), max = net.partial_columns(nn::Reduction::kMax);
  max_.Resize(batch.size * max);
  net.Partials(batch, rows, *pool_, {nullptr, max_.data()});
  Must(comm_->AllReduce<T>({max_.data(), static_cast<size_t>(batch.size * max)}, ReduceOp::kMax, Traffic::kPartials));
  partials_.Resize(batch.size * columns);
  net.FixedPartials(batch, rows, *pool_, partials_.data());
  const std::span<int64_t> all(partials_.data(), static_cast<size_t>(batch.size * columns));
  if (context_.strategy.replicated) {
    Must(comm_->AllReduce<int64_t>(all, ReduceOp::kSum, Traffic::kPartials));
    sum_.Resize(batch.size * columns);
    nn::Net<T>::FromFixedPoint(all.data(), nn::kPartialFixed, sum_.size(), *pool_, "partials", sum_.data());
    return {sum_.data(), max_.data()};
  }
  std::vector<int64_t> counts;
  for (int r = 0; r < comm_->size(); ++r)
    counts.push_back(placement::SamplesOfRank(batch.size, r, comm_->size()).size() * columns);
  my_partials_.Resize(counts[static_cast<size_t>(comm_->rank())]);
  Must(comm_->ReduceScatter<int64_t>(all, counts, {my_partials_.data(), static_cast<size_t>(my_partials_.size())},
                                     ReduceOp::kSum, Traffic::kPartials));
  sum_.Resize(my_partials_.size());
  nn::Net<T>::FromFixedPoint(my_partials_.data(), nn::kPartialFixed, sum_.size(), *pool_, "partials", sum_.data());
  const Range mine = placement::SamplesOfRank(batch.size, comm_->rank(), comm_->size());
  return {sum_.data(), max_.data() + mine.begin * max};
}

template <class T>
void RankFixed<T>::ReduceDenseGradient(std::span<int64_t> gradient) {
  Must(comm_->AllReduce<int64_t>(gradient, ReduceOp::kSum, Traffic::kDenseGradients));
}

template <class T>
void RankFixed<T>::PushRowGradients(const WorkingSet& set, const std::vector<std::vector<uint8_t>>& serves,
                                    const RowBuffers<T>& mine, typename nn::Net<T>::Workspace* workspace,
                                    RowBuffers<T>* owned) {
  struct Task {
    size_t table;
    Range rows;
  };
  // Of the rows of every vocabulary that a table serves.
  const auto make_tasks = [&](const embedding::VirtualIds& ids) {
    std::vector<Task> tasks;
    for (size_t t = 0; t < serves.size(); ++t)
      for (size_t v = 0; v < serves[t].size(); ++v)
        for (int64_t at = ids.block_begin[v]; serves[t][v] && at < ids.block_begin[v + 1]; at += kTaskRows)
          tasks.push_back({t, {at, std::min<int64_t>(at + kTaskRows, ids.block_begin[v + 1])}});
    return tasks;
  };
  const auto dim = [&](size_t t) { return state_->tables->need(static_cast<int>(t)).dim; };
  my_grads_.resize(serves.size());
  owned_grads_.resize(serves.size());
  std::vector<placement::TableRows<int64_t>> tables;
  for (size_t t = 0; t < serves.size(); ++t) {
    my_grads_[t].Resize(set.local_ids.num_unique() * dim(t));
    owned_grads_[t].Resize(set.ids.num_unique() * dim(t));
    tables.push_back({dim(t), &serves[t], owned_grads_[t].data(), my_grads_[t].data()});
  }
  const std::vector<Task> sums = make_tasks(set.local_ids);
  pool_->ForEach(static_cast<int64_t>(sums.size()), [&](int64_t i, int) {
    const auto& [t, rows] = sums[static_cast<size_t>(i)];
    state_->net->FixedRowGradients(set.local, mine.views, static_cast<int>(t), rows, workspace,
                                   my_grads_[t].data() + rows.begin * dim(t));
  });
  Must(exchange_.Push(set.routes, tables, *pool_));
  const nn::FixedPoint fixed = nn::Net<T>::row_gradient_fixed(*workspace);
  for (const auto& [t, rows] : make_tasks(set.ids))
    nn::Net<T>::FromFixedPoint(owned_grads_[t].data() + rows.begin * dim(t), fixed, rows.size() * dim(t), *pool_,
                               fmt::format("step {}: row gradients of table {}", set.step,
                                           state_->tables->need(static_cast<int>(t)).name),
                               owned->grads[t].data() + rows.begin * dim(t));
}

template <class T>
nn::LossSums RankFixed<T>::Agree(const typename nn::Net<T>::Workspace& workspace, bool wish, bool* any_wish) {
  // The wish, then the losses and weights of logical chunks; where every rank computes all samples, the wish alone.
  const auto mine = nn::Net<T>::chunk_losses(workspace);
  std::array<double, 1 + 2 * kNumChunks> sums{};
  sums[0] = wish ? 1 : 0;
  for (size_t c = 0; c < mine.size(); ++c) {
    sums[1 + 2 * c] = mine[c].loss;
    sums[2 + 2 * c] = mine[c].weight;
  }
  const size_t n = context_.strategy.replicated ? 1 : sums.size();
  Must(comm_->AllReduce<double>({sums.data(), n}, ReduceOp::kSum, Traffic::kStatistics));
  *any_wish = sums[0] > 0;
  nn::LossSums all;
  for (size_t c = 0; c < mine.size(); ++c) {
    all.loss += sums[1 + 2 * c];
    all.weight += sums[2 + 2 * c];
  }
  return all;
}

template <class T>
double RankFixed<T>::SumOverRanks(ExactSum sum) {
  Must(comm_->AllReduce<int64_t>(sum.words(), ReduceOp::kSum, Traffic::kStatistics));
  return sum.Value();
}

template class RankFixed<float>;
template class RankFixed<double>;

}  // namespace sluice::train
