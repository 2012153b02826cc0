#include "train/rank_step.h"

#include <algorithm>
#include <array>
#include <span>

#include "placement/ownership.h"

namespace sluice::train {
namespace {

using comm::ReduceOp;
using comm::Traffic;

void Must(const Status& status) {
  if (!status.ok()) throw StatusError(status);
}

template <class T>
std::span<T> Span(AlignedBuffer<T>& buffer) {
  return {buffer.data(), static_cast<size_t>(buffer.size())};
}

// Rows of a task when local gradients are computed.
constexpr int64_t kTaskRows = 4096;

}  // namespace

template <class T>
RankStep<T>::RankStep(const RankContext& context, ModelState<T>* state, ThreadPool* pool)
    : context_(context),
      comm_(&context.ranks->worker()),
      state_(state),
      pool_(pool),
      sum_columns_(state->net->partial_columns(nn::Reduction::kSum)),
      max_columns_(state->net->partial_columns(nn::Reduction::kMax)),
      dense_sync_(&context.ranks->dense(), state->params.size(), context.dense),
      exchange_(comm_) {
  if (!replicated()) {
    parts_.reduce_sums = [this](std::span<double> sums) {
      Must(comm_->AllReduce<double>(sums, ReduceOp::kSum, Traffic::kStatistics));
    };
    if (!state->net->deterministic())
      parts_.gradients_final = [this](std::span<T> all, Range part) { dense_sync_.GradientsFinal(all, part); };
  }
  if (state->net->deterministic()) {
    fixed_ = std::make_unique<RankFixed<T>>(context, state, pool);
    if (!replicated())
      parts_.reduce_dense_gradient = [this](std::span<int64_t> gradient) { fixed_->ReduceDenseGradient(gradient); };
  }
  const auto& ids = state->tables->ids();
  for (int t = 0; t < state->tables->size(); ++t) {
    auto& serves = serves_.emplace_back(static_cast<size_t>(ids.num_vocabularies()), uint8_t{0});
    for (const int field : state->tables->need(t).fields)
      serves[static_cast<size_t>(ids.vocabulary_of_field(field))] = 1;
  }
}

template <class T>
std::vector<int64_t> RankStep<T>::Counts(int64_t batch_size, int64_t columns) const {
  std::vector<int64_t> counts;
  for (int r = 0; r < comm_->size(); ++r)
    counts.push_back(placement::SamplesOfRank(batch_size, r, comm_->size()).size() * columns);
  return counts;
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
  const data::Batch& batch = set.batch;
  parts_.weight = static_cast<double>(batch.size);
  if (!batch.sample_weights.empty()) {
    parts_.weight = 0;
    for (const float w : batch.sample_weights) parts_.weight += static_cast<double>(w);
  }
  const Range mine = replicated() ? Range{0, batch.size}
                                  : placement::SamplesOfRank(batch.size, comm_->rank(), comm_->size());
  parts_.batch_begin = mine.begin;
  parts_.batch_size = batch.size;
  if (!context_.strategy.owner_computes()) {
    state_->tables->PrepareBuffers(set.local_ids, &local_);
    Must(exchange_.Pull(set.routes, Tables(buffers, false), *pool_));
    return {&set.local, &local_.views, &parts_};
  }
  if (fixed_ != nullptr) {
    parts_.has_partials = true;
    parts_.partials = fixed_->Partials(batch, buffers->views);
    return {replicated() ? &batch : &set.local, replicated() ? &buffers->views : &no_rows_, &parts_};
  }
  partials_.Resize(batch.size, sum_columns_, max_columns_);
  state_->net->Partials(batch, buffers->views, *pool_, partials_.view());
  Must(comm_->AllReduce<T>(Span(partials_.max), ReduceOp::kMax, Traffic::kPartials, context_.strategy.partials));
  parts_.has_partials = true;
  if (replicated()) {
    Must(comm_->AllReduce<T>(Span(partials_.sum), ReduceOp::kSum, Traffic::kPartials, context_.strategy.partials));
    parts_.partials = {partials_.sum.data(), partials_.max.data()};
    return {&batch, &buffers->views, &parts_};
  }
  local_partials_.Resize(set.local.size, sum_columns_, 0);
  Must(comm_->ReduceScatter<T>(Span(partials_.sum), Counts(batch.size, sum_columns_), Span(local_partials_.sum),
                               ReduceOp::kSum, Traffic::kPartials, context_.strategy.partials));
  parts_.partials = {local_partials_.sum.data(), partials_.max.data() + mine.begin * max_columns_};
  return {&set.local, &no_rows_, &parts_};
}

template <class T>
void RankStep<T>::GatherPartialGradients(const WorkingSet& set, typename nn::Net<T>::Workspace* workspace) {
  local_grads_.Resize(set.local.size, sum_columns_, max_columns_);
  state_->net->PartialGradients(*pool_, workspace, local_grads_.view());
  partial_grads_.Resize(set.batch.size, sum_columns_, max_columns_);
  const auto gather = [&](AlignedBuffer<T>& from, int64_t columns, AlignedBuffer<T>& to) {
    if (columns > 0)
      Must(comm_->AllGather<T>(Span(from), Counts(set.batch.size, columns), Span(to), Traffic::kPartials,
                               context_.strategy.partials));
  };
  gather(local_grads_.sum, sum_columns_, partial_grads_.sum);
  gather(local_grads_.max, max_columns_, partial_grads_.max);
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
    state_->net->RowGradients(set.local, local_.views, task.table, task.rows, workspace,
                              local_.grads[static_cast<size_t>(task.table)].data());
  });
}

template <class T>
void RankStep<T>::Backward(const WorkingSet& set, typename nn::Net<T>::Workspace* workspace, RowBuffers<T>* buffers) {
  if (replicated()) return;
  if (context_.strategy.owner_computes()) {
    GatherPartialGradients(set, workspace);
  } else if (fixed_ != nullptr) {
    fixed_->PushRowGradients(set, serves_, local_, workspace, buffers);
  } else {
    LocalRowGradients(set, workspace);
    Must(exchange_.Push(set.routes, Tables(buffers, true), *pool_));
  }
  // The net itself sums them over ranks in fixed point.
  if (state_->net->deterministic()) return;
  // Last: the dense gradients travel beside all of the above.
  Must(dense_sync_.BeforeUpdate(
      {nn::Net<T>::mutable_dense_grad(workspace), static_cast<size_t>(state_->params.size())}));
}

template <class T>
void RankStep<T>::RowGradients(const WorkingSet& set, int table, Range range,
                               typename nn::Net<T>::Workspace* workspace, RowBuffers<T>* buffers) {
  if (!context_.strategy.owner_computes()) return;   // Backward has summed them
  T* grads = buffers->grads[static_cast<size_t>(table)].data();
  if (replicated()) {
    state_->net->RowGradients(set.batch, buffers->views, table, range, workspace, grads);
    return;
  }
  state_->net->RowGradients(set.batch, buffers->views, table, range, {partials_.sum.data(), max_partials()},
                            partial_grads_.view(), grads, nn::Net<T>::row_gradient_fixed(*workspace));
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
  Must(comm_->AllGather<T>({mine, static_cast<size_t>(set.local.size * labels)}, Counts(set.batch.size, labels),
                           Span(logits_), Traffic::kStatistics));
  return logits_.data();
}

template class RankStep<float>;
template class RankStep<double>;

}  // namespace sluice::train
