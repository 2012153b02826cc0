#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "embedding/admission.h"
#include "embedding/config.h"
#include "embedding/row_init.h"
#include "embedding/row_store.h"
#include "embedding/shard_index.h"
#include "embedding/table.h"
#include "embedding/vocabulary_tags.h"

namespace sluice::embedding {

// The table in local memory: per virtual shard an index of cache-line buckets, over rows that never move.
// docs/algorithms/hash-table.md.
// Layout       a row is key (8 bytes), metadata (8), weights [dim], slots [num_slots], at a stride rounded up to 8
//              bytes. A handle is the row's number in one run of address space. Shards own chunks of consecutive rows.
// Threads      64 stripes of 16 shards have a lock each; Resolve sorts a batch by stripe, so that stripes are spread
//              over threads, the lock is taken once per stripe and batch, and keys of a shard are taken in the batch's
//              order.
// Cost         a key found costs one line of index and the lines of its row, prefetched; a new one also its share of
//              1.5-fold growth, one shard at a time. About 8 bytes of index per row.
template <class T>
class HashTable final : public Table<T> {
 public:
  struct Options {
    std::string name;
    int64_t dim = 0;
    uint64_t seed = 0;
    optim::Rule rule;  // its kind sets the number of slots, its initial accumulator their values
    OnMissing on_missing = OnMissing::kDefault;
    Admission admission;
    ExpiryConfig expiry;
  };

  HashTable(Options options, RowInit init);
  ~HashTable() override;

  const std::string& name() const override { return options_.name; }
  int64_t dim() const override { return dim_; }
  int64_t num_slots() const override { return num_slots_; }
  const RowInit& init() const override { return init_; }

  void Resolve(std::span<const Key> keys, std::span<const int32_t> counts, std::span<const KeyBlock> blocks,
               ResolveMode mode, int64_t step, ThreadPool* pool, Resolved* out) override;
  void Gather(const Resolved& rows, std::span<const Key> keys, std::span<const KeyBlock> blocks, Range range,
              T* out) const override;
  void Apply(const Resolved& rows, std::span<const Key> keys, const T* grads, Range range,
             const optim::Rule& rule) override;
  void ApplyDefaults(const Resolved& rows, std::span<const Key> keys, std::span<const KeyBlock> blocks, const T* grads,
                     const optim::Rule& rule) override;
  void Release(const Resolved& rows) override;
  void Expire(int64_t step) override;

  TableStats stats() const override;
  void ForEachRow(const std::function<void(const RowView<T>&)>& visit) const override;
  bool FindRow(Key key, const std::function<void(const RowView<T>&)>& visit) const override;
  uint64_t Digest() const override;
  Status Save(SectionWriter* writer, const std::string& prefix, int64_t total_rows) const override;
  Status Load(const SectionReader& reader, const std::string& prefix, const LoadOptions& options) override;

 private:
  static constexpr int kStripeBits = 6;
  static constexpr int kNumStripes = 1 << kStripeBits;
  static constexpr uint32_t kMaxChunk = 128;

  // Everything about one virtual shard but its rows. Guarded by its stripe's lock.
  struct Shard {
    ShardIndex index;
    std::vector<RowStore::Chunk> chunks;
    uint32_t used = 0;  // rows of the last chunk handed out
    uint32_t num_defaults = 0;
    Handle free = kNoRow;         // list of free rows through their keys
    std::vector<Handle> resting;  // freed while a lookup was pinned; free once none is
    CandidateCounts candidates;
    int64_t inserted = 0, expired = 0, rejected = 0;
  };
  struct alignas(64) Stripe {
    mutable std::mutex mutex;
    uint64_t growths = 0;  // of the indices of its shards, so that a pipeline sees that buckets moved
  };
  // The keys of one Resolve sorted by stripe, in the caller's scratch.
  struct Sorted;
  // What one Resolve call works on.
  struct Request;

  static int StripeOf(uint64_t hash) { return static_cast<int>(hash >> (64 - kStripeBits)); }
  static int ShardOfHash(uint64_t hash) { return static_cast<int>(hash >> (64 - kShardBits)); }

  T* weights(Handle handle) const { return reinterpret_cast<T*>(rows_.row(handle) + sizeof(RowHeader)); }
  RowView<T> View(Handle handle) const;
  void CheckRow(Handle handle, Key key) const;

  Handle Find(const Shard& shard, uint64_t hash, Key key) const;
  // A live row with initial weights and slots, in the index. REQUIRES: the stripe's lock, no row for the key.
  Handle Insert(int shard, uint64_t hash, Key key, uint32_t flags, VocabularyTags::Tag vocabulary);
  Handle TakeRow(Shard* shard);
  void RemoveRow(Shard* shard, Handle handle);
  // visit(handle) for every live row of the shard in storage order, prefetched.
  template <class Visit>
  void ForEachLive(const Shard& shard, const Visit& visit) const;
  std::vector<Handle> SortedRows(const Shard& shard) const;

  void SortByStripe(const Request& request, int parts, ThreadPool* pool, Sorted* sorted) const;
  int64_t ResolveStripe(const Request& request, const Sorted& sorted, int stripe);
  Handle TrainMiss(const Request& request, uint64_t hash, int32_t i);
  void Touch(const Request& request, Handle handle, int32_t i);
  void ResolveDefaults(const Request& request);
  void Pin(const Resolved& rows);

  int64_t OldestPin() const;
  void ExpireShard(Shard* shard, int64_t step, int64_t oldest_pin);

  int64_t MaxRowsOfShard() const;
  void Clear();
  // A checkpoint's table, and what is to be taken from it.
  struct FileFormat {
    uint32_t version = 0, scalar_bytes = 0;
    int64_t dim = 0, num_slots = 0, rows = 0, dropped_gradients = 0;
    bool keep_slots = true;
    std::vector<LoadOptions::Columns> columns;
  };
  Status ReadFormat(const SectionReader& reader, const std::string& prefix, const LoadOptions& options,
                    FileFormat* file) const;
  template <class F>
  Status LoadShard(const std::vector<std::byte>& section, int shard, const FileFormat& file,
                   const LoadOptions& options);
  Status SaveShard(SectionWriter* writer, const Shard& shard, std::vector<std::byte>* buffer) const;

  const Options options_;
  const RowInit init_;
  const int64_t dim_;
  const int64_t num_slots_;
  const bool track_previous_;  // the rule decays slots for the steps that a row missed
  RowStore rows_;
  VocabularyTags vocabularies_;
  BucketPages pages_;
  std::unique_ptr<Shard[]> shards_;
  std::unique_ptr<Stripe[]> stripes_;
  std::vector<T> initial_slots_;

  mutable std::mutex pins_mutex_;
  std::vector<int64_t> train_pins_;  // steps of unreleased batches
  int64_t lookup_pins_ = 0;
  std::atomic<int64_t> dropped_gradients_{0};
};

}  // namespace sluice::embedding
