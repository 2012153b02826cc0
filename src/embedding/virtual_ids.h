#pragma once

#include <cstdint>
#include <vector>

#include "base/hash.h"
#include "base/thread_pool.h"
#include "data/batch.h"
#include "data/schema.h"

namespace sluice::embedding {

// The keys of a batch made unique, and for every occurrence its index among them. Made once per batch; everything after
// it works on unique rows. Source: ScaleFreeCTR (virtual sparse ids); docs/architecture.md.
// Shapes       unique [U]; counts [U] occurrences of each; block v covers vocabulary v: unique[block_begin[v],
//              block_begin[v + 1]); inverse[f] [nnz of field f], an index into `unique`.
// Semantics    within a block keys stand in the order of first occurrence (fields in schema order, then samples), so
//              the result does not depend on the number of threads. Every 64-bit key is an ordinary key.
struct VirtualIds {
  std::vector<Key> unique;
  std::vector<int32_t> counts;
  std::vector<int32_t> block_begin;           // [num_vocabularies + 1]
  std::vector<std::vector<int32_t>> inverse;  // [num_fields]
  std::vector<uint8_t> whole;                 // [num_fields]: every occurrence has an index; else some are -1

  int64_t num_unique() const { return static_cast<int64_t>(unique.size()); }
};

// Builds VirtualIds batch after batch, reusing its scratch memory.
// Threads      one call at a time; `pool` may be null (the caller alone works).
// Errors       StatusError kResourceExhausted: 2^31 keys or more in one batch.
// Cost         2-4 ns per occurrence while a vocabulary's keys of the batch fit the cache.
class VirtualIdBuilder {
 public:
  // Vocabularies are numbered in the order of their first field.
  explicit VirtualIdBuilder(const data::Schema& schema);

  int num_vocabularies() const { return static_cast<int>(fields_of_vocabulary_.size()); }
  const std::vector<int>& vocabulary_of_fields() const { return vocabulary_of_field_; }
  int vocabulary_of_field(int field) const { return vocabulary_of_field_[static_cast<size_t>(field)]; }
  const std::vector<int>& fields_of_vocabulary(int v) const { return fields_of_vocabulary_[static_cast<size_t>(v)]; }

  void Build(const data::Batch& batch, ThreadPool* pool, VirtualIds* ids);

 private:
  // Of one vocabulary: its unique keys so far and an open-addressing table of indices into them.
  struct Scratch {
    std::vector<uint32_t> slots;  // 1 + index, 0: empty
    std::vector<Key> unique;
    std::vector<int32_t> counts;
    int32_t num_unique = 0;
  };

  void BuildVocabulary(const data::Batch& batch, int vocabulary, VirtualIds* ids);

  std::vector<int> vocabulary_of_field_;
  std::vector<std::vector<int>> fields_of_vocabulary_;
  std::vector<Scratch> scratch_;  // [num_vocabularies]
};

}  // namespace sluice::embedding
