#include "train/rank_step.h"

#include <algorithm>
#include <array>
#include <span>

#include "placement/ownership.h"
#include "train/must.h"

namespace sluice::train {
namespace {

using comm::ReduceOp;
using comm::Traffic;

template <class T>
std::span<T> Span(AlignedBuffer<T>& buffer) {
  return {buffer.data(), static_cast<size_t>(buffer.size())};
}

}  // namespace

template <class T>
RankStep<T>::RankStep(const RankContext& context, ModelState<T>* state, ThreadPool* pool)
    : context_(context),
      comm_(&context.ranks->worker()),
      state_(state),
      pool_(pool),
      sum_columns_(state->net->partial_columns(nn::Reduction::kSum)),
      max_columns_(state->net->partial_columns(nn::Reduction::kMax)),
      owners_compute_(context.strategy.owner_computes()),
      owned_layers_(*state->net, context.strategy, state->tables->ids().vocabulary_of_fields(), comm_->rank(),
                    comm_->size()),
      dense_sync_(&context.ranks->dense(), owned_layers_.num_everywhere(), context.dense),
      row_exchange_(comm_, context.strategy.rows) {
  if (state->net->deterministic()) fixed_ = std::make_unique<RankFixed<T>>(context, state, pool);
  const auto& ids = state->tables->ids();
  for (int t = 0; t < state->tables->size(); ++t) {
    auto& serves = serves_.emplace_back(static_cast<size_t>(ids.num_vocabularies()), uint8_t{0});
    for (const int field : state->tables->need(t).fields)
      serves[static_cast<size_t>(ids.vocabulary_of_field(field))] = 1;
  }
  if (replicated()) return;
  parts_.reduce_sums = [this](std::span<double> sums) {
    Must(comm_->AllReduce<double>(sums, ReduceOp::kSum, Traffic::kStatistics));
  };
  if (fixed_ != nullptr)
    parts_.reduce_dense_gradient = [this](std::span<int64_t> gradient) { fixed_->ReduceDenseGradient(gradient); };
  else if (!owned_layers_.lives_apart())
    parts_.gradients_final = [this](std::span<T> all, Range part) {
      owned_layers_.ForFinalParts(part, [&](Range final) { dense_sync_.GradientsFinal(all, final); });
    };
  const std::vector<int>& vocabularies = state->tables->ids().vocabulary_of_fields();
  const auto routes = [&](nn::Reduction reduction) {
    return placement::MakeColumnRoutes(context.strategy, vocabularies, state->net->operator_columns(), reduction,
                                       comm_->size());
  };
  partial_exchange_ = std::make_unique<placement::PartialExchange<T>>(
      routes(nn::Reduction::kSum), routes(nn::Reduction::kMax), comm_, context.strategy.partials);
}

template <class T>
std::vector<placement::TableRows<T>> RankStep<T>::Tables(RowBuffers<T>* buffers, bool gradients) {
  std::vector<placement::TableRows<T>> tables;
  for (size_t t = 0; t < serves_.size(); ++t) {
    auto& owned = gradients ? buffers->grads[t] : buffers->rows[t];
    auto& mine = gradients ? local_.grads[t] : local_.rows[t];
    tables.push_back({state_->tables->need(static_cast<int>(t)).dim, &serves_[t], owned.data(), mine.data()});
  }
  return tables;
}

template <class T>
typename RankStep<T>::Input RankStep<T>::Forward(const WorkingSet& set, RowBuffers<T>* buffers) {
  parts_.weight = set.weight;
  parts_.batch_size = set.batch.size;
  return replicated() ? ForwardReplicated(set, buffers) : ForwardDivided(set, buffers);
}

template <class T>
typename RankStep<T>::Input RankStep<T>::ForwardReplicated(const WorkingSet& set, RowBuffers<T>* buffers) {
  parts_.has_partials = true;
  if (fixed_ != nullptr) {
    parts_.partials = fixed_->Partials(set, buffers->views, nullptr);
    return {&set.batch, &buffers->views, &parts_};
  }
  partials_.Resize(set.batch.size, sum_columns_, max_columns_);
  state_->net->Partials(set.batch, buffers->views, *pool_, partials_.view(), state_->params.data(), &projected_);
  Must(comm_->AllReduce<T>(Span(partials_.max), ReduceOp::kMax, Traffic::kPartials, context_.strategy.partials));
  Must(comm_->AllReduce<T>(Span(partials_.sum), ReduceOp::kSum, Traffic::kPartials, context_.strategy.partials));
  parts_.partials = {partials_.sum.data(), partials_.max.data()};
  return {&set.batch, &buffers->views, &parts_};
}

template <class T>
typename RankStep<T>::Input RankStep<T>::ForwardDivided(const WorkingSet& set, RowBuffers<T>* buffers) {
  parts_.batch_begin = placement::SamplesOfRank(set.batch.size, comm_->rank(), comm_->size()).begin;
  if (rows_travel()) {
    state_->tables->PrepareBuffers(set.local_ids, &local_);
    Must(row_exchange_.Pull(set.routes, Tables(buffers, false), *pool_));
    if (!owners_compute_) return {&set.local, &local_.views, &parts_};
  }
  parts_.has_partials = true;
  if (fixed_ != nullptr) {
    parts_.partials = fixed_->Partials(set, buffers->views, rows_travel() ? &local_.views : nullptr);
    return {&set.local, &no_rows_, &parts_};
  }
  local_partials_.Resize(set.local.size, sum_columns_, max_columns_);
  const T* params = state_->params.data();
  if (rows_travel())
    state_->net->Partials(set.local, local_.views, *pool_, local_partials_.view(), params, &local_projected_);
  partials_.Resize(set.batch.size, sum_columns_, max_columns_);
  state_->net->Partials(set.batch, buffers->views, *pool_, partials_.view(), params, &projected_);
  Must(partial_exchange_->Forward(set.batch.size, partials_.view(), *pool_, local_partials_.view()));
  parts_.partials = {local_partials_.sum.data(), local_partials_.max.data()};
  return {&set.local, &no_rows_, &parts_};
}

template <class T>
void RankStep<T>::LocalRowGradients(const WorkingSet& set, typename nn::Net<T>::Workspace* workspace) {
  // Vocabulary by vocabulary: a range of rows that no field of another vocabulary has is scanned once.
  struct Task {
    int table;
    Range rows;
  };
  std::vector<Task> tasks;
  const auto& begin = set.local_ids.block_begin;
  for (size_t t = 0; t < serves_.size(); ++t) {
    for (size_t v = 0; v < serves_[t].size(); ++v) {
      if (!serves_[t][v]) continue;
      const int64_t n = begin[v + 1] - begin[v];
      const int parts = static_cast<int>(std::clamp<int64_t>(n / kTaskRows, 1, 2 * pool_->num_threads()));
      for (int p = 0; p < parts; ++p) {
        const Range part = PartRange(n, p, parts);
        if (!part.empty()) tasks.push_back({static_cast<int>(t), {begin[v] + part.begin, begin[v] + part.end}});
      }
    }
  }
  pool_->ForEach(static_cast<int64_t>(tasks.size()), [&](int64_t i, int) {
    const Task& task = tasks[static_cast<size_t>(i)];
    T* grads = local_.grads[static_cast<size_t>(task.table)].data();
    if (owners_compute_)
      state_->net->RowGradients(set.local, local_.views, task.table, task.rows, local_partials_.view(),
                                local_grads_.view(), grads, {}, &local_projected_);
    else
      state_->net->RowGradients(set.local, local_.views, task.table, task.rows, workspace, grads);
  });
}

template <class T>
void RankStep<T>::Backward(const WorkingSet& set, typename nn::Net<T>::Workspace* workspace, RowBuffers<T>* buffers) {
  T* dense_grad = nn::Net<T>::mutable_dense_grad(workspace);
  if (replicated()) {
    if (!owned_layers_.any()) return;
    partial_grads_.Resize(set.batch.size, sum_columns_, max_columns_);
    state_->net->PartialGradients(*pool_, workspace, partial_grads_.view());
    ProjectionGradients(set, dense_grad);
    return;
  }
  if (owners_compute_) {
    local_grads_.Resize(set.local.size, sum_columns_, max_columns_);
    state_->net->PartialGradients(*pool_, workspace, local_grads_.view());
    partial_grads_.Resize(set.batch.size, sum_columns_, max_columns_);
    Must(partial_exchange_->Backward(set.batch.size, local_grads_.view(), *pool_, partial_grads_.view()));
    if (owned_layers_.any()) ProjectionGradients(set, dense_grad);
  }
  if (rows_travel() && fixed_ != nullptr) {
    fixed_->PushRowGradients(set, serves_, local_, workspace, buffers);
  } else if (rows_travel()) {
    LocalRowGradients(set, workspace);
    Must(row_exchange_.Push(set.routes, Tables(buffers, true), *pool_));
  }
  // The net itself sums them over ranks in fixed point.
  if (state_->net->deterministic()) return;
  // Last: the dense gradients travel beside all of the above.
  ReduceDenseGradients(dense_grad);
}

template <class T>
void RankStep<T>::ProjectionGradients(const WorkingSet& set, T* dense_grad) {
  const T* params = state_->params.data();
  state_->net->ProjectionGradients(set.batch.size, partial_grads_.view(), params, *pool_, &projected_);
  if (replicated()) {
    Must(owned_layers_.SumGradients(projected_.weight_grads.data(), comm_, context_.strategy.dense_gradients,
                                    &everywhere_grads_, dense_grad));
    return;
  }
  owned_layers_.AddGradients(projected_.weight_grads.data(), dense_grad);
  if (!rows_travel()) return;
  state_->net->ProjectionGradients(set.local.size, local_grads_.view(), params, *pool_, &local_projected_);
  owned_layers_.AddGradients(local_projected_.weight_grads.data(), dense_grad);
}

template <class T>
void RankStep<T>::ReduceDenseGradients(T* dense_grad) {
  const auto size = static_cast<size_t>(state_->params.size());
  if (!owned_layers_.lives_apart()) {
    Must(dense_sync_.BeforeUpdate({dense_grad, size}));
    return;
  }
  everywhere_grads_.Resize(owned_layers_.num_everywhere());
  T* packed = everywhere_grads_.data();
  for (const Range& range : owned_layers_.everywhere())
    packed = std::copy(dense_grad + range.begin, dense_grad + range.end, packed);
  Must(dense_sync_.BeforeUpdate(Span(everywhere_grads_)));
  const T* summed = everywhere_grads_.data();
  for (const Range& range : owned_layers_.everywhere()) {
    std::copy(summed, summed + range.size(), dense_grad + range.begin);
    summed += range.size();
  }
}

template <class T>
double RankStep<T>::SumOfDenseSquares(const T* dense_grad) {
  Result<double> sum = owned_layers_.SumOfSquares(dense_grad, comm_);
  Must(sum.status());
  return sum.value();
}

template <class T>
void RankStep<T>::ShareOwnedLayers() {
  Must(owned_layers_.Share(comm_, state_));
}

template <class T>
void RankStep<T>::RowGradients(const WorkingSet& set, int table, Range range, typename nn::Net<T>::Workspace* workspace,
                               RowBuffers<T>* buffers) {
  const auto& begin = set.ids.block_begin;
  const auto vocabulary =
      static_cast<size_t>(std::upper_bound(begin.begin(), begin.end(), range.begin) - begin.begin() - 1);
  // Backward has summed those of rows that travelled.
  if (context_.strategy.of_vocabulary[vocabulary] == placement::Placement::kRowsA2a) return;
  T* grads = buffers->grads[static_cast<size_t>(table)].data();
  if (replicated() && !owned_layers_.any())
    state_->net->RowGradients(set.batch, buffers->views, table, range, workspace, grads);
  else
    state_->net->RowGradients(set.batch, buffers->views, table, range, {partials_.sum.data(), max_partials()},
                              partial_grads_.view(), grads, nn::Net<T>::row_gradient_fixed(*workspace), &projected_);
}

template <class T>
double RankStep<T>::SumOverRanks(double value) {
  Must(comm_->AllReduce<double>({&value, 1}, ReduceOp::kSum, Traffic::kStatistics));
  return value;
}

template <class T>
nn::LossSums RankStep<T>::Agree(const typename nn::Net<T>::Workspace& workspace, bool wish, bool* any_wish) {
  if (fixed_ != nullptr) return fixed_->Agree(workspace, wish, any_wish);
  const nn::LossSums mine = nn::Net<T>::loss(workspace);
  std::array<double, 3> sums = {wish ? 1.0 : 0.0, mine.loss, mine.weight};
  // Where every rank computes all samples, each has the loss already.
  const size_t n = replicated() ? 1 : sums.size();
  Must(comm_->AllReduce<double>({sums.data(), n}, ReduceOp::kSum, Traffic::kStatistics));
  *any_wish = sums[0] > 0;
  if (replicated()) return mine;
  nn::LossSums all = mine;
  all.loss = sums[1];
  all.weight = sums[2];
  return all;
}

template <class T>
const T* RankStep<T>::GatherLogits(const WorkingSet& set, const T* mine) {
  if (replicated()) return mine;
  const int64_t labels = state_->schema.num_labels();
  logits_.Resize(set.batch.size * labels);
  std::vector<int64_t> counts;
  for (int r = 0; r < comm_->size(); ++r)
    counts.push_back(placement::SamplesOfRank(set.batch.size, r, comm_->size()).size() * labels);
  Must(comm_->AllGather<T>({mine, static_cast<size_t>(set.local.size * labels)}, counts, Span(logits_),
                           Traffic::kStatistics));
  return logits_.data();
}

template class RankStep<float>;
template class RankStep<double>;

}  // namespace sluice::train
