#include "train/worker.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include <fmt/format.h>

#include "base/exact_sum.h"
#include "train/replicas.h"
#include "train/stopwatch.h"
#include "base/finite_kernels.h"

namespace sluice::train {
namespace {

// Dense parameters of one task of an update; a multiple of a cache line.
constexpr int64_t kDensePart = 32768;

}  // namespace

template <class T>
Worker<T>::Worker(ModelState<T>* state, ThreadPool* pool, const WorkerOptions<T>& options)
    : state_(state), pool_(pool), options_(options), workspace_(state->net->MakeWorkspace()) {
  if (options.ranks != nullptr) rank_step_ = std::make_unique<RankStep<T>>(*options.ranks, state, pool);
}

template <class T>
typename RankStep<T>::Input Worker<T>::Gather(const WorkingSet& set) {
  Stopwatch watch;
  if (options_.remote != nullptr) {
    options_.remote->Receive(set, &buffers_);
    times_.gather_s += watch.Lap();
    return {&set.batch, &buffers_.views, nullptr};
  }
  state_->tables->Gather(set, *pool_, &buffers_);
  times_.gather_s += watch.Lap();
  if (rank_step_ == nullptr) return {&set.batch, &buffers_.views, nullptr};
  const auto input = rank_step_->Forward(set, &buffers_);
  times_.ranks_before_s += watch.Lap();
  return input;
}

template <class T>
void Worker<T>::Train(const WorkingSet& set) {
  step_ = set.step;
  const auto input = Gather(set);
  Stopwatch watch;
  if (options_.remote != nullptr && set.batch.size == 0) return PushNothing(set);
  const nn::StepInfo info{set.step, input.batch->first_sample, set.batch.size, true, options_.seed};
  try {
    state_->net->TrainStep(*input.batch, *input.rows, state_->params.data(), state_->buffers.data(), info, *pool_,
                           workspace_.get(), input.parts);
  } catch (const StatusError& error) {
    if (error.status().code() == StatusCode::kNumeric) ThrowNotFinite(set, error.status());
    throw;
  }
  logits_ = nn::Net<T>::logits(*workspace_);
  loss_ = nn::Net<T>::loss(*workspace_);
  times_.net_s += watch.Lap();
  if (rank_step_ != nullptr) {
    rank_step_->Backward(set, workspace_.get(), &buffers_);
    loss_ = rank_step_->Agree(*workspace_, wish_, &any_wish_);
    if (!rank_step_->replicated()) logits_ = options_.gather_logits ? rank_step_->GatherLogits(set, logits_) : nullptr;
    times_.ranks_after_s += watch.Lap();
  }
  if (options_.remote != nullptr)
    Push(set);
  else
    Update(set);
  if (options_.check_replicas_every > 0 && set.step % options_.check_replicas_every == 0) {
    CompleteState();  // weights that live at one rank each
    CheckReplicas(*state_, set.step, options_.ranks->ranks->worker());
  }
  times_.update_s += watch.Lap();
}

template <class T>
void Worker<T>::Predict(const WorkingSet& set) {
  const auto input = Gather(set);
  try {
    state_->net->Predict(*input.batch, *input.rows, state_->params.data(), state_->buffers.data(), *pool_,
                         workspace_.get(), input.parts);
  } catch (const StatusError& error) {
    if (error.status().code() == StatusCode::kNumeric) ThrowNotFinite(set, error.status());
    throw;
  }
  logits_ = nn::Net<T>::logits(*workspace_);
  if (rank_step_ != nullptr) logits_ = rank_step_->GatherLogits(set, logits_);
}

template <class T>
void Worker<T>::RowGradients(const WorkingSet& set, const RowTask& task) {
  const int64_t dim = state_->tables->need(task.table).dim;
  const int64_t begin = set.tables[task.table][task.run].begin;
  const Range rows{begin + task.rows.begin, begin + task.rows.end};
  T* grads = buffers_.grads[task.table].data();
  if (rank_step_ != nullptr)
    rank_step_->RowGradients(set, task.table, rows, workspace_.get(), &buffers_);
  else
    state_->net->RowGradients(set.batch, buffers_.views, task.table, rows, workspace_.get(), grads);
  if (!options_.check_finite) return;
  if (AllFinite(grads + rows.begin * dim, rows.size() * dim)) [[likely]]
    return;
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    if (AllFinite(grads + row * dim, dim)) continue;
    throw StatusError(
        NumericError("step {}: table {}: gradient of {} is not finite; lower the learning rate, or set train.clip_norm",
                     set.step, state_->tables->need(task.table).name,
                     state_->tables->DescribeRow(set, state_->schema, static_cast<int32_t>(row))));
  }
}

