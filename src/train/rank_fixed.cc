#include "train/rank_fixed.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "placement/column_routes.h"
#include "train/must.h"

namespace sluice::train {
namespace {

using comm::ReduceOp;
using comm::Traffic;

}  // namespace

template <class T>
RankFixed<T>::RankFixed(const RankContext& context, ModelState<T>* state, ThreadPool* pool)
    : context_(context),
      comm_(&context.ranks->worker()),
      state_(state),
      pool_(pool),
      exchange_(comm_, comm::Wire::kNative) {
  if (context.strategy.replicated) return;
  const std::vector<int>& vocabularies = state->tables->ids().vocabulary_of_fields();
  const auto routes = [&](nn::Reduction reduction) {
    return placement::MakeColumnRoutes(context.strategy, vocabularies, state->net->operator_columns(), reduction,
                                       comm_->size());
  };
  placement::ColumnRoutes none;
  none.from.resize(static_cast<size_t>(comm_->size()));
  sum_exchange_ = std::make_unique<placement::PartialExchange<int64_t>>(routes(nn::Reduction::kSum), none, comm_,
                                                                        comm::Wire::kNative);
  max_exchange_ =
      std::make_unique<placement::PartialExchange<T>>(none, routes(nn::Reduction::kMax), comm_, comm::Wire::kNative);
}

template <class T>
nn::PartialColumns<const T> RankFixed<T>::Partials(const WorkingSet& set, const std::vector<nn::RowsView<T>>& rows,
                                                   const std::vector<nn::RowsView<T>>* mine) {
  const nn::Net<T>& net = *state_->net;
  const int64_t columns = net.partial_columns(nn::Reduction::kSum), max = net.partial_columns(nn::Reduction::kMax);
  const int64_t size = set.batch.size;
  const auto round = [&](const AlignedBuffer<int64_t>& sums) {
    sum_.Resize(sums.size());
    nn::Net<T>::FromFixedPoint(sums.data(), nn::kPartialFixed, sum_.size(), *pool_, "partials", sum_.data());
    return sum_.data();
  };
  max_.Resize(size * max);
  net.Partials(set.batch, rows, *pool_, {nullptr, max_.data()});
  partials_.Resize(size * columns);
  net.FixedPartials(set.batch, rows, *pool_, partials_.data());
  if (context_.strategy.replicated) {
    Must(comm_->AllReduce<T>({max_.data(), static_cast<size_t>(size * max)}, ReduceOp::kMax, Traffic::kPartials));
    Must(comm_->AllReduce<int64_t>({partials_.data(), static_cast<size_t>(size * columns)}, ReduceOp::kSum,
                                   Traffic::kPartials));
    return {round(partials_), max_.data()};
  }
  my_max_.Resize(set.local.size * max);
  my_partials_.Resize(set.local.size * columns);
  if (mine != nullptr) {
    net.Partials(set.local, *mine, *pool_, {nullptr, my_max_.data()});
    net.FixedPartials(set.local, *mine, *pool_, my_partials_.data());
  }
  Must(max_exchange_->Forward(size, {nullptr, max_.data()}, *pool_, {nullptr, my_max_.data()}));
  Must(sum_exchange_->Forward(size, {partials_.data(), nullptr}, *pool_, {my_partials_.data(), nullptr}));
  return {round(my_partials_), my_max_.data()};
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
  const auto travels = [&](size_t v) { return context_.strategy.of_vocabulary[v] == placement::Placement::kRowsA2a; };
  // Of the rows that travelled, by table and vocabulary.
  const auto make_tasks = [&](const embedding::VirtualIds& ids) {
    std::vector<Task> tasks;
    for (size_t t = 0; t < serves.size(); ++t)
      for (size_t v = 0; v < serves[t].size(); ++v)
        for (int64_t at = ids.block_begin[v]; serves[t][v] && travels(v) && at < ids.block_begin[v + 1];
             at += kTaskRows)
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
    nn::Net<T>::FromFixedPoint(
        owned_grads_[t].data() + rows.begin * dim(t), fixed, rows.size() * dim(t), *pool_,
        fmt::format("step {}: row gradients of table {}", set.step, state_->tables->need(static_cast<int>(t)).name),
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
