#include "train/progress.h"

#include <nlohmann/json.hpp>

namespace sluice::train {
namespace {

using Json = nlohmann::json;

Json ToJson(const optim::ScheduleState& state) {
  return {{"factor", state.factor}, {"best", state.best}, {"observed", state.num_observed}, {"bad", state.num_bad}};
}

optim::ScheduleState ScheduleFromJson(const Json& json) {
  return {json.at("factor"), json.at("best"), json.at("observed"), json.at("bad")};
}

}  // namespace

std::string Progress::ToJson() const {
  Json json = {{"step", step},
               {"samples", samples},
               {"epoch", epoch},
               {"position", position},
               {"last_eval_step", last_eval_step},
               {"has_best", has_best},
               {"best_value", best_value},
               {"best_step", best_step},
               {"evaluations_since_best", evaluations_since_best},
               {"stopped_early", stopped_early},
               {"dense_schedule", train::ToJson(dense_schedule)},
               {"table_schedules", Json::array()}};
  for (const auto& state : table_schedules) json["table_schedules"].push_back(train::ToJson(state));
  return json.dump(1);
}

Result<Progress> Progress::FromJson(const std::string& text) {
  try {
    const Json json = Json::parse(text);
    Progress progress;
    progress.step = json.at("step");
    progress.samples = json.at("samples");
    progress.epoch = json.at("epoch");
    progress.position = json.at("position");
    progress.last_eval_step = json.at("last_eval_step");
    progress.has_best = json.at("has_best");
    progress.best_value = json.at("best_value");
    progress.best_step = json.at("best_step");
    progress.evaluations_since_best = json.at("evaluations_since_best");
    progress.stopped_early = json.at("stopped_early");
    progress.dense_schedule = ScheduleFromJson(json.at("dense_schedule"));
    for (const auto& state : json.at("table_schedules")) progress.table_schedules.push_back(ScheduleFromJson(state));
    return progress;
  } catch (const Json::exception& error) {
    return DataLoss("section state.json: {}", error.what());
  }
}

}  // namespace sluice::train
