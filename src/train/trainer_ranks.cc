// How the ranks of a train::Trainer share the work.
#include <utility>

#include "base/log.h"
#include "train/planning.h"
#include "train/rank_context.h"
#include "train/trainer.h"

namespace sluice::train {

template <class T>
Result<placement::Strategy> Trainer<T>::Plan(const placement::Machine& link) {
  const RunConfig& config = header_.config;
  SLUICE_ASSIGN_OR_RETURN(const placement::PlanInput input,
                          MakePlanInput(config, header_.features, *state_, context_.ranks->size(), link, pool_.get()));
  SLUICE_ASSIGN_OR_RETURN(PlannedRun planned, PlanForms(config, input, *state_));
  planned_ = std::make_unique<PlannedRun>(std::move(planned));
  if (!options_.quiet) {
    SLUICE_INFO("{} ranks: {}", context_.ranks->size(), planned_->plan.reason);
    SLUICE_INFO("the batch size of {} is that of all ranks together", config.train.batch_size);
  }
  return planned_->plan.strategy;
}

// What the settled strategy should send, for the report.
template <class T>
Status Trainer<T>::PredictTraffic() {
  if (planned_ == nullptr) return Status::Ok();
  SLUICE_ASSIGN_OR_RETURN(const placement::StepCost cost,
                          CostAs(context_.form, context_.strategy, *state_, planned_.get()));
  for (int kind = 0; kind < comm::kNumTraffics; ++kind)
    if (static_cast<comm::Traffic>(kind) != comm::Traffic::kControl)
      report_.predicted_bytes_per_sample[comm::TrafficName(static_cast<comm::Traffic>(kind))] =
          cost.bytes[static_cast<size_t>(kind)] / static_cast<double>(planned_->input.batch_size);
  planned_.reset();
  return Status::Ok();
}

template <class T>
data::Slice Trainer<T>::InputSlice() const {
  if (context_.ranks == nullptr || !context_.strategy.sharded_input) return {};
  return {context_.ranks->rank(), context_.ranks->size()};
}

template class Trainer<float>;
template class Trainer<double>;

}  // namespace sluice::train
