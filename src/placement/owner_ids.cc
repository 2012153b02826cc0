#include "placement/owner_ids.h"

#include <algorithm>

#include "embedding/table.h"

namespace sluice::placement {

OwnerIds::OwnerIds(const data::Schema& schema, const Strategy& strategy, const Ownership& ownership)
    : builder_(schema),
      ownership_(ownership),
      owns_shard_(embedding::kNumShards),
      positions_(schema.fields.size()),
      picked_all_(schema.fields.size()) {
  for (const Placement placement : strategy.of_vocabulary) rows_travel_.push_back(placement == Placement::kRowsA2a);
  for (int s = 0; s < embedding::kNumShards; ++s)
    owns_shard_[static_cast<size_t>(s)] = ownership.OfShard(s) == ownership.rank();
  picked_.fields.resize(schema.fields.size());
}

void OwnerIds::PickOwned(const data::Batch& batch, const std::vector<std::vector<int32_t>>* present, size_t field) {
  const std::vector<Key>& keys = batch.fields[field].keys;
  std::vector<Key>& picked = picked_.fields[field].keys;
  std::vector<int32_t>& positions = positions_[field];
  const int home = ownership_.home(builder_.vocabulary_of_field(static_cast<int>(field)));
  picked_all_[field] = present != nullptr ? (*present)[field].empty() : home == ownership_.rank();
  if (picked_all_[field]) {
    picked = keys;
    return;
  }
  if (present != nullptr) {
    positions = (*present)[field];
    picked.resize(positions.size());
    for (size_t i = 0; i < positions.size(); ++i) picked[i] = keys[static_cast<size_t>(positions[i])];
    return;
  }
  picked.resize(home >= 0 ? 0 : keys.size());
  positions.resize(picked.size());
  size_t n = 0;
  for (size_t i = 0; i < picked.size(); ++i) {  // without a branch that depends on the key
    picked[n] = keys[i];
    positions[n] = static_cast<int32_t>(i);
    n += owns_shard_[static_cast<size_t>(embedding::ShardOf(keys[i]))];
  }
  picked.resize(n);
  positions.resize(n);
}

void OwnerIds::Expand(size_t occurrences, size_t field, embedding::VirtualIds* ids) {
  if (picked_all_[field]) return;
  ids->whole[field] = 0;
  compact_.swap(ids->inverse[field]);
  ids->inverse[field].assign(occurrences, -1);
  for (size_t i = 0; i < compact_.size(); ++i)
    ids->inverse[field][static_cast<size_t>(positions_[field][i])] = compact_[i];
}

void OwnerIds::TakeAsked(const AskedKeys& asked, int vocabulary, embedding::VirtualIds* ids, RowRoutes* routes) const {
  const auto v = static_cast<size_t>(vocabulary), vocabularies = rows_travel_.size();
  auto& inverse = ids->inverse[static_cast<size_t>(builder_.fields_of_vocabulary(vocabulary)[0])];
  std::fill(ids->counts.begin() + ids->block_begin[v], ids->counts.begin() + ids->block_begin[v + 1], 0);
  for (size_t i = 0; i < inverse.size(); ++i) ids->counts[static_cast<size_t>(inverse[i])] += asked.counts[v][i];
  size_t at = 0;
  for (size_t r = 0; r < static_cast<size_t>(ownership_.size()); ++r) {
    const size_t p = r * vocabularies + v;
    for (int64_t i = routes->give_begin[p]; i < routes->give_begin[p + 1]; ++i)
      routes->give[static_cast<size_t>(i)] = inverse[at++];
  }
  inverse.clear();
}

void OwnerIds::Build(const data::Batch& batch, const std::vector<std::vector<int32_t>>* present, const AskedKeys* asked,
                     embedding::VirtualIds* ids, RowRoutes* routes) {
  picked_.size = batch.size;
  for (size_t f = 0; f < batch.fields.size(); ++f) {
    const int v = builder_.vocabulary_of_field(static_cast<int>(f));
    if (!rows_travel_[static_cast<size_t>(v)])
      PickOwned(batch, present, f);
    else if (asked != nullptr && builder_.fields_of_vocabulary(v)[0] == static_cast<int>(f))
      picked_.fields[f].keys = asked->keys[static_cast<size_t>(v)];
    else
      picked_.fields[f].keys.clear();
  }
  builder_.Build(picked_, nullptr, ids);
  for (size_t f = 0; f < batch.fields.size(); ++f)
    if (!rows_travel_[static_cast<size_t>(builder_.vocabulary_of_field(static_cast<int>(f)))])
      Expand(batch.fields[f].keys.size(), f, ids);
  if (asked == nullptr) return;
  routes->give.resize(static_cast<size_t>(routes->give_begin.back()));
  for (size_t v = 0; v < rows_travel_.size(); ++v)
    if (rows_travel_[v]) TakeAsked(*asked, static_cast<int>(v), ids, routes);
}

}  // namespace sluice::placement
