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
#include "embedding/row_init.h"
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
  kDefault,  // one learned row per vocabulary, zero at first; in training it receives the gradients of the keys it
             // stands for
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

// The default row of one key block, where a batch needs it.
struct DefaultRow {
  Handle handle = kNoRow;
  uint32_t previous_use = 0;
};

// Rows of a resolved batch, pinned until Release. Reuse one object for batch after batch: its memory is kept.
struct Resolved {
  std::vector<Handle> handles;         // [n] in the order of the keys; kNoRow: the key has no row of its own
  std::vector<uint32_t> previous_use;  // [n] step of each row's sighting before this one; only where the rule needs it
  std::vector<DefaultRow> defaults;    // [number of blocks], or empty where every key has a row (or on_missing differs)
  ResolveMode mode = ResolveMode::kLookup;
  int64_t step = 0;         // rows used at or after the oldest unreleased step are neither expired nor moved
  int64_t num_missing = 0;  // keys without a row of their own
  std::vector<uint64_t> scratch;
};

struct TableStats {
  int64_t rows = 0;      // default rows included
  int64_t inserted = 0;  // since the table was made
  int64_t expired = 0;
  int64_t rejected = 0;           // sightings of keys not (yet) admitted
  int64_t dropped_gradients = 0;  // row gradients of keys without a row
  int64_t memory_bytes = 0;       // index, rows, sketches
  int64_t row_bytes = 0;          // key, metadata, weights and slots of one row
};

// What a warm start takes from a checkpoint's table. The defaults are those of a resume: everything, as it was.
struct LoadOptions {
  struct Columns {
    int64_t from = 0, to = 0, count = 0;  // columns [from, from + count) of the file go to [to, to + count)
  };
  bool all_shards = true;        // false: the reader has some of the shards only, those of one rank
  bool warm_start = false;       // false: width, rule, scalar type and settings must be equal and the rest is ignored
  std::vector<Columns> columns;  // empty: all, and the widths must be equal; others keep their initial weights
  bool keep_slots = true;        // false, or another rule than the file's: slots start anew
  bool keep_counts = true;       // false: counts start at 0; the last use does in every warm start, as steps do
  // Where ranks share a table: whether a row of the vocabulary with that salt is this rank's (a salt of 0: of a
  // vocabulary that is not known, and what is kept by shard). Null: all are.
  std::function<bool(uint64_t salt, int shard)> owns;
  bool all_default_rows = false;  // default rows come whoever owns them: each rank reads them for its missing keys
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
//              same kind may overlap too. Where such batches share rows, weights are read and written without locks
//              (Hogwild); indices and metadata stay consistent. ForEachRow, FindRow, Digest, Save, Load and Expire need
//              everything else at rest; unreleased batches may exist while Expire runs.
// Errors       a StatusError with kResourceExhausted when memory or the 32-bit handle space is full. Gather and Apply
//              compare the key in each row with the caller's: use of a row whose pin has ended aborts as a bug.
template <class T>
class Table {
 public:
  virtual ~Table() = default;

  virtual const std::string& name() const = 0;
  virtual int64_t dim() const = 0;
  virtual int64_t num_slots() const = 0;  // scalars per row
  virtual const RowInit& init() const = 0;  // of every row but default rows, which begin with zeros

  // Finds or makes the rows of `keys` and pins them. `pool` may be null. Steps count from 1 and fit 32 bits.
  virtual void Resolve(std::span<const Key> keys, std::span<const int32_t> counts, std::span<const KeyBlock> blocks,
                       ResolveMode mode, int64_t step, ThreadPool* pool, Resolved* out) = 0;
  // Copies the weights of rows [range) of a resolved batch to out + range.begin * dim; keys without a row read what
  // on_missing says.
  virtual void Gather(const Resolved& rows, std::span<const Key> keys, std::span<const KeyBlock> blocks, Range range,
                      T* out) const = 0;
  // One optimizer step per row from the summed gradients: out of grads + range.begin * dim. Keys without a row are
  // skipped (and counted, unless a default row stands for them). Ranges of one batch may run concurrently.
  virtual void Apply(const Resolved& rows, std::span<const Key> keys, const T* grads, Range range,
                     const optim::Rule& rule) = 0;
  // Default rows: the gradients of the keys that each stands for, summed in key order. Once per batch, after Apply or
  // beside it.
  virtual void ApplyDefaults(const Resolved& rows, std::span<const Key> keys, std::span<const KeyBlock> blocks,
                             const T* grads, const optim::Rule& rule) = 0;
  // Ends the pin: the handles of `rows` may not be used any more. Once per Resolve.
  virtual void Release(const Resolved& rows) = 0;

  // Removes rows by the table's age and capacity settings; never a row used in the last kPinWindow steps or pinned.
  // Called once per training step: a shard's turn to be searched for old rows comes every kExpiryPeriod steps, shards
  // beyond their share of the capacity are searched at once. Costs nothing where nothing expires.
  virtual void Expire(int64_t step) = 0;

  virtual TableStats stats() const = 0;
  // Rows in the order of (shard, key).
  virtual void ForEachRow(const std::function<void(const RowView<T>&)>& visit) const = 0;
  // False where there is no such row; else calls visit.
  virtual bool FindRow(Key key, const std::function<void(const RowView<T>&)>& visit) const = 0;
  // Checksum of every row, its slots and metadata; independent of storage order.
  virtual uint64_t Digest() const = 0;

  // One section per shard: "<prefix>/shard/0000" to "<prefix>/shard/1023" (empty shards are left out), after
  // "<prefix>/table", which says what they hold. Equal tables write equal bytes. Where ranks write the shards of one
  // table together, total_rows is the number of rows of all; -1: this table's. A shard may then be in several sections,
  // the further ones "<prefix>/shard/0000-..."; Load puts them together.
  virtual Status Save(SectionWriter* writer, const std::string& prefix, int64_t total_rows = -1) const = 0;
  // Replaces all rows. A failure names the section and what differs, and leaves the table empty.
  virtual Status Load(const SectionReader& reader, const std::string& prefix, const LoadOptions& options = {}) = 0;
};

// Depth of the longest pipeline: a row used in the last kPinWindow steps never expires, whether stages overlap or not.
inline constexpr int64_t kPinWindow = 8;

// Steps between two searches of one shard for old rows.
inline constexpr int64_t kExpiryPeriod = 256;

}  // namespace sluice::embedding
