#pragma once

#include <cstdint>
#include <vector>

#include "base/chunks.h"
#include "data/batch.h"
#include "data/schema.h"
#include "embedding/virtual_ids.h"

namespace sluice::placement {

// Samples [samples) of a batch; the columns of sparse fields only where `with_keys`, else they are empty.
void SliceBatch(const data::Batch& batch, const data::Schema& schema, Range samples, bool with_keys, data::Batch* out);

// Virtual ids of the keys of a batch that one rank owns.
// Threads      one call at a time.
class OwnedIds {
 public:
  OwnedIds(const data::Schema& schema, int rank, int num_ranks);

  // As VirtualIdBuilder::Build of a batch without the keys of others, but inverse[f] covers every occurrence of `batch`:
  // -1 where another rank owns the key. So operators know the whole sample's coefficients (mean, sqrtn).
  void Build(const data::Batch& batch, embedding::VirtualIds* ids);

 private:
  embedding::VirtualIdBuilder builder_;
  std::vector<uint8_t> owns_shard_;
  data::Batch owned_;
  std::vector<std::vector<int32_t>> positions_;   // [field]: occurrences of `batch` that are owned
  std::vector<int32_t> compact_;
};

}  // namespace sluice::placement
