#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/batch.h"
#include "data/schema.h"
#include "placement/strategy.h"

namespace sluice::placement {

// What the bytes of a step follow from (docs/algorithms/des.md, costs).
struct PlanInput {
  int num_ranks = 2;
  int64_t batch_size = 0;
  int64_t sum_columns = 0, max_columns = 0;   // of the operators' partials
  int64_t dense_params = 0;
  double flops_per_sample = 0;                // of the dense net
  int64_t scalar_bytes = 4;
  int64_t num_vocabularies = 0;
  int64_t remote_keys = 0;                    // unique keys of the ranks' samples that other ranks own, over all ranks
  int64_t remote_row_scalars = 0;             // scalars of their rows, over all tables
};

// Payload of a step, summed over ranks.
int64_t BytesPerStep(const PlanInput& input, Placement placement);

struct Plan {
  Placement choice = Placement::kDes;
  std::string reason;   // in words, with the bytes of each
};
// The placement that sends the fewest bytes. `des` only where the dense net is next to nothing, since it computes all
// samples on every rank.
Plan Choose(const PlanInput& input);

struct PlannedTable {
  std::vector<int> fields;
  int64_t dim = 0;
};
// The part of PlanInput that follows from data, of one global batch.
PlanInput MeasureBatch(const data::Batch& batch, const data::Schema& schema, const std::vector<PlannedTable>& tables,
                       int num_ranks);

}  // namespace sluice::placement
