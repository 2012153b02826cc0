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
// Semantics    within a block keys stand in the order of first occurrence (fields in schema order, then samples), so the
//              result does not depend on the number of threads.
struct VirtualIds {
  std::vector<Key> unique;
  std::vector<int32_t> counts;
  std::vector<int32_t> block_begin;             // [num_vocabularies + 1]
  std::vector<std::vector<int32_t>> inverse;    // [num_fields]

  int64_t num_unique() const { return static_cast<int64_t>(unique.size()); }
};

// Builds VirtualIds batch after batch, reusing its scratch memory.
// Threads      one call at a time; `pool` may be null (the caller alone works).
class VirtualIdBuilder {
 public:
  explicit VirtualIdBuilder(const data::Schema& schema);

  int num_vocabularies() const { return num_vocabularies_; }
  int vocabulary_of_field(int field) const { return vocabulary_of_field_[field]; }

  void Build(const data::Batch& batch, ThreadPool* pool, VirtualIds* ids);

 private:
  struct Scratch;
  int num_vocabularies_ = 0;
  std::vector<int> vocabulary_of_field_;
  std::vector<std::vector<int>> fields_of_vocabulary_;
  std::vector<std::vector<uint64_t>> scratch_;
};

}  // namespace sluice::embedding
