#include "embedding/hash_table.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "embedding/hash_table_inl.h"

namespace sluice::embedding {
namespace {

constexpr size_t RowStride(int64_t scalars, size_t scalar_size) {
  const size_t bytes = sizeof(RowHeader) + static_cast<size_t>(scalars) * scalar_size;
  return (bytes + 7) / 8 * 8;
}

constexpr uint32_t kMinChunk = 4;

}  // namespace

template <class T>
HashTable<T>::HashTable(Options options, RowInit init)
    : options_(std::move(options)),
      init_(std::move(init)),
      dim_(options_.dim),
      num_slots_(optim::NumSlots(options_.rule.kind, options_.dim)),
      track_previous_(options_.rule.lazy_decay),
      rows_(RowStride(dim_ + num_slots_, sizeof(T))),
      shards_(std::make_unique<Shard[]>(kNumShards)),
      stripes_(std::make_unique<Stripe[]>(kNumStripes)),
      initial_slots_(static_cast<size_t>(num_slots_)) {
  optim::InitSlots(options_.rule, initial_slots_.data(), dim_);
}

template <class T>
HashTable<T>::~HashTable() = default;

template <class T>
Handle HashTable<T>::Find(const Shard& shard, uint64_t hash, Key key) const {
  return shard.index.Find(pages_, hash, [&](Handle handle) { return rows_.header(handle).key == key; });
}

template <class T>
Handle HashTable<T>::TakeRow(Shard* shard) {
  if (shard->free != kNoRow) {
    const Handle handle = shard->free;
    shard->free = static_cast<Handle>(rows_.header(handle).key);
    return handle;
  }
  if (shard->chunks.empty() || shard->used == shard->chunks.back().size) {
    // Chunks grow with the shard, so that a table of a few thousand rows does not take 1,024 large ones.
    const uint32_t size = std::bit_floor(std::clamp(shard->index.size() / 8, kMinChunk, kMaxChunk));
    shard->chunks.push_back(rows_.Allocate(size));
    shard->used = 0;
  }
  return shard->chunks.back().begin + shard->used++;
}

template <class T>
Handle HashTable<T>::Insert(int shard_number, uint64_t hash, Key key, uint32_t flags, VocabularyTags::Tag vocabulary) {
  Shard& shard = shards_[shard_number];
  if (shard.index.full()) {
    shard.index.Grow(&pages_, shard_number, [&](const auto& enter) {
      ForEachLive(shard, [&](Handle handle) { enter(Mix64(rows_.header(handle).key), handle); });
    });
    ++stripes_[StripeOf(hash)].growths;
  }
  const Handle handle = TakeRow(&shard);
  RowHeader& header = rows_.header(handle);
  header.key = key;
  header.meta = {0, RowMeta::kLive | flags};
  vocabularies_.Set(handle, vocabulary);
  T* const w = weights(handle);
  if ((flags & RowMeta::kDefault) != 0) {
    std::fill(w, w + dim_, T(0));
    ++shard.num_defaults;
  } else {
    init_.Fill(key, w);
  }
  std::copy(initial_slots_.begin(), initial_slots_.end(), w + dim_);
  shard.index.Insert(pages_, hash, handle);
  ++shard.inserted;
  return handle;
}

template <class T>
void HashTable<T>::RemoveRow(Shard* shard, Handle handle) {
  RowHeader& header = rows_.header(handle);
  shard->index.Remove(pages_, Mix64(header.key), handle);
  header.meta = {};
  ++shard->expired;
  if (lookup_pins_ > 0) {
    shard->resting.push_back(handle);  // an unreleased lookup may still read it
    return;
  }
  header.key = shard->free;
  shard->free = handle;
}

template <class T>
void HashTable<T>::Pin(const Resolved& rows) {
  std::lock_guard lock(pins_mutex_);
  if (rows.mode == ResolveMode::kTrain)
    train_pins_.push_back(rows.step);
  else
    ++lookup_pins_;
}

template <class T>
void HashTable<T>::Release(const Resolved& rows) {
  std::lock_guard lock(pins_mutex_);
  if (rows.mode == ResolveMode::kLookup) {
    SLUICE_CHECK(lookup_pins_ > 0, "table {}: a lookup was released twice", options_.name);
    --lookup_pins_;
    return;
  }
  const auto pin = std::find(train_pins_.begin(), train_pins_.end(), rows.step);
  SLUICE_CHECK(pin != train_pins_.end(), "table {}: step {} was released twice", options_.name, rows.step);
  *pin = train_pins_.back();
  train_pins_.pop_back();
}

template <class T>
int64_t HashTable<T>::OldestPin() const {
  std::lock_guard lock(pins_mutex_);
  return train_pins_.empty() ? INT64_MAX : *std::min_element(train_pins_.begin(), train_pins_.end());
}

template <class T>
TableStats HashTable<T>::stats() const {
  TableStats out;
  out.row_bytes = static_cast<int64_t>(sizeof(RowHeader) + static_cast<size_t>(dim_ + num_slots_) * sizeof(T));
  out.dropped_gradients = dropped_gradients_.load(std::memory_order_relaxed);
  out.memory_bytes = rows_.bytes() + pages_.bytes() + vocabularies_.bytes();
  for (int s = 0; s < kNumShards; ++s) {
    std::lock_guard lock(stripes_[s * kNumStripes / kNumShards].mutex);
    const Shard& shard = shards_[s];
    out.rows += shard.index.size();
    out.inserted += shard.inserted;
    out.expired += shard.expired;
    out.rejected += shard.rejected;
    out.memory_bytes += shard.candidates.bytes() +
                        static_cast<int64_t>(sizeof(Shard) + shard.chunks.capacity() * sizeof(RowStore::Chunk));
  }
  return out;
}

template <class T>
RowView<T> HashTable<T>::View(Handle handle) const {
  const RowHeader& header = rows_.header(handle);
  const T* const w = weights(handle);
  return {header.key, w, w + dim_, header.meta.count(), header.meta.last_use};
}

template <class T>
std::vector<Handle> HashTable<T>::SortedRows(const Shard& shard) const {
  std::vector<std::pair<Key, Handle>> rows;
  rows.reserve(shard.index.size());
  ForEachLive(shard, [&](Handle handle) { rows.emplace_back(rows_.header(handle).key, handle); });
  std::sort(rows.begin(), rows.end());
  std::vector<Handle> handles;
  handles.reserve(rows.size());
  for (const auto& row : rows) handles.push_back(row.second);
  return handles;
}

template <class T>
void HashTable<T>::ForEachRow(const std::function<void(const RowView<T>&)>& visit) const {
  for (int s = 0; s < kNumShards; ++s)
    for (const Handle handle : SortedRows(shards_[s])) visit(View(handle));
}

template <class T>
bool HashTable<T>::FindRow(Key key, const std::function<void(const RowView<T>&)>& visit) const {
  const uint64_t hash = Mix64(key);
  const Handle handle = Find(shards_[ShardOfHash(hash)], hash, key);
  if (handle == kNoRow) return false;
  visit(View(handle));
  return true;
}

template <class T>
uint64_t HashTable<T>::Digest() const {
  // A row's bytes run from its key to its last slot. Hashes are added: any order, and shards apart, give one sum.
  const size_t bytes = sizeof(RowHeader) + static_cast<size_t>(dim_ + num_slots_) * sizeof(T);
  uint64_t sum = 0;
  for (int s = 0; s < kNumShards; ++s)
    ForEachLive(shards_[s], [&](Handle handle) {
      sum += HashBytes({reinterpret_cast<const char*>(rows_.row(handle)), bytes}, 0xd19e57);
    });
  return sum;
}

template class HashTable<float>;
template class HashTable<double>;

}  // namespace sluice::embedding
