#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/status.h"
#include "comm/communicator.h"
#include "data/schema.h"
#include "embedding/virtual_ids.h"
#include "placement/ownership.h"
#include "placement/strategy.h"

namespace sluice::placement {

// Which rows travel between ranks for one batch.
// Shapes       part p = rank * num_vocabularies + vocabulary: ask[ask_begin[p], ask_begin[p + 1]) are indices of my
//              unique keys that `rank` owns; give[...] indices of the unique keys that I own and `rank` asked for, in
//              its order.
struct RowRoutes {
  std::vector<int32_t> ask, give;
  std::vector<int64_t> ask_begin, give_begin;
};

// What all ranks asked of this one, by vocabulary, those of rank 0 first: keys, unique within a rank, and how often
// each occurs there.
struct AskedKeys {
  std::vector<std::vector<Key>> keys;
  std::vector<std::vector<int32_t>> counts;
};

// Second level of virtual ids: every rank asks the owners for the unique keys of its part of the batch. OwnerIds makes
// unique what was asked for.
// Wire         8 bytes with the message's length to each rank; then per vocabulary whose rows travel 4 bytes with the
//              number of keys; then the keys (8 bytes each) and how often each occurs (4 bytes each). Counted as
//              Traffic::kInputKeys.
// Distributed  collective; one all-to-all.
// Errors       those of the communicator; kDataLoss naming the rank whose message does not parse.
class KeyRequests {
 public:
  KeyRequests(const Strategy& strategy, const Ownership& ownership, comm::Communicator* comm);

  // `mine`: unique keys of my samples, of the vocabularies whose rows travel. Fills routes but for `give`.
  Status Run(const embedding::VirtualIds& mine, AskedKeys* asked, RowRoutes* routes);

 private:
  void Encode(const embedding::VirtualIds& mine, RowRoutes* routes);
  Status Decode(AskedKeys* asked, RowRoutes* routes) const;

  std::vector<size_t> vocabularies_;  // whose rows travel
  size_t num_vocabularies_;
  const Ownership& ownership_;
  comm::Communicator* comm_;
  std::vector<std::vector<std::byte>> out_, in_;
};

}  // namespace sluice::placement
