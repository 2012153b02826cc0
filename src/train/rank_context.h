#pragma once

#include <functional>

#include "base/status.h"
#include "placement/machine.h"
#include "train/config.h"
#include "train/model_state.h"
#include "train/rank_keys.h"

namespace sluice::train {

// What follows from `context->strategy`, which is settled, and the model: how dense gradients travel, which bags owners
// must know whole, and the form of partials (placement/partial_form.h), a net of which the state is given. `logs`: says
// which form was chosen, and what reads an embedding that therefore cannot be split.
// Errors       kInvalidArgument naming the setting that the placements, the form or the input do not allow.
template <class T>
Status PrepareRanks(const RunConfig& config, bool logs, RankContext* context, ModelState<T>* state);

// What rank 0 chooses for all, given the link between ranks.
using PlanStrategy = std::function<Result<placement::Strategy>(const placement::Machine& link)>;

// The strategy of a run: measures the link where the configuration says so, lets rank 0 plan, since what is measured
// differs from rank to rank, and prepares `context` and `state` for what came of it. Collective. Errors: those of the
// plan; as CheckNamedHomes, placement::Settle and PrepareRanks.
template <class T>
Status SettleStrategy(const RunConfig& config, bool logs, const PlanStrategy& plan, RankContext* context,
                      ModelState<T>* state);

// Whether the placements that the configuration names go with its tables. Errors: kInvalidArgument naming the table.
template <class T>
Status CheckNamedHomes(const RunConfig& config, const ModelState<T>& state);

}  // namespace sluice::train
