#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "base/thread_pool.h"
#include "data/features.h"
#include "placement/planner.h"
#include "train/config.h"
#include "train/model_state.h"

namespace sluice::train {

// What a planner is told of a run: its model, statistics of its data, a rank's machine and link.
// Semantics    statistics are those of the first batches of the training data, strategy.planner.samples samples or one
//              batch. `machine`: the link, where it is known; the rest is measured here then, in about a second.
// Errors       those of the data; kInvalidArgument for settings of strategy.planner.
template <class T>
Result<placement::PlanInput> MakePlanInput(const RunConfig& config, const data::FittedFeatures& features,
                                           const ModelState<T>& state, int num_ranks, placement::Machine machine,
                                           ThreadPool* pool);

// What the configuration asks of the planner. Errors: as placement::NamedPlacements.
Result<placement::PlanOptions> MakePlanOptions(const RunConfig& config, const data::Schema& schema);

// The link that the configuration states; none where it is empty or to be measured. Errors: kInvalidArgument.
Result<placement::Machine> LinkOf(const placement::PlannerConfig& config);

// Adds what this process computes at: products of floats, rows of a table, bytes summed. About half a second.
Status MeasureComputing(bool bf16, ThreadPool* pool, placement::Machine* machine);

}  // namespace sluice::train
