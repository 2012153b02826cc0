// HashTable: keys of a batch to pinned rows.

#include <algorithm>
#include <bit>

#include "embedding/hash_table.h"
#include "embedding/hash_table_inl.h"

namespace sluice::embedding {
namespace {

constexpr int64_t kMinParallel = 4096;  // keys below which waking the pool costs more than it gives
constexpr int kAhead = 12;              // keys between prefetch and use, at each of three stages
constexpr int kRing = 64;               // more than 3 * kAhead, a power of two

}  // namespace

template <class T>
struct HashTable<T>::Request {
  std::span<const Key> keys;
  std::span<const int32_t> counts;  // empty: 1 each
  std::span<const KeyBlock> blocks;
  ResolveMode mode;
  int64_t step;
  Resolved* out;
  std::vector<VocabularyTags::Tag> vocabularies;  // [blocks], and that of keys outside of all

  VocabularyTags::Tag vocabulary_of(int32_t i) const {
    const auto after = std::upper_bound(blocks.begin(), blocks.end(), i,
                                        [](int32_t key, const KeyBlock& block) { return key < block.end; });
    return vocabularies[static_cast<size_t>(after - blocks.begin())];
  }
  uint32_t sightings(int32_t i) const {
    return counts.empty() ? 1 : static_cast<uint32_t>(std::max(counts[static_cast<size_t>(i)], 1));
  }
};

// Part p of the batch sorted by stripe, in place of its own range: offsets[p * (kNumStripes + 1) + s] is where stripe s
// of part p begins. Parts in order, each stable: keys of a stripe keep the batch's order.
template <class T>
struct HashTable<T>::Sorted {
  int parts = 1;
  uint64_t* keys = nullptr;
  int32_t* index = nullptr;
  int32_t* offsets = nullptr;
};

template <class T>
void HashTable<T>::SortByStripe(const Request& request, int parts, ThreadPool* pool, Sorted* sorted) const {
  const auto n = static_cast<int64_t>(request.keys.size());
  const int64_t index_words = (n + 1) / 2;
  const int64_t offset_words = (int64_t{parts} * (kNumStripes + 1) + 1) / 2;
  auto& scratch = request.out->scratch;
  if (static_cast<int64_t>(scratch.size()) < n + index_words + offset_words)
    scratch.resize(static_cast<size_t>(n + index_words + offset_words));
  sorted->parts = parts;
  sorted->keys = scratch.data();
  sorted->index = reinterpret_cast<int32_t*>(scratch.data() + n);
  sorted->offsets = reinterpret_cast<int32_t*>(scratch.data() + n + index_words);

  const auto sort_part = [&](int part) {
    const Range range = PartRange(n, part, parts);
    int32_t next[kNumStripes] = {};
    for (int64_t i = range.begin; i < range.end; ++i) ++next[StripeOf(Mix64(request.keys[i]))];
    int32_t* const offsets = sorted->offsets + part * (kNumStripes + 1);
    auto offset = static_cast<int32_t>(range.begin);
    for (int s = 0; s < kNumStripes; ++s) {
      offsets[s] = offset;
      offset += std::exchange(next[s], offset);
    }
    offsets[kNumStripes] = offset;
    for (int64_t i = range.begin; i < range.end; ++i) {
      const Key key = request.keys[i];
      const int32_t at = next[StripeOf(Mix64(key))]++;
      sorted->keys[at] = key;
      sorted->index[at] = static_cast<int32_t>(i);
    }
  };
  if (parts == 1)
    sort_part(0);
  else
    pool->Run([&](int thread) { sort_part(thread); });
}

template <class T>
void HashTable<T>::Touch(const Request& request, Handle handle, int32_t i) {
  RowMeta& meta = rows_.header(handle).meta;
  const auto step = static_cast<uint32_t>(request.step);
  if (track_previous_) request.out->previous_use[static_cast<size_t>(i)] = meta.last_use;
  meta.last_use = std::max(meta.last_use, step);
  meta.AddCount(request.sightings(i));
}

// A key without a row, in training: its new row where it is admitted, else kNoRow.
template <class T>
Handle HashTable<T>::TrainMiss(const Request& request, uint64_t hash, int32_t i) {
  const Key key = request.keys[static_cast<size_t>(i)];
  const int shard_number = ShardOfHash(hash);
  Shard& shard = shards_[shard_number];
  uint32_t sightings = request.sightings(i);
  const Admission& admission = options_.admission;
  bool admitted = true;
  if (admission.kind == AdmissionKind::kCount) {
    sightings = shard.candidates.Add(admission, hash, request.step, sightings);
    admitted = sightings >= admission.count;
  } else if (admission.kind == AdmissionKind::kProbability) {
    admitted = AdmittedByChance(admission.probability, options_.seed, key, request.step, sightings);
  }
  if (!admitted) {
    shard.rejected += request.sightings(i);
    return kNoRow;
  }
  const Handle handle = Insert(shard_number, hash, key, 0, request.vocabulary_of(i));
  RowMeta& meta = rows_.header(handle).meta;
  meta.last_use = static_cast<uint32_t>(request.step);
  meta.AddCount(sightings);
  if (track_previous_) request.out->previous_use[static_cast<size_t>(i)] = 0;
  return handle;
}

// The pipeline, kAhead keys from stage to stage: a key's bucket is prefetched; its tags name a row, which is
// prefetched; where the key may have found its bucket full, the next one is prefetched and its tags name a row one
// stage later; the row's key is compared. A guess that turns out wrong, or a key that joined meanwhile, costs a search
// of its own.
template <class T>
int64_t HashTable<T>::ResolveStripe(const Request& request, const Sorted& sorted, int stripe) {
  uint64_t hashes[kRing];
  const Bucket* lines[kRing];  // home bucket; null while the shard's index is empty
  Handle guesses[kRing];
  const bool training = request.mode == ResolveMode::kTrain;
  Handle* const handles = request.out->handles.data();
  const auto home_of = [&](uint64_t hash) -> const Bucket* {
    const ShardIndex& index = shards_[ShardOfHash(hash)].index;
    return index.empty() ? nullptr : &index.home(pages_, hash);
  };
  int64_t missing = 0;
  Stripe& guard = stripes_[stripe];
  std::lock_guard lock(guard.mutex);
  uint64_t growths = guard.growths;
  for (int part = 0; part < sorted.parts; ++part) {
    const int32_t* const offsets = sorted.offsets + part * (kNumStripes + 1);
    const Key* const keys = sorted.keys + offsets[stripe];
    const int32_t* const index = sorted.index + offsets[stripe];
    const int32_t n = offsets[stripe + 1] - offsets[stripe];
    for (int32_t j = 0; j < n + 3 * kAhead; ++j) {
      if (j < n) {
        const uint64_t hash = Mix64(keys[j]);
        const Bucket* const line = home_of(hash);
        hashes[j % kRing] = hash;
        lines[j % kRing] = line;
        __builtin_prefetch(line);
      }
      if (const int32_t k = j - kAhead; k >= 0 && k < n) {
        const uint64_t hash = hashes[k % kRing];
        const Bucket* const line = lines[k % kRing];
        Handle guess = kNoRow;
        if (line != nullptr) [[likely]] {
          uint32_t mask = line->Match(ShardIndex::TagOf(hash));
          if (mask != 0) [[likely]] {
            guess = line->handles[std::countr_zero(mask)];
            __builtin_prefetch(rows_.row(guess), 1);
            // A second equal tag is rare, and as likely as the first to be the key's.
            if (mask &= mask - 1; mask != 0) [[unlikely]]
              __builtin_prefetch(rows_.row(line->handles[std::countr_zero(mask)]), 1);
          } else if (line->passed != 0) {
            shards_[ShardOfHash(hash)].index.PrefetchNext(pages_, hash);
          }
        }
        guesses[k % kRing] = guess;
      }
      if (const int32_t k = j - 2 * kAhead; k >= 0 && k < n && guesses[k % kRing] == kNoRow) {
        const uint64_t hash = hashes[k % kRing];
        const Handle guess = shards_[ShardOfHash(hash)].index.Find(pages_, hash, [](Handle) { return true; });
        guesses[k % kRing] = guess;
        if (guess != kNoRow) __builtin_prefetch(rows_.row(guess), 1);
      }
      if (const int32_t k = j - 3 * kAhead; k >= 0) {
        const uint64_t hash = hashes[k % kRing];
        const Key key = keys[k];
        Handle handle = guesses[k % kRing];
        if (handle == kNoRow || rows_.header(handle).key != key) [[unlikely]]
          handle = Find(shards_[ShardOfHash(hash)], hash, key);
        if (training) {
          if (handle != kNoRow) [[likely]] {
            Touch(request, handle, index[k]);
          } else {
            handle = TrainMiss(request, hash, index[k]);
            if (guard.growths != growths) {  // buckets moved
              growths = guard.growths;
              for (int32_t later = k + 1; later <= std::min(j, n - 1); ++later)
                lines[later % kRing] = home_of(hashes[later % kRing]);
            }
          }
        }
        handles[index[k]] = handle;
        missing += handle == kNoRow;
      }
    }
  }
  return missing;
}

// The default rows of the blocks in which a key has no row; made in training where there is none yet.
template <class T>
void HashTable<T>::ResolveDefaults(const Request& request) {
  Resolved& out = *request.out;
  out.defaults.assign(request.blocks.size(), {});
  for (size_t b = 0; b < request.blocks.size(); ++b) {
    const KeyBlock& block = request.blocks[b];
    uint64_t sightings = 0;
    for (int32_t i = block.begin; i < block.end; ++i)
      if (out.handles[static_cast<size_t>(i)] == kNoRow) sightings += request.sightings(i);
    if (sightings == 0) continue;
    const Key key = DefaultRowKey(block.salt);
    const uint64_t hash = Mix64(key);
    std::lock_guard lock(stripes_[StripeOf(hash)].mutex);
    Handle handle = Find(shards_[ShardOfHash(hash)], hash, key);
    if (request.mode == ResolveMode::kTrain) {
      if (handle == kNoRow) handle = Insert(ShardOfHash(hash), hash, key, RowMeta::kDefault, request.vocabularies[b]);
      RowMeta& meta = rows_.header(handle).meta;
      out.defaults[b].previous_use = meta.last_use;
      meta.last_use = std::max(meta.last_use, static_cast<uint32_t>(request.step));
      meta.AddCount(static_cast<uint32_t>(std::min<uint64_t>(sightings, RowMeta::kMaxCount)));
    }
    out.defaults[b].handle = handle;
  }
}

template <class T>
void HashTable<T>::Resolve(std::span<const Key> keys, std::span<const int32_t> counts, std::span<const KeyBlock> blocks,
                           ResolveMode mode, int64_t step, ThreadPool* pool, Resolved* out) {
  SLUICE_CHECK(step >= 0 && step <= UINT32_MAX, "table {}: step {} is outside 32 bits", options_.name, step);
  Request request{keys, counts, blocks, mode, step, out, {}};
  if (mode == ResolveMode::kTrain) {
    for (const KeyBlock& block : blocks) request.vocabularies.push_back(vocabularies_.Number(block.salt));
    if (blocks.empty() || blocks.back().end < static_cast<int32_t>(keys.size()))
      request.vocabularies.push_back(vocabularies_.Number(VocabularyTags::kUnknown));
  }
  const auto n = static_cast<int64_t>(keys.size());
  out->handles.resize(keys.size());
  if (track_previous_ && mode == ResolveMode::kTrain) out->previous_use.resize(keys.size());
  out->defaults.clear();
  out->mode = mode;
  out->step = step;

  const int parts = pool != nullptr && n >= kMinParallel ? pool->num_threads() : 1;
  Sorted sorted;
  SortByStripe(request, parts, pool, &sorted);
  std::atomic<int64_t> missing{0};
  const auto resolve = [&](int64_t stripe) {
    const int64_t count = ResolveStripe(request, sorted, static_cast<int>(stripe));
    if (count > 0) missing.fetch_add(count, std::memory_order_relaxed);
  };
  if (parts == 1)
    for (int64_t s = 0; s < kNumStripes; ++s) resolve(s);
  else
    pool->ForEach(kNumStripes, [&](int64_t stripe, int) { resolve(stripe); });
  out->num_missing = missing.load(std::memory_order_relaxed);
  if (out->num_missing > 0 && options_.on_missing == OnMissing::kDefault) ResolveDefaults(request);
  Pin(*out);
}

template class HashTable<float>;
template class HashTable<double>;

}  // namespace sluice::embedding
