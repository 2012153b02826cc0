#include "placement/batch_parts.h"

#include "embedding/table.h"
#include "placement/ownership.h"

namespace sluice::placement {
namespace {

template <class V>
void Slice(const std::vector<V>& from, int64_t begin, int64_t end, std::vector<V>* to) {
  if (from.empty())
    to->clear();
  else
    to->assign(from.begin() + begin, from.begin() + end);
}

}  // namespace

void SliceBatch(const data::Batch& batch, const data::Schema& schema, Range samples, bool with_keys, data::Batch* out) {
  const int64_t labels = schema.num_labels(), dense = schema.num_dense();
  out->size = samples.size();
  out->first_sample = batch.first_sample + samples.begin;
  out->epoch = batch.epoch;
  Slice(batch.labels, samples.begin * labels, samples.end * labels, &out->labels);
  Slice(batch.sample_weights, samples.begin, samples.end, &out->sample_weights);
  Slice(batch.dense, samples.begin * dense, samples.end * dense, &out->dense);
  out->fields.resize(batch.fields.size());
  if (!with_keys) return;
  for (size_t f = 0; f < batch.fields.size(); ++f) {
    const data::FieldColumn& from = batch.fields[f];
    data::FieldColumn& to = out->fields[f];
    // The end of an empty range is where it begins.
    const int64_t begin = samples.empty() ? 0 : from.begin(samples.begin);
    const int64_t end = samples.empty() ? 0 : from.end(samples.end - 1);
    Slice(from.keys, begin, end, &to.keys);
    Slice(from.weights, begin, end, &to.weights);
    to.offsets.clear();
    if (from.one_hot()) continue;
    for (int64_t i = samples.begin; i <= samples.end; ++i)
      to.offsets.push_back(samples.empty() ? 0 : from.offsets[static_cast<size_t>(i)] - static_cast<int32_t>(begin));
  }
}

OwnedIds::OwnedIds(const data::Schema& schema, int rank, int num_ranks)
    : builder_(schema), owns_shard_(embedding::kNumShards), positions_(schema.fields.size()) {
  for (int s = 0; s < embedding::kNumShards; ++s)
    owns_shard_[static_cast<size_t>(s)] = RankOfShard(s, num_ranks) == rank;
  owned_.fields.resize(schema.fields.size());
}

void OwnedIds::Build(const data::Batch& batch, embedding::VirtualIds* ids) {
  owned_.size = batch.size;
  for (size_t f = 0; f < batch.fields.size(); ++f) {
    const std::vector<Key>& keys = batch.fields[f].keys;
    data::FieldColumn& column = owned_.fields[f];
    std::vector<int32_t>& positions = positions_[f];
    column.keys.resize(keys.size());
    positions.resize(keys.size());
    size_t n = 0;
    for (size_t i = 0; i < keys.size(); ++i) {   // without a branch that depends on the key
      column.keys[n] = keys[i];
      positions[n] = static_cast<int32_t>(i);
      n += owns_shard_[static_cast<size_t>(embedding::ShardOf(keys[i]))];
    }
    column.keys.resize(n);
    positions.resize(n);
  }
  builder_.Build(owned_, nullptr, ids);
  for (size_t f = 0; f < batch.fields.size(); ++f) {
    compact_.swap(ids->inverse[f]);
    ids->inverse[f].assign(batch.fields[f].keys.size(), -1);
    for (size_t i = 0; i < compact_.size(); ++i)
      ids->inverse[f][static_cast<size_t>(positions_[f][i])] = compact_[i];
  }
}

}  // namespace sluice::placement
