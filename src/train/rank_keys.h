#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "data/schema.h"
#include "nn/partial_form.h"
#include "placement/key_exchange.h"
#include "placement/key_requests.h"
#include "placement/owner_ids.h"
#include "placement/ownership.h"
#include "placement/ranks.h"
#include "placement/strategy.h"
#include "sync/all_reduce_sync.h"
#include "train/working_set.h"

namespace sluice::train {

// What makes one of several ranks: its peers and how work is shared with them.
struct RankContext {
  placement::Ranks* ranks = nullptr;
  placement::Strategy strategy;
  nn::PartialForm form = nn::PartialForm::kWhole;  // of the model's net
  sync::AllReduceOptions dense;
  std::vector<uint8_t> whole_bags;  // [field]: pooling divides by all keys of a sample
};

// The host stage's part of a step on many ranks: which keys of the global batch this rank resolves, and which samples
// it computes. docs/decisions/0003-distributed-step.md.
// Threads      Prepare and Exchange may overlap for different batches.
// Errors       a StatusError: those of the communicator.
class RankKeys {
 public:
  // `needs_labels`: where the input is sharded, labels, weights and groups of the global batch come to every rank too.
  RankKeys(const data::Schema& schema, const RankContext& context, bool needs_labels);

  // Without communication, ahead of rests. set->batch holds what the source gave: the global batch, or with sharded
  // input this rank's slice. Afterwards set->batch stands for the global one (size, epoch, and keys of the fields that
  // owners compute, where they are known already), and where the batch is divided set->local for this rank's samples.
  void Prepare(WorkingSet* set);
  // Collective, in the order of steps: what other ranks have read of the batch, and set->ids of all rows that this rank
  // looks up.
  void Exchange(WorkingSet* set);

 private:
  void TakeSlice(WorkingSet* set);  // sharded input: the source's batch is the local one
  void GatherSamples(WorkingSet* set);
  bool rows_travel() const { return context_.strategy.uses(placement::Placement::kRowsA2a); }

  const data::Schema schema_;
  RankContext context_;
  bool needs_labels_;
  placement::Ownership ownership_;
  std::vector<uint8_t> row_fields_;  // [field]: its rows travel
  std::vector<uint8_t> elsewhere_;   // [field]: another rank holds its vocabulary
  placement::OwnerIds owner_;
  embedding::VirtualIdBuilder local_;
  placement::KeyRequests requests_;
  std::unique_ptr<placement::KeyExchange> exchange_;  // null: the input is replicated, or all rows travel
  placement::AskedKeys asked_;
  std::vector<std::vector<int32_t>> present_;
};

}  // namespace sluice::train