template <class T>
void Worker<T>::ApplyDense(int part, int parts) {
  const int64_t size = state_->params.size();
  const int64_t blocks = (size + nn::kParamAlignment - 1) / nn::kParamAlignment;
  const Range range = PartRange(blocks, part, parts);
  const int64_t begin = range.begin * nn::kParamAlignment;
  const int64_t end = std::min(size, range.end * nn::kParamAlignment);
  if (rank_step_ == nullptr || !rank_step_->owned_layers().lives_apart()) return ApplyDense({begin, end});
  for (const auto* ranges : {&rank_step_->owned_layers().everywhere(), &rank_step_->owned_layers().mine()})
    for (const Range& mine : *ranges) ApplyDense({std::max(begin, mine.begin), std::min(end, mine.end)});
}

template <class T>
void Worker<T>::ApplyDense(Range params) {
  if (params.begin < params.end)
    optim::UpdateSpan(step_rule_, step_, state_->params.data(), dense_grad_, state_->slots.data(),
                      state_->params.size(), params.begin, params.end);
}

template <class T>
void Worker<T>::Update(const WorkingSet& set) {
  TableSet<T>& tables = *state_->tables;
  tables.BeginStep(set.step);
  step_rule_ = state_->rule;
  step_rule_.learning_rate = state_->schedule.LearningRate(set.step);
  dense_grad_ = nn::Net<T>::dense_grad(*workspace_);
  tables.MakeUpdateTasks(set, pool_->num_threads(), &tasks_);
  const bool two_passes = options_.clip_norm > 0 || options_.clip_norm_dense > 0;
  if (two_passes) ClipByNorm(set);

  const int64_t num_row_tasks = static_cast<int64_t>(tasks_.size());
  const int dense_parts = static_cast<int>((state_->params.size() + kDensePart - 1) / kDensePart);
  pool_->ForEach(num_row_tasks + dense_parts, [&](int64_t task, int) {
    if (task >= num_row_tasks) {
      ApplyDense(static_cast<int>(task - num_row_tasks), dense_parts);
      return;
    }
    if (!two_passes) RowGradients(set, tasks_[task]);
    tables.Apply(set, tasks_[task], buffers_);
  });
  tables.ApplyDefaults(set, buffers_);
}

template <class T>
void Worker<T>::Push(const WorkingSet& set) {
  dense_grad_ = nn::Net<T>::dense_grad(*workspace_);
  state_->tables->MakeUpdateTasks(set, pool_->num_threads(), &tasks_);
  if (options_.clip_norm > 0 || options_.clip_norm_dense > 0)
    ClipByNorm(set);
  else
    pool_->ForEach(static_cast<int64_t>(tasks_.size()), [&](int64_t task, int) { RowGradients(set, tasks_[task]); });
  if (options_.check_finite && !AllFinite(dense_grad_, state_->params.size()))
    ThrowNotFinite(set, NumericError("step {}: a gradient of the dense net is not finite", set.step));
  options_.remote->Send(set, buffers_, dense_grad_, loss_.weight);
}

// A batch without samples keeps the clock going.
template <class T>
void Worker<T>::PushNothing(const WorkingSet& set) {
  loss_ = {};
  logits_ = nullptr;
  clipped_.Resize(state_->params.size());
  clipped_.Zero();
  options_.remote->Send(set, buffers_, clipped_.data(), 0);
}

