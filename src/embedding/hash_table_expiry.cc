// HashTable: giving rows up by age and capacity.

#include <algorithm>
#include <tuple>

#include "embedding/hash_table.h"
#include "embedding/hash_table_inl.h"

namespace sluice::embedding {
namespace {

// A shard beyond its share gives up this fraction of it more, so that it is not searched again at the next step.
constexpr int64_t kSlackDivisor = 16;

}  // namespace

// At least one row, so that a small capacity does not lock whole shards out.
template <class T>
int64_t HashTable<T>::MaxRowsOfShard() const {
  return std::max<int64_t>(1, options_.expiry.max_rows / kNumShards);
}

template <class T>
void HashTable<T>::Expire(int64_t step) {
  const ExpiryConfig& expiry = options_.expiry;
  if (expiry.max_age_steps == 0 && expiry.max_rows == 0) return;
  const int64_t oldest_pin = OldestPin();
  for (int s = 0; s < kNumShards; ++s) {
    Shard& shard = shards_[s];
    std::lock_guard lock(stripes_[s * kNumStripes / kNumShards].mutex);
    if (lookup_pins_ == 0)
      for (; !shard.resting.empty(); shard.resting.pop_back()) {
        rows_.header(shard.resting.back()).key = shard.free;
        shard.free = shard.resting.back();
      }
    const bool turn = expiry.max_age_steps > 0 && s % kExpiryPeriod == step % kExpiryPeriod;
    const bool over = expiry.max_rows > 0 && int64_t{shard.index.size()} - shard.num_defaults > MaxRowsOfShard();
    if (turn || over) ExpireShard(&shard, step, oldest_pin);
  }
}

template <class T>
void HashTable<T>::ExpireShard(Shard* shard, int64_t step, int64_t oldest_pin) {
  struct Candidate {
    uint32_t last_use, count;
    Key key;
    Handle handle;
    auto order() const { return std::tie(last_use, count, key); }
  };
  const ExpiryConfig& expiry = options_.expiry;
  std::vector<Handle> old;
  std::vector<Candidate> candidates;
  ForEachLive(*shard, [&](Handle handle) {
    const RowHeader& header = rows_.header(handle);
    const int64_t last_use = header.meta.last_use;
    if (header.meta.is_default() || last_use + kPinWindow > step) return;
    if (last_use >= oldest_pin) return;  // pinned
    if (expiry.max_age_steps > 0 && last_use + expiry.max_age_steps < step)
      old.push_back(handle);
    else
      candidates.push_back({header.meta.last_use, header.meta.count(), header.key, handle});
  });
  for (const Handle handle : old) RemoveRow(shard, handle);

  const int64_t limit = MaxRowsOfShard();
  const int64_t rows = int64_t{shard->index.size()} - shard->num_defaults;
  if (expiry.max_rows == 0 || rows <= limit) return;
  const auto excess = std::min(rows - limit + limit / kSlackDivisor, static_cast<int64_t>(candidates.size()));
  std::nth_element(candidates.begin(), candidates.begin() + excess, candidates.end(),
                   [](const Candidate& a, const Candidate& b) { return a.order() < b.order(); });
  for (int64_t i = 0; i < excess; ++i) RemoveRow(shard, candidates[static_cast<size_t>(i)].handle);
}

template class HashTable<float>;
template class HashTable<double>;

}  // namespace sluice::embedding
