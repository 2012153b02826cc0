#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "base/thread_pool.h"
#include "data/features.h"
#include "data/source.h"
#include "nn/partial_form.h"
#include "placement/planner.h"
#include "train/config.h"
#include "train/model_state.h"

namespace sluice::train {

// What a planner is told of a run: statistics of its data, the sizes of its model that no form of partials changes, a
// rank's machine and link.
// Semantics    statistics are those of the first batches of the training data, strategy.planner.samples samples or one
//              batch. `machine`: the link, where it is known; the rest is measured here then, in about a second.
// Errors       those of the data; kInvalidArgument for settings of strategy.planner.
template <class T>
Result<placement::PlanInput> MakePlanInput(const RunConfig& config, const data::FittedFeatures& features,
                                           const ModelState<T>& state, int num_ranks, placement::Machine machine,
                                           ThreadPool* pool);

// The same from a source; `file_bytes`: of the whole data where known, else 0. Reads `source` from where it stands.
template <class T>
Result<placement::PlanInput> MakePlanInput(const RunConfig& config, data::BatchSource* source, int64_t file_bytes,
                                           const ModelState<T>& state, int num_ranks, placement::Machine machine,
                                           ThreadPool* pool);

// A plan, and the form of the model's partials that it is for.
struct PlannedRun {
  nn::PartialForm form = nn::PartialForm::kWhole;
  placement::PlanInput input;  // in that form
  placement::Plan plan;
};
// Plans the model in each form that strategy.first_layer and the mode leave open, and takes the plan that costs least.
// Errors       those of placement::MakePlan.
template <class T>
Result<PlannedRun> PlanForms(const RunConfig& config, const placement::PlanInput& input, const ModelState<T>& state);

// What a step costs with that strategy and form, which may differ from the planned ones; *planned is then in that form.
template <class T>
Result<placement::StepCost> CostAs(nn::PartialForm form, const placement::Strategy& strategy,
                                   const ModelState<T>& state, PlannedRun* planned);

// [field]: whether an operator divides by the field's whole bag (mean, sqrtn).
template <class T>
std::vector<uint8_t> WholeBags(const nn::Net<T>& net, const data::Schema& schema);

// What the configuration asks of the planner. Errors: as placement::NamedPlacements.
Result<placement::PlanOptions> MakePlanOptions(const RunConfig& config, const data::Schema& schema);

// The link that the configuration states; none where it is empty or to be measured. Errors: kInvalidArgument.
Result<placement::Machine> LinkOf(const placement::PlannerConfig& config);

// Adds what this process computes at: products of floats, rows of a table, bytes summed. About half a second.
Status MeasureComputing(bool bf16, ThreadPool* pool, placement::Machine* machine);

}  // namespace sluice::train