template <class T>
double Worker<T>::SumOfSquaresOfRows(const WorkingSet& set) {
  // Per row, then over rows in their order: the sum does not depend on how the work was cut. Deterministic mode sums so
  // that the order does not matter, which differs with the number of ranks.
  const bool exact = state_->net->deterministic();
  ExactSum exact_sum;
  double sum = 0;
  for (int t = 0; t < state_->tables->size(); ++t) {
    const int64_t dim = state_->tables->need(t).dim;
    row_squares_.assign(static_cast<size_t>(set.ids.num_unique()), 0.0);
    for (const auto& run : set.tables[t]) {
      pool_->ForParts(run.end - run.begin, [&](Range range, int) {
        for (int64_t row = run.begin + range.begin; row < run.begin + range.end; ++row)
          row_squares_[row] = optim::SumOfSquares(buffers_.grads[t].data() + row * dim, dim);
      });
    }
    for (double square : row_squares_) {
      if (exact)
        exact_sum.Add(square);
      else
        sum += square;
    }
  }
  if (exact) return rank_step_ != nullptr ? rank_step_->SumOverRanks(exact_sum) : exact_sum.Value();
  return rank_step_ != nullptr ? rank_step_->SumOverRanks(sum) : sum;
}

template <class T>
void Worker<T>::ClipByNorm(const WorkingSet& set) {
  pool_->ForEach(static_cast<int64_t>(tasks_.size()), [&](int64_t task, int) { RowGradients(set, tasks_[task]); });
  const int64_t size = state_->params.size();
  clipped_.Resize(size);
  std::memcpy(clipped_.data(), dense_grad_, static_cast<size_t>(size) * sizeof(T));
  dense_grad_ = clipped_.data();
  double dense_square = rank_step_ != nullptr ? rank_step_->SumOfDenseSquares(clipped_.data())
                                              : optim::SumOfSquares(clipped_.data(), size);
  if (options_.clip_norm_dense > 0) {
    const double factor = optim::ClipFactor(std::sqrt(dense_square), options_.clip_norm_dense);
    if (factor < 1) optim::ScaleSpan(clipped_.data(), size, static_cast<T>(factor));
    dense_square *= factor * factor;
  }
  if (options_.clip_norm <= 0) return;
  const double norm = std::sqrt(dense_square + SumOfSquaresOfRows(set));
  const double factor = optim::ClipFactor(norm, options_.clip_norm);
  if (factor >= 1) return;
  optim::ScaleSpan(clipped_.data(), size, static_cast<T>(factor));
  for (int t = 0; t < state_->tables->size(); ++t) {
    const int64_t dim = state_->tables->need(t).dim;
    for (const auto& run : set.tables[t]) {
      pool_->ForParts(run.end - run.begin, [&](Range range, int) {
        optim::ScaleSpan(buffers_.grads[t].data() + (run.begin + range.begin) * dim, range.size() * dim,
                         static_cast<T>(factor));
      });
    }
  }
}

template <class T>
void Worker<T>::ThrowNotFinite(const WorkingSet& set, const Status& status) {
  std::string cause;
  const data::Batch& batch = set.batch.dense.empty() ? set.local : set.batch;
  for (size_t i = 0; i < batch.dense.size() && cause.empty(); ++i) {
    if (std::isfinite(batch.dense[i])) continue;
    const int64_t n = state_->schema.num_dense();
    cause = fmt::format("; numeric feature {} of sample {} is not finite", state_->schema.dense[i % n],
                        batch.first_sample + static_cast<int64_t>(i) / n);
  }
  for (int t = 0; t < state_->tables->size() && cause.empty(); ++t) {
    const int64_t dim = state_->tables->need(t).dim;
    for (const auto& run : set.tables[t]) {
      for (int32_t row = run.begin; row < run.end && cause.empty(); ++row) {
        if (AllFinite(buffers_.rows[t].data() + row * dim, dim)) continue;
        cause = fmt::format("; table {}: the row of {} is not finite", state_->tables->need(t).name,
                            state_->tables->DescribeRow(set, state_->schema, row));
      }
    }
  }
  for (const auto& param : state_->net->params().params()) {
    if (!cause.empty()) break;
    if (!AllFinite(state_->params.data() + param.offset, param.size))
      cause = fmt::format("; parameter {} is not finite", param.name);
  }
  throw StatusError(Status(status.code(), status.message() + cause));
}

template class Worker<float>;
template class Worker<double>;

}  // namespace sluice::train
