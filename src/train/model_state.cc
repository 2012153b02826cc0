#include "train/model_state.h"

#include <algorithm>
#include <mutex>
#include <string_view>
#include <utility>

#include "base/log.h"
#include "base/simd.h"

namespace sluice::train {

nn::Precision PrecisionOf(const RunConfig& config) {
  if (config.precision == "fp64") return nn::Precision::kFp64;
  if (config.precision == "bf16") {
    if (Bf16ProductsPay()) return nn::Precision::kBf16;
    static std::once_flag said;
    std::call_once(said, [] {
      SLUICE_INFO("precision bf16: products of bf16 are slower than of float on {}; multiplying in float",
                  ProcessorName());
    });
  }
  return nn::Precision::kFp32;
}

bool WantsDenseInput(const nn::ModelConfig& model) {
  if (model.preset == "dlrm") return true;
  return std::any_of(model.blocks.begin(), model.blocks.end(), [](const nn::BlockConfig& block) {
    return std::find(block.inputs.begin(), block.inputs.end(), "dense") != block.inputs.end();
  });
}

template <class T>
Result<std::unique_ptr<ModelState<T>>> ModelState<T>::Make(const RunConfig& config, const data::Schema& schema) {
  auto schedule = optim::Schedule::Make(config.optimizer.schedule, config.optimizer.learning_rate);
  if (!schedule.ok()) return schedule.status().WithContext("optimizer.schedule");
  std::unique_ptr<ModelState> state(new ModelState(*schedule));
  state->schema = schema;
  auto rule = optim::MakeRule(config.optimizer);
  if (!rule.ok()) return rule.status().WithContext("optimizer");
  state->rule = *rule;
  SLUICE_ASSIGN_OR_RETURN(state->spec,
                          nn::ExpandModel(config.model, schema, PrecisionOf(config), config.deterministic));
  SLUICE_ASSIGN_OR_RETURN(state->net, nn::Net<T>::Build(state->spec, schema));
  const uint64_t seed = static_cast<uint64_t>(config.seed);
  SLUICE_ASSIGN_OR_RETURN(
      state->tables,
      TableSet<T>::Make(
          schema, state->net->tables(), [&](const std::string& table) { return TableSettings(config, table); }, seed));
  for (const auto& [name, settings] : config.tables) {
    if (name == "default" || state->tables->FindTable(name) >= 0) continue;
    std::string known = "default";
    for (int t = 0; t < state->tables->size(); ++t) known += ", " + state->tables->need(t).name;
    return InvalidArgument("tables.{}: the model has no such table; there are: {}", name, known);
  }
  const nn::Net<T>& net = *state->net;
  state->params.Resize(net.params().size());
  state->params.Zero();
  net.params().Initialise(seed, state->params.data());
  state->buffers.Resize(net.buffers().size());
  state->buffers.Zero();
  net.buffers().Initialise(seed, state->buffers.data());
  state->slots.Resize(optim::NumSpanSlots(state->rule.kind, net.params().size()));
  optim::InitSpanSlots(state->rule, state->slots.data(), net.params().size());
  return state;
}

template <class T>
Status ModelState<T>::TakeForm(nn::PartialForm form) {
  SLUICE_ASSIGN_OR_RETURN(auto built, nn::Net<T>::Build(spec, schema, form));
  SLUICE_CHECK(built->params().size() == params.size(), "{} parameters, not {}", built->params().size(), params.size());
  net = std::move(built);
  return Status::Ok();
}

template <class T>
uint64_t ModelState<T>::Digest() const {
  uint64_t digest = 0;
  // Addition, so that the order of the parts does not matter; each part is salted by its name.
  const auto add = [&](const std::string& name, const T* values, int64_t n) {
    digest += HashBytes({reinterpret_cast<const char*>(values), static_cast<size_t>(n) * sizeof(T)}, HashBytes(name));
  };
  const int64_t span = params.size();
  for (const auto& param : net->params().params()) {
    add("param/" + param.name, params.data() + param.offset, param.size);
    for (int64_t s = 0; span > 0 && s < slots.size() / span; ++s)
      add("slot" + std::to_string(s) + "/" + param.name, slots.data() + s * span + param.offset, param.size);
  }
  for (const auto& buffer : net->buffers().params())
    add("buffer/" + buffer.name, buffers.data() + buffer.offset, buffer.size);
  for (int t = 0; t < tables->size(); ++t)
    digest += MixPair(HashBytes("table/" + tables->need(t).name), tables->table(t).Digest());
  return digest;
}

template struct ModelState<float>;
template struct ModelState<double>;

}  // namespace sluice::train
