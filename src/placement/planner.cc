#include "placement/planner.h"

#include <set>

#include <fmt/format.h>

#include "embedding/virtual_ids.h"
#include "placement/batch_parts.h"
#include "placement/ownership.h"

namespace sluice::placement {
namespace {

// Dense work that every rank can as well do for all samples.
constexpr double kReplicableFlops = 4096;

}  // namespace

int64_t BytesPerStep(const PlanInput& input, Placement placement) {
  const int64_t others = input.num_ranks - 1;
  const int64_t sums = input.batch_size * input.sum_columns, maxima = input.batch_size * input.max_columns;
  if (placement == Placement::kDes)
    return 2 * others * (sums + maxima) * input.scalar_bytes + 2 * others * 8;
  const int64_t dense = 2 * others * (input.dense_params * input.scalar_bytes + 3 * 8);
  if (placement == Placement::kDesRs) return others * (2 * sums + 3 * maxima) * input.scalar_bytes + dense;
  const int64_t keys = input.num_ranks * others * (8 + 4 * input.num_vocabularies) + 12 * input.remote_keys;
  return keys + 2 * input.remote_row_scalars * input.scalar_bytes + dense;
}

Plan Choose(const PlanInput& input) {
  Plan plan;
  std::vector<Placement> candidates = {Placement::kDesRs, Placement::kRowsA2a};
  if (input.flops_per_sample <= kReplicableFlops) candidates.push_back(Placement::kDes);
  plan.choice = candidates[0];
  for (const Placement candidate : candidates) {
    if (BytesPerStep(input, candidate) < BytesPerStep(input, plan.choice)) plan.choice = candidate;
    plan.reason += fmt::format("{}{} sends {:.1f}", plan.reason.empty() ? "" : ", ", PlacementName(candidate),
                               static_cast<double>(BytesPerStep(input, candidate)) /
                                   static_cast<double>(std::max<int64_t>(1, input.batch_size)));
  }
  plan.reason += " bytes per sample of the first batch";
  return plan;
}

PlanInput MeasureBatch(const data::Batch& batch, const data::Schema& schema, const std::vector<PlannedTable>& tables,
                       int num_ranks) {
  PlanInput input;
  input.num_ranks = num_ranks;
  input.batch_size = batch.size;
  embedding::VirtualIdBuilder builder(schema);
  input.num_vocabularies = builder.num_vocabularies();
  data::Batch part;
  embedding::VirtualIds ids;
  for (int r = 0; r < num_ranks; ++r) {
    SliceBatch(batch, schema, SamplesOfRank(batch.size, r, num_ranks), true, &part);
    builder.Build(part, nullptr, &ids);
    std::vector<int64_t> remote(static_cast<size_t>(builder.num_vocabularies()), 0);
    for (size_t v = 0; v < remote.size(); ++v)
      for (int32_t i = ids.block_begin[v]; i < ids.block_begin[v + 1]; ++i)
        remote[v] += RankOfKey(ids.unique[static_cast<size_t>(i)], num_ranks) != r;
    for (const int64_t n : remote) input.remote_keys += n;
    for (const PlannedTable& table : tables) {
      std::set<int> vocabularies;
      for (const int field : table.fields) vocabularies.insert(builder.vocabulary_of_field(field));
      for (const int v : vocabularies) input.remote_row_scalars += remote[static_cast<size_t>(v)] * table.dim;
    }
  }
  return input;
}

}  // namespace sluice::placement
