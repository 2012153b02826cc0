#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"
#include "comm/communicator.h"
#include "data/batch.h"
#include "data/schema.h"

namespace sluice::placement {

// Where the keys of a field go.
struct FieldRoute {
  int field = 0;
  int owner = -1;           // the rank that owns the whole field, or -1: each key goes to the owner of its shard
  bool whole_bags = false;  // owners learn of the keys of others in a sample (mean and sqrtn divide by all of them)
};

// Brings the keys of a global batch to the ranks that own their rows. Every rank gives the samples it has read; every
// rank gets a batch of all samples of the global batch that holds only the keys it owns.
// Source       DES, input step; docs/algorithms/des.md.
// Wire         to each rank one message: per field a bit per sample (one-hot fields) or a varint count per sample, then
//              the keys, 8 bytes each, a byte that says whether weights follow, and the weights, 4 bytes each. Before
//              it, 8 bytes with the message's length. Counted as Traffic::kInputKeys. Where a route asks for whole
//              bags: after each count that is not 0 a varint with the number of the sample's keys that others own, and
//              after the weights, where there are any, the weights of those.
// Semantics    in a whole bag the keys of others stand behind those that are owned, as key 0; `present` tells them
//              apart.
// Distributed  collective; all-to-all.
// Errors       those of the communicator; kDataLoss naming the rank whose message does not parse.
class KeyExchange {
 public:
  KeyExchange(const data::Schema& schema, std::vector<FieldRoute> routes, comm::Communicator* comm);

  // `local`: samples SamplesOfRank(global_batch) with all their keys. `owned`: global_batch samples; fields that are
  // not routed stay empty; labels, dense features and weights are not exchanged. `present` [field]: of a field of whole
  // bags the occurrences that this rank owns; else empty, and all are.
  Status Run(const data::Batch& local, int64_t global_batch, data::Batch* owned,
             std::vector<std::vector<int32_t>>* present);

 private:
  void Encode(const data::Batch& local);
  void EncodeField(const data::Batch& local, const FieldRoute& route);
  Status Decode(int from, int64_t samples, std::span<const std::byte> message, data::Batch* owned,
                std::vector<std::vector<int32_t>>* present) const;

  const data::Schema& schema_;
  std::vector<FieldRoute> routes_;
  comm::Communicator* comm_;
  std::vector<std::vector<std::byte>> out_, in_;
  std::vector<std::vector<int64_t>> taken_;   // scratch: occurrences for each rank, of one field
  std::vector<std::vector<int64_t>> others_;  // scratch: and the others in its whole bags
  std::vector<std::vector<uint8_t>> heads_;   // scratch: bits or counts for each rank, of one field
};

}  // namespace sluice::placement
