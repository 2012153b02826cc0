#include <algorithm>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "config/text.h"
#include "train/api.h"
#include "train/planning.h"

namespace sluice::train {
namespace {

using Json = nlohmann::ordered_json;

Json ToJson(const placement::PlanInput& input, const placement::StepCost& cost) {
  const double samples = static_cast<double>(std::max<int64_t>(1, input.batch_size));
  Json json;
  json["bytes_per_sample"] = cost.total_bytes() / samples;
  for (int kind = 0; kind < comm::kNumTraffics; ++kind)
    if (static_cast<comm::Traffic>(kind) != comm::Traffic::kControl)
      json["by_kind"][comm::TrafficName(static_cast<comm::Traffic>(kind))] =
          cost.bytes[static_cast<size_t>(kind)] / samples;
  if (input.machine.knows_link()) {
    json["step_s"] = cost.time.total_s();
    json["time_s"] = {{"link", cost.time.link_s},
                      {"copies", cost.time.copies_s},
                      {"keys", cost.time.keys_s},
                      {"rows", cost.time.rows_s},
                      {"dense", cost.time.dense_s}};
  }
  json["memory_bytes"] = cost.memory;
  return json;
}

Json ToJson(const placement::PlanInput& input, const placement::WholePlan& rival) {
  if (!rival.possible) return {{"possible", false}, {"why", rival.why_not}};
  Json json = ToJson(input, rival.cost);
  json["possible"] = true;
  for (size_t v = 0; v < rival.strategy.of_vocabulary.size(); ++v)
    json["choices"].push_back(placement::PlacementName(rival.strategy.of_vocabulary[v]));
  return json;
}

std::string ToJson(const PlannedRun& planned) {
  const placement::PlanInput& input = planned.input;
  const placement::Plan& plan = planned.plan;
  const double samples = static_cast<double>(std::max<int64_t>(1, input.batch_size));
  Json json;
  json["ranks"] = input.num_ranks;
  json["batch_size"] = input.batch_size;
  json["dense_params"] = input.dense_params;
  json["chosen_by"] = plan.by_time ? "time" : "bytes";
  json["machine"] = {{"bandwidth_bytes_per_s", input.machine.bandwidth_bytes_per_s},
                     {"latency_s", input.machine.latency_s},
                     {"read_s", input.machine.read_s},
                     {"id_s", input.machine.id_s},
                     {"pass_s", input.machine.pass_s},
                     {"row_s", input.machine.row_s},
                     {"byte_s", input.machine.byte_s},
                     {"flops_per_s", input.machine.flops_per_s}};
  json["plan"] = ToJson(input, plan.cost);
  json["plan"]["replicated"] = plan.strategy.replicated;
  json["plan"]["sharded_input"] = plan.strategy.sharded_input;
  json["plan"]["form"] = nn::PartialFormName(planned.form);
  json["plan"]["reason"] = plan.reason;
  json["groups"] = Json::array();
  for (size_t v = 0; v < plan.vocabularies.size(); ++v) {
    const auto& vocabulary = input.vocabularies[v];
    Json group;
    group["fields"] = vocabulary.fields;
    group["keys_per_sample"] = vocabulary.keys / samples;
    group["unique_per_sample"] = vocabulary.unique_of_ranks / samples;
    group["rows"] = vocabulary.rows;
    group["row_scalars"] = vocabulary.row_scalars;
    group["memory_bytes"] = vocabulary.rows * static_cast<double>(vocabulary.row_bytes);
    group["choice"] = placement::PlacementName(plan.vocabularies[v].choice);
    group["home"] = plan.strategy.home[v];
    group["reason"] = plan.vocabularies[v].reason;
    for (const auto& one : plan.vocabularies[v].alternatives) {
      Json& alternative = group["alternatives"][placement::PlacementName(one.placement)];
      alternative["bytes_per_sample"] = one.bytes_per_sample;
      if (plan.by_time) alternative["step_s"] = one.step_s;
      alternative["possible"] = one.possible;
    }
    json["groups"].push_back(std::move(group));
  }
  for (const auto& rival : plan.rivals) json["rivals"][rival.name] = ToJson(input, rival);
  return json.dump(2) + "\n";
}

template <class T>
Result<std::string> PlanAs(const RunConfig& config, const data::FittedFeatures& features, const PlanRequest& request) {
  const data::Schema schema = features.MakeSchema();
  SLUICE_ASSIGN_OR_RETURN(const auto state, ModelState<T>::Make(config, schema));
  SLUICE_ASSIGN_OR_RETURN(const placement::Machine link, LinkOf(config.strategy.planner));
  ThreadPool pool(static_cast<int>(config.threads));
  SLUICE_ASSIGN_OR_RETURN(const placement::PlanInput input,
                          MakePlanInput(config, features, *state, request.ranks, link, &pool));
  SLUICE_ASSIGN_OR_RETURN(const PlannedRun planned, PlanForms(config, input, *state));
  if (!request.json.empty()) SLUICE_RETURN_IF_ERROR(WriteFileAtomically(request.json, ToJson(planned)));
  return placement::ToText(planned.input, planned.plan) +
         fmt::format("partial results travel in the form: {}\n", nn::PartialFormName(planned.form));
}

}  // namespace

Result<std::string> PlanRun(const RunConfig& configured, const PlanRequest& request) {
  RunConfig config = configured;
  placement::PlannerConfig& planner = config.strategy.planner;
  // Checked here, so that a message names the option.
  if (!request.link.empty()) {
    SLUICE_RETURN_IF_ERROR(placement::ParseBandwidth("--link", request.link).status());
    planner.link = request.link;
  }
  if (!request.latency.empty()) {
    SLUICE_RETURN_IF_ERROR(placement::ParseDuration("--latency", request.latency).status());
    planner.latency = request.latency;
  }
  if (!request.memory.empty()) {
    SLUICE_RETURN_IF_ERROR(placement::ParseBytes("--memory", request.memory).status());
    planner.memory_per_rank = request.memory;
  }
  if (planner.link == "measure")
    return InvalidArgument(
        "strategy.planner.link: measure needs the ranks themselves; give --link, 10Gbit for example");
  if (!request.sample.empty()) {
    int64_t samples = 0;
    if (config::ParseInteger(request.sample, &samples)) {
      if (samples < 1) return InvalidArgument("--sample {}: at least one sample", request.sample);
      planner.samples = samples;
    } else {
      config.data.train = {request.sample};
    }
  }
  try {
    SLUICE_RETURN_IF_ERROR(Validate(config));
    SLUICE_RETURN_IF_ERROR(ValidateForRanks(config));
    SLUICE_ASSIGN_OR_RETURN(const auto features,
                            data::FitFeatures(config.data, config.features, WantsDenseInput(config.model)));
    return config.precision == "fp64" ? PlanAs<double>(config, features, request)
                                      : PlanAs<float>(config, features, request);
  } catch (const StatusError& error) {
    return error.status();
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("out of memory");
  }
}

}  // namespace sluice::train
