#include "train/rank_keys.h"

#include "placement/ownership.h"

namespace sluice::train {

RankKeys::RankKeys(const data::Schema& schema, const RankContext& context)
    : schema_(schema),
      context_(context),
      owned_(schema, context.ranks->rank(), context.ranks->size()),
      local_(schema),
      requests_(schema, &context.ranks->host()) {}

void RankKeys::Prepare(WorkingSet* set) {
  const placement::Strategy& strategy = context_.strategy;
  if (!strategy.replicated) {
    const Range mine = placement::SamplesOfRank(set->batch.size, context_.ranks->rank(), context_.ranks->size());
    placement::SliceBatch(set->batch, schema_, mine, !strategy.owner_computes(), &set->local);
  }
  if (strategy.owner_computes())
    owned_.Build(set->batch, &set->ids);
  else
    local_.Build(set->local, nullptr, &set->local_ids);
}

void RankKeys::Exchange(WorkingSet* set) {
  if (context_.strategy.owner_computes()) return;
  const Status status = requests_.Run(set->local_ids, &set->ids, &set->routes);
  if (!status.ok()) throw StatusError(status);
}

}  // namespace sluice::train
