#pragma once

#include <memory>

#include "data/schema.h"
#include "placement/batch_parts.h"
#include "placement/key_requests.h"
#include "placement/ranks.h"
#include "placement/strategy.h"
#include "sync/all_reduce_sync.h"
#include "train/working_set.h"

namespace sluice::train {

// What makes one of several ranks: its peers and how work is shared with them.
struct RankContext {
  placement::Ranks* ranks = nullptr;
  placement::Strategy strategy;
  sync::AllReduceOptions dense;
};

// The host stage's part of a step on many ranks: which keys of the global batch this rank resolves, and which samples it
// computes. docs/decisions/0003-distributed-step.md.
// Threads      one call at a time.
// Errors       a StatusError: those of the communicator.
class RankKeys {
 public:
  RankKeys(const data::Schema& schema, const RankContext& context);

  // Without communication, ahead of rests: from set->batch, the global one. Where owners compute: set->ids, and
  // set->local without keys; else set->local and set->local_ids.
  void Prepare(WorkingSet* set);
  // Collective, in the order of steps: set->ids of the rows that others asked for.
  void Exchange(WorkingSet* set);

 private:
  const data::Schema schema_;
  RankContext context_;
  placement::OwnedIds owned_;
  embedding::VirtualIdBuilder local_;
  placement::KeyRequests requests_;
};

}  // namespace sluice::train
