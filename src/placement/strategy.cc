#include "placement/strategy.h"

namespace sluice::placement {
namespace {

// The preset's settings over the others.
StrategyConfig Expanded(StrategyConfig config) {
  if (config.preset == "des") config.placement = "des";
  return config;
}

}  // namespace

const char* PlacementName(Placement placement) {
  switch (placement) {
    case Placement::kDes:
      return "des";
    case Placement::kDesRs:
      return "des_rs";
    case Placement::kRowsA2a:
      return "rows_a2a";
  }
  return "";
}

Status Validate(const StrategyConfig& config) {
  if (config.preset == "des" && config.placement != "auto" && config.placement != "des")
    return InvalidArgument("strategy.placement: {} contradicts strategy.preset des; leave one of them out",
                           config.placement);
  const StrategyConfig expanded = Expanded(config);
  const std::string& mode = config.dense.mode;
  if (expanded.placement == "des" && mode == "sharded_batch")
    return InvalidArgument("strategy.dense.mode: sharded_batch does not go with placement des, in which every rank has "
                           "the partial results of all samples; des_rs divides the batch for the same sparse bytes");
  if ((expanded.placement == "des_rs" || expanded.placement == "rows_a2a") && mode == "replicated")
    return InvalidArgument("strategy.dense.mode: replicated does not go with placement {}, which divides the batch; use "
                           "des",
                           expanded.placement);
  if (expanded.placement == "auto" && mode != "auto")
    return InvalidArgument("strategy.dense.mode: {} needs a placement; auto chooses both", mode);
  return Status::Ok();
}

bool IsAutomatic(const StrategyConfig& config) { return Expanded(config).placement == "auto"; }

Strategy Settle(const StrategyConfig& config, Placement automatic) {
  const StrategyConfig expanded = Expanded(config);
  Strategy strategy;
  strategy.placement = automatic;
  for (const Placement placement : {Placement::kDes, Placement::kDesRs, Placement::kRowsA2a})
    if (expanded.placement == PlacementName(placement)) strategy.placement = placement;
  const auto wire = [](const std::string& format) { return format == "bf16" ? comm::Wire::kBf16 : comm::Wire::kNative; };
  strategy.partials = wire(config.wire.partials);
  strategy.dense_gradients = wire(config.wire.dense_gradients);
  return strategy;
}

bool UsesServers(const StrategyConfig& config) { return config.preset.starts_with("ps-"); }

int64_t StalenessBound(const StrategyConfig& config) {
  if (config.preset == "ps-sync") return 0;
  return config.preset == "ps-ssp" ? config.staleness : -1;
}

}  // namespace sluice::placement
