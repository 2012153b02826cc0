#include "train/rank_keys.h"

#include <utility>

#include "placement/batch_parts.h"
#include "train/must.h"

namespace sluice::train {
namespace {

using comm::Traffic;
using placement::Placement;

double SumOf(const std::vector<float>& weights, int64_t size) {
  if (weights.empty()) return static_cast<double>(size);
  double sum = 0;
  for (const float w : weights) sum += static_cast<double>(w);
  return sum;
}

}  // namespace

RankKeys::RankKeys(const data::Schema& schema, const RankContext& context, bool needs_labels)
    : schema_(schema),
      context_(context),
      needs_labels_(needs_labels),
      ownership_(context.strategy, context.ranks->rank(), context.ranks->size()),
      owner_(schema_, context_.strategy, ownership_),
      local_(schema_),
      requests_(context_.strategy, ownership_, &context.ranks->host()) {
  std::vector<placement::FieldRoute> routes;
  for (int f = 0; f < schema_.num_fields(); ++f) {
    const int v = local_.vocabulary_of_field(f), home = ownership_.home(v);
    const bool row = context_.strategy.of_vocabulary[static_cast<size_t>(v)] == Placement::kRowsA2a;
    row_fields_.push_back(row);
    elsewhere_.push_back(home >= 0 && home != ownership_.rank());
    if (!row) routes.push_back({f, home, home < 0 && context_.whole_bags[static_cast<size_t>(f)]});
  }
  if (context_.strategy.sharded_input && !routes.empty())
    exchange_ = std::make_unique<placement::KeyExchange>(schema_, std::move(routes), &context.ranks->host());
}

void RankKeys::TakeSlice(WorkingSet* set) {
  std::swap(set->batch, set->local);
  data::Batch& local = set->local;
  set->routed.Clear();
  set->routed.size = local.size;
  set->routed.first_sample = local.first_sample;
  set->routed.fields.resize(local.fields.size());
  for (size_t f = 0; f < local.fields.size(); ++f) {
    if (row_fields_[f]) continue;
    std::swap(set->routed.fields[f], local.fields[f]);
    placement::DropKeys(local.size, &local.fields[f]);
  }
  set->batch.Clear();
  set->batch.size = set->batch.global_size = local.global_size;
  set->batch.epoch = local.epoch;
  set->batch.first_sample =
      local.first_sample - placement::SamplesOfRank(local.global_size, ownership_.rank(), ownership_.size()).begin;
  set->batch.fields.resize(local.fields.size());
}

void RankKeys::Prepare(WorkingSet* set) {
  const placement::Strategy& strategy = context_.strategy;
  set->weight = SumOf(set->batch.sample_weights, set->batch.size);
  if (strategy.sharded_input) {
    TakeSlice(set);
  } else if (!strategy.replicated) {
    const Range mine = placement::SamplesOfRank(set->batch.size, ownership_.rank(), ownership_.size());
    placement::SliceBatch(set->batch, schema_, mine, row_fields_, &set->local);
    for (size_t f = 0; f < set->batch.fields.size(); ++f)
      if (row_fields_[f] || elsewhere_[f]) placement::DropKeys(set->batch.size, &set->batch.fields[f]);
  }
  if (rows_travel())
    local_.Build(set->local, nullptr, &set->local_ids);
  else if (!strategy.sharded_input)
    owner_.Build(set->batch, nullptr, nullptr, &set->ids, nullptr);
}

// Labels, weights and groups of all samples, from those of each rank's slice.
void RankKeys::GatherSamples(WorkingSet* set) {
  comm::Communicator& comm = context_.ranks->host();
  if (schema_.has_sample_weight)
    Must(comm.AllReduce<double>({&set->weight, 1}, comm::ReduceOp::kSum, Traffic::kStatistics));
  else
    set->weight = static_cast<double>(set->batch.size);
  if (!needs_labels_) return;
  const auto gather = [&](const auto& from, int64_t width, auto* to) {
    using V = typename std::remove_cvref_t<decltype(from)>::value_type;
    std::vector<int64_t> counts;
    for (int r = 0; r < comm.size(); ++r)
      counts.push_back(placement::SamplesOfRank(set->batch.size, r, comm.size()).size() * width);
    to->resize(static_cast<size_t>(set->batch.size * width));
    if constexpr (std::is_same_v<V, float>) {
      Must(comm.AllGather<float>(from, counts, *to, Traffic::kStatistics));
    } else {
      Must(comm.AllGather<int64_t>({reinterpret_cast<const int64_t*>(from.data()), from.size()}, counts,
                                   {reinterpret_cast<int64_t*>(to->data()), to->size()}, Traffic::kStatistics));
    }
  };
  gather(set->local.labels, schema_.num_labels(), &set->batch.labels);
  if (schema_.has_sample_weight) gather(set->local.sample_weights, 1, &set->batch.sample_weights);
  if (schema_.has_group) gather(set->local.groups, 1, &set->batch.groups);
}

void RankKeys::Exchange(WorkingSet* set) {
  const bool sharded = context_.strategy.sharded_input;
  if (sharded) {
    const int64_t size = set->batch.size, epoch = set->batch.epoch;
    if (exchange_ != nullptr) {
      Must(exchange_->Run(set->routed, size, &set->batch, &present_));
      set->batch.epoch = epoch;
      set->batch.global_size = size;
    }
    GatherSamples(set);
  }
  if (rows_travel()) Must(requests_.Run(set->local_ids, &asked_, &set->routes));
  if (rows_travel() || sharded)
    owner_.Build(set->batch, exchange_ != nullptr ? &present_ : nullptr, rows_travel() ? &asked_ : nullptr, &set->ids,
                 &set->routes);
}

}  // namespace sluice::train
