#pragma once

#include <cstdint>
#include <vector>

#include "data/batch.h"
#include "data/schema.h"
#include "embedding/virtual_ids.h"
#include "placement/key_requests.h"
#include "placement/ownership.h"
#include "placement/strategy.h"

namespace sluice::placement {

// Virtual ids of all rows that this rank looks up for one global batch: of the occurrences whose partials it computes,
// and of the keys that other ranks ask for.
// Threads      one call at a time.
class OwnerIds {
 public:
  OwnerIds(const data::Schema& schema, const Strategy& strategy, const Ownership& ownership);

  // `batch`: all samples of the global batch. inverse[f] covers every occurrence of a field whose partials the owners
  // compute, -1 where another rank owns the key, so that operators know the whole sample's coefficients (mean, sqrtn);
  // it is empty for the fields of vocabularies whose rows travel.
  // `present`: what KeyExchange says of `batch`; null: every key is looked at for its owner.
  // `asked`: what KeyRequests received, null where no row travels; counts and routes->give follow from it.
  void Build(const data::Batch& batch, const std::vector<std::vector<int32_t>>* present, const AskedKeys* asked,
             embedding::VirtualIds* ids, RowRoutes* routes);

 private:
  void PickOwned(const data::Batch& batch, const std::vector<std::vector<int32_t>>* present, size_t field);
  void Expand(size_t occurrences, size_t field, embedding::VirtualIds* ids);
  void TakeAsked(const AskedKeys& asked, int vocabulary, embedding::VirtualIds* ids, RowRoutes* routes) const;

  embedding::VirtualIdBuilder builder_;
  const Ownership& ownership_;
  std::vector<uint8_t> rows_travel_;  // [vocabulary]
  std::vector<uint8_t> owns_shard_;
  data::Batch picked_;                           // keys alone
  std::vector<std::vector<int32_t>> positions_;  // [field]: the occurrences that were picked, where not all were
  std::vector<uint8_t> picked_all_;              // [field]
  std::vector<int32_t> compact_;
};

}  // namespace sluice::placement
