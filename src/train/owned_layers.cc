#include "train/owned_layers.h"

#include <algorithm>
#include <cstring>

#include "optim/update_rule.h"
#include "placement/partial_form.h"

namespace sluice::train {
namespace {

void Sort(std::vector<Range>* ranges) {
  std::sort(ranges->begin(), ranges->end(), [](const Range& a, const Range& b) { return a.begin < b.begin; });
}

// part(range) for what `holes`, sorted, leave of `whole`.
template <class Part>
void ForComplement(Range whole, const std::vector<Range>& holes, const Part& part) {
  int64_t at = whole.begin;
  for (const Range& hole : holes) {
    if (hole.end <= at) continue;
    if (hole.begin >= whole.end) break;
    if (hole.begin > at) part(Range{at, hole.begin});
    at = hole.end;
  }
  if (at < whole.end) part(Range{at, whole.end});
}

}  // namespace

template <class T>
OwnedLayers<T>::OwnedLayers(const nn::Net<T>& net, const placement::Strategy& strategy,
                            const std::vector<int>& vocabulary_of_field, int rank, int num_ranks)
    : rank_(rank), num_ranks_(num_ranks) {
  std::vector<Range> apart;
  for (const nn::OwnedWeights& weights : net.owned_weights()) {
    const int owner = placement::OwnerOf(weights, strategy, vocabulary_of_field);
    spans_.push_back({weights.params, owner});
    projected_.push_back(weights.params);
    if (owner < 0) continue;
    apart.push_back(weights.params);
    (owner == rank ? mine_ : elsewhere_).push_back(weights.params);
  }
  for (auto* ranges : {&projected_, &apart, &mine_, &elsewhere_}) Sort(ranges);
  ForComplement({0, net.params().size()}, apart, [&](Range range) {
    everywhere_.push_back(range);
    num_everywhere_ += range.size();
  });
}

template <class T>
void OwnedLayers<T>::AddGradients(const T* weight_grads, T* dense_grad) const {
  for (const Span& span : spans_) {
    if (span.owner < 0 || span.owner == rank_)
      for (int64_t i = 0; i < span.params.size(); ++i) dense_grad[span.params.begin + i] += weight_grads[i];
    weight_grads += span.params.size();
  }
}

template <class T>
Status OwnedLayers<T>::SumGradients(const T* weight_grads, comm::Communicator* comm, comm::Wire wire,
                                    AlignedBuffer<T>* scratch, T* dense_grad) const {
  int64_t size = 0;
  for (const Span& span : spans_) size += span.owner < 0 ? span.params.size() : 0;
  scratch->Resize(size);
  T* to = scratch->data();
  const T* from = weight_grads;
  for (const Span& span : spans_) {
    if (span.owner < 0) to = std::copy(from, from + span.params.size(), to);
    from += span.params.size();
  }
  SLUICE_RETURN_IF_ERROR(comm->AllReduce<T>({scratch->data(), static_cast<size_t>(size)}, comm::ReduceOp::kSum,
                                            comm::Traffic::kDenseGradients, wire));
  const T* sum = scratch->data();
  for (const Span& span : spans_) {
    T* grad = dense_grad + span.params.begin;
    if (span.owner < 0)
      for (int64_t i = 0; i < span.params.size(); ++i) grad[i] += *sum++;
    else if (span.owner == rank_)
      for (int64_t i = 0; i < span.params.size(); ++i) grad[i] += weight_grads[i];
    weight_grads += span.params.size();
  }
  return Status::Ok();
}

template <class T>
void OwnedLayers<T>::ForFinalParts(Range part, const std::function<void(Range)>& final) const {
  ForComplement(part, projected_, final);
}

template <class T>
Result<double> OwnedLayers<T>::SumOfSquares(const T* dense_grad, comm::Communicator* comm) const {
  double mine = 0, everywhere = 0;
  for (const Range& range : mine_) mine += optim::SumOfSquares(dense_grad + range.begin, range.size());
  for (const Range& range : everywhere_) everywhere += optim::SumOfSquares(dense_grad + range.begin, range.size());
  if (lives_apart())
    SLUICE_RETURN_IF_ERROR(comm->AllReduce<double>({&mine, 1}, comm::ReduceOp::kSum, comm::Traffic::kStatistics));
  return everywhere + mine;
}

template <class T>
Status OwnedLayers<T>::Share(comm::Communicator* comm, ModelState<T>* state) const {
  if (!lives_apart()) return Status::Ok();
  // A rank's message: for parameters and then every slot, its weights in the order of spans.
  std::vector<T*> planes = {state->params.data()};
  const int64_t size = state->params.size();
  for (int64_t at = 0; at < state->slots.size(); at += size) planes.push_back(state->slots.data() + at);
  std::vector<int64_t> counts(static_cast<size_t>(num_ranks_), 0), begin;
  for (const Span& span : spans_)
    if (span.owner >= 0)
      counts[static_cast<size_t>(span.owner)] += span.params.size() * static_cast<int64_t>(planes.size());
  int64_t total = 0;
  for (const int64_t count : counts) {
    begin.push_back(total);
    total += count;
  }
  std::vector<T> all(static_cast<size_t>(total));
  // copy(the place in `all`, the place in the state, n) of a rank's weights.
  const auto for_rank = [&](int rank, const auto& copy) {
    T* at = all.data() + begin[static_cast<size_t>(rank)];
    for (T* plane : planes) {
      for (const Span& span : spans_) {
        if (span.owner != rank) continue;
        copy(at, plane + span.params.begin, static_cast<size_t>(span.params.size()) * sizeof(T));
        at += span.params.size();
      }
    }
  };
  for_rank(rank_, [](T* message, T* weights, size_t bytes) { std::memcpy(message, weights, bytes); });
  const std::span<const T> mine(all.data() + begin[static_cast<size_t>(rank_)],
                                static_cast<size_t>(counts[static_cast<size_t>(rank_)]));
  SLUICE_RETURN_IF_ERROR(comm->AllGather<T>(mine, counts, std::span<T>(all), comm::Traffic::kControl));
  for (int r = 0; r < num_ranks_; ++r)
    if (r != rank_) for_rank(r, [](T* message, T* weights, size_t bytes) { std::memcpy(weights, message, bytes); });
  return Status::Ok();
}

template class OwnedLayers<float>;
template class OwnedLayers<double>;

}  // namespace sluice::train
