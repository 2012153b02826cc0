#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "embedding/reservation.h"
#include "embedding/table.h"

namespace sluice::embedding {

// One cache line of an index: 12 entries of tag and handle. Tag 0 is an empty entry.
struct alignas(64) Bucket {
  static constexpr int kEntries = 12;
  static constexpr uint32_t kAll = (1u << kEntries) - 1;

  uint8_t tags[kEntries];
  uint32_t passed;              // entries that found this bucket full and lie in a later one
  Handle handles[kEntries];

  // Bit e is set where tags[e] == tag.
  uint32_t Match(uint8_t tag) const {
#if defined(__SSE2__)
    const __m128i line = _mm_load_si128(reinterpret_cast<const __m128i*>(this));
    return static_cast<uint32_t>(_mm_movemask_epi8(_mm_cmpeq_epi8(line, _mm_set1_epi8(static_cast<char>(tag))))) & kAll;
#else
    uint32_t mask = 0;
    for (int e = 0; e < kEntries; ++e) mask |= static_cast<uint32_t>(tags[e] == tag) << e;
    return mask;
#endif
  }
};
static_assert(sizeof(Bucket) == 64);

// Pages of buckets for the indices of all shards of a table: all of one size, so that growing and shrinking indices leave
// no holes.
// Threads      Allocate and Free lock; page() may run beside them.
class BucketPages {
 public:
  static constexpr uint32_t kPageBuckets = 16;

  BucketPages()
      : memory_(std::min(kMaxBytes, MemoryBound())), base_(reinterpret_cast<Bucket*>(memory_.data())) {}

  Bucket* page(uint32_t id) const { return base_ + size_t{id} * kPageBuckets; }
  // `count` zeroed pages are appended to `ids`.
  void Allocate(size_t count, std::vector<uint32_t>* ids);
  void Free(const std::vector<uint32_t>& ids);
  void Clear();
  int64_t bytes() const;

 private:
  static constexpr size_t kMaxBytes = size_t{1} << 36;   // of 2^32 rows at a load of a third

  Reservation memory_;
  Bucket* const base_;
  mutable std::mutex mutex_;
  std::vector<uint32_t> free_;
  uint32_t next_ = 0;
};

// The index of one virtual shard: open addressing over buckets of one cache line; an entry whose bucket is full lies in
// the next one that is not. Keys are compared by the caller, in the rows.
// Hash bits    10 high: shard. 32 below: bucket, by multiply and shift over any number of buckets. 8 low: tag.
// Growth       by a factor of 1.5 along a sequence of capacities that is the shard's own, spread evenly between those of
//              the other shards: at no time do many grow.
// Threads      none of its own; the owner locks.
class ShardIndex {
 public:
  static uint8_t TagOf(uint64_t hash) { return static_cast<uint8_t>(((hash & 0xff) * 255 >> 8) + 1); }

  uint32_t size() const { return size_; }
  uint32_t num_buckets() const { return num_buckets_; }
  bool empty() const { return num_buckets_ == 0; }

  // REQUIRES: !empty().
  uint32_t HomeOf(uint64_t hash) const {
    return static_cast<uint32_t>(((hash >> 22 & 0xffffffffu) * num_buckets_) >> 32);
  }
  Bucket& bucket(const BucketPages& pages, uint32_t b) const {
    return pages.page(page_ids_[b / BucketPages::kPageBuckets])[b % BucketPages::kPageBuckets];
  }
  Bucket& home(const BucketPages& pages, uint64_t hash) const { return bucket(pages, HomeOf(hash)); }

  // The entry with the hash's tag for which matches(handle) holds, or kNoRow.
  template <class Matches>
  Handle Find(const BucketPages& pages, uint64_t hash, const Matches& matches) const {
    if (empty()) return kNoRow;
    const uint8_t tag = TagOf(hash);
    for (uint32_t b = HomeOf(hash);;) {
      const Bucket& line = bucket(pages, b);
      for (uint32_t mask = line.Match(tag); mask != 0; mask &= mask - 1) {
        const Handle handle = line.handles[std::countr_zero(mask)];
        if (matches(handle)) return handle;
      }
      if (line.passed == 0) return kNoRow;
      b = b + 1 == num_buckets_ ? 0 : b + 1;
    }
  }

  // Brings the bucket after the home of `hash` near. REQUIRES: !empty().
  void PrefetchNext(const BucketPages& pages, uint64_t hash) const {
    const uint32_t b = HomeOf(hash) + 1;
    __builtin_prefetch(&bucket(pages, b == num_buckets_ ? 0 : b));
  }

  bool full() const { return size_ >= grow_at_; }
  // Replaces the buckets by the next larger set and enters every (hash, handle) that `for_each` yields again. Unchanged
  // where memory runs out.
  template <class ForEach>
  void Grow(BucketPages* pages, int shard, const ForEach& for_each) {
    const std::vector<uint32_t> old = Enlarge(pages, shard);
    size_ = 0;
    for_each([&](uint64_t hash, Handle handle) { Insert(*pages, hash, handle); });
    pages->Free(old);
  }

  // REQUIRES: !full(), and no entry for this key.
  void Insert(const BucketPages& pages, uint64_t hash, Handle handle) {
    for (uint32_t b = HomeOf(hash);;) {
      Bucket& line = bucket(pages, b);
      if (const uint32_t empty = line.Match(0); empty != 0) {
        const int e = std::countr_zero(empty);
        line.tags[e] = TagOf(hash);
        line.handles[e] = handle;
        ++size_;
        return;
      }
      ++line.passed;
      b = b + 1 == num_buckets_ ? 0 : b + 1;
    }
  }

  // REQUIRES: an entry with this hash and handle.
  void Remove(const BucketPages& pages, uint64_t hash, Handle handle);

  // Forgets everything; the pages are the owner's to clear.
  void Clear() { *this = ShardIndex(); }

 private:
  // Returns the pages that it replaced.
  std::vector<uint32_t> Enlarge(BucketPages* pages, int shard);

  std::vector<uint32_t> page_ids_;
  uint32_t num_buckets_ = 0;
  uint32_t size_ = 0;
  uint32_t grow_at_ = 0;
};

}  // namespace sluice::embedding
