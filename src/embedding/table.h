#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/hash.h"
#include "base/sections.h"
#include "base/status.h"
#include "base/thread_pool.h"
#include "optim/update_rule.h"

namespace sluice::embedding {

// Virtual shards of every table, by the high bits of Mix64(key). A rank owns whole shards; expiry clocks, capacity,
// admission sketches and checkpoint sections are per shard, so nothing depends on the number of ranks.
inline constexpr int kShardBits = 10;
inline constexpr int kNumShards = 1 << kShardBits;
inline int ShardOf(Key key) { return static_cast<int>(Mix64(key) >> (64 - kShardBits)); }

// Names a row until its pin is released. Not a pointer, and not stable across runs.
using Handle = uint32_t;
inline constexpr Handle kNoRow = 0xffffffffu;

// What a key without a row reads (unseen in prediction, not admitted in training).
enum class OnMissing {
  kDefault,  // one learned row per vocabulary; in training it receives the gradients of the keys it stands for
  kInit,     // the initial value that the key's row would have; gradients are dropped and counted
  kZero,     // zeros; gradients are dropped and counted
};

enum class ResolveMode {
  kTrain,   // insert missing keys that are admitted, update counts and last use
  kLookup,  // change nothing: evaluation and prediction
};

// Consecutive keys that share a vocabulary, hence a default row.
struct KeyBlock {
  int32_t begin = 0, end = 0;
  uint64_t salt = 0;  // of the vocabulary; the default row's key is DefaultRowKey(salt)
};
inline Key DefaultRowKey(uint64_t salt) { return MixPair(salt, 0xdefa017); }

// Rows of a resolved batch: handles [n] in the order of the keys, pinned until Release.
struct Resolved {
  std::vector<Handle> handles;  // kNoRow where nothing stands for the key (kInit, kZero)
  int64_t step = 0;             // rows used at or after the oldest unreleased step are neither expired nor moved
  int64_t num_missing = 0;      // keys without a row of their own
};

struct TableStats {
  int64_t rows = 0;
  int64_t inserted = 0;           // since the table was made
  int64_t expired = 0;
  int64_t rejected = 0;           // sightings of keys not (yet) admitted
  int64_t dropped_gradients = 0;  // row gradients of keys without a row
  int64_t memory_bytes = 0;       // index, rows, sketches
  int64_t row_bytes = 0;          // key, metadata, weights and slots of one row
};

// One row as seen by export, inspection and tests.
template <class T>
struct RowView {
  Key key = 0;
  const T* weights = nullptr;  // [dim]
  const T* slots = nullptr;    // [num_slots]
  uint32_t count = 0;          // sightings, saturating
  uint32_t last_use = 0;       // step of the last sighting
};

// An open-ended map from key to row: `dim` weights, optimizer slots and 8 bytes of metadata. T is float, or double on
// the plain path. A local hash table, a cache over slower tiers and a remote server implement this contract.
// Shapes       keys, counts [n], unique; weights and gradients [n, dim] row-major, contiguous.
// Memory       no pointer into a table is handed out, except within ForEachRow.
// Semantics    rows come into being when first admitted; their initial value is a function of (seed, key, column).
//              Insertions, counts, admissions and expiries take effect in the order of `step`, so overlapping stages
//              and any number of threads give the same rows.
// Threads      Resolve, Gather, Apply and Release may overlap with one another for different batches; two calls of the
//              same kind may overlap too (Hogwild). ForEachRow, Save, Load and Expire need everything else at rest.
// Errors       a StatusError with kResourceExhausted when memory or the 32-bit handle space is full.
template <class T>
class Table {
 public:
  virtual ~Table() = default;

  virtual const std::string& name() const = 0;
  virtual int64_t dim() const = 0;
  virtual int64_t num_slots() const = 0;  // scalars per row

  // Finds or makes the rows of `keys` and pins them. `pool` may be null.
  virtual void Resolve(std::span<const Key> keys, std::span<const int32_t> counts, std::span<const KeyBlock> blocks,
                       ResolveMode mode, int64_t step, ThreadPool* pool, Resolved* out) = 0;
  // Copies the weights of rows [range) of a resolved batch to out + range.begin * dim.
  virtual void Gather(const Resolved& rows, std::span<const Key> keys, std::span<const KeyBlock> blocks, Range range,
                      T* out) const = 0;
  // One optimizer step per row from the summed gradients: out of grads + range.begin * dim. Keys that share a default
  // row: their gradients are summed in key order by ApplyDefaults, which the caller runs once per batch; Apply skips
  // them. Ranges of one batch may run concurrently.
  virtual void Apply(const Resolved& rows, std::span<const Key> keys, const T* grads, Range range,
                     const optim::Rule& rule) = 0;
  virtual void ApplyDefaults(const Resolved& rows, std::span<const Key> keys, std::span<const KeyBlock> blocks,
                             const T* grads, const optim::Rule& rule) = 0;
  virtual void Release(const Resolved& rows) = 0;

  // Removes rows by the table's age and capacity settings; never a row used in the last kPinWindow steps.
  virtual void Expire(int64_t step) = 0;

  virtual TableStats stats() const = 0;
  // Rows in the order of (shard, key).
  virtual void ForEachRow(const std::function<void(const RowView<T>&)>& visit) const = 0;
  // False where there is no such row; else calls visit.
  virtual bool FindRow(Key key, const std::function<void(const RowView<T>&)>& visit) const = 0;
  // Checksum of every row, its slots and metadata; independent of storage order.
  virtual uint64_t Digest() const = 0;

  // One section per shard: "<prefix>/shard/0000" to "<prefix>/shard/1023" (empty shards are left out).
  virtual Status Save(SectionWriter* writer, const std::string& prefix) const = 0;
  virtual Status Load(const SectionReader& reader, const std::string& prefix) = 0;
};

// Depth of the longest pipeline: a row used in the last kPinWindow steps never expires, whether stages overlap or not.
inline constexpr int64_t kPinWindow = 8;

}  // namespace sluice::embedding
