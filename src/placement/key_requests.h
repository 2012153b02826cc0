#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/status.h"
#include "comm/communicator.h"
#include "data/batch.h"
#include "data/schema.h"
#include "embedding/virtual_ids.h"

namespace sluice::placement {

// Which rows travel between ranks for one batch.
// Shapes       part p = rank * num_vocabularies + vocabulary: ask[ask_begin[p], ask_begin[p + 1]) are indices of my unique
//              keys that `rank` owns; give[...] indices of the unique keys that I own and `rank` asked for, in its order.
struct RowRoutes {
  std::vector<int32_t> ask, give;
  std::vector<int64_t> ask_begin, give_begin;
};

// Second level of virtual ids: every rank asks the owners for the unique keys of its part of the batch, and every owner
// makes unique what was asked for.
// Wire         8 bytes with the message's length to each rank; then per vocabulary 4 bytes with the number of keys, the
//              keys (8 bytes each) and how often each occurs (4 bytes each). Counted as Traffic::kInputKeys.
// Distributed  collective; one all-to-all.
// Errors       those of the communicator; kDataLoss naming the rank whose message does not parse.
class KeyRequests {
 public:
  KeyRequests(const data::Schema& schema, comm::Communicator* comm);

  // `mine`: unique keys of my samples. `owned`: unique keys that this rank owns, with their counts over all ranks;
  // inverse is of no use.
  Status Run(const embedding::VirtualIds& mine, embedding::VirtualIds* owned, RowRoutes* routes);

 private:
  void Encode(const embedding::VirtualIds& mine, RowRoutes* routes);
  Status Decode(RowRoutes* routes);

  embedding::VirtualIdBuilder builder_;
  comm::Communicator* comm_;
  std::vector<int32_t> rank_of_shard_;
  std::vector<std::vector<std::byte>> out_, in_;
  data::Batch asked_;                            // keys asked for, in the first field of each vocabulary
  std::vector<std::vector<int32_t>> counts_;     // of them, per vocabulary
};

}  // namespace sluice::placement
