#include "placement/strategy.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include <fmt/format.h>

#include "embedding/virtual_ids.h"

namespace sluice::placement {
namespace {

constexpr Placement kPlacements[] = {Placement::kDes, Placement::kDesRs, Placement::kFieldA2a, Placement::kRowsA2a};

// The placement of that name; nothing for auto and local.
std::optional<Placement> ParsePlacement(const std::string& name) {
  for (const Placement placement : kPlacements)
    if (name == PlacementName(placement)) return placement;
  return std::nullopt;
}

// The preset's settings over the others.
StrategyConfig Expanded(StrategyConfig config) {
  if (config.preset == "des") config.placement = "des";
  return config;
}

comm::Wire ParseWire(const std::string& format) { return format == "bf16" ? comm::Wire::kBf16 : comm::Wire::kNative; }

}  // namespace

const char* PlacementName(Placement placement) {
  switch (placement) {
    case Placement::kDes:
      return "des";
    case Placement::kDesRs:
      return "des_rs";
    case Placement::kFieldA2a:
      return "field_a2a";
    case Placement::kRowsA2a:
      return "rows_a2a";
  }
  return "";
}

std::optional<Placement> Strategy::pure() const {
  if (replicated) return Placement::kDes;
  if (of_vocabulary.empty()) return Placement::kDesRs;
  for (const Placement placement : of_vocabulary)
    if (placement != of_vocabulary.front()) return std::nullopt;
  return of_vocabulary.front();
}

bool Strategy::uses(Placement placement) const {
  return std::find(of_vocabulary.begin(), of_vocabulary.end(), placement) != of_vocabulary.end();
}

std::string ToText(const Strategy& strategy) {
  std::string text;
  if (const auto pure = strategy.pure()) {
    text = PlacementName(*pure);
  } else {
    for (const Placement placement : kPlacements) {
      const auto n = std::count(strategy.of_vocabulary.begin(), strategy.of_vocabulary.end(), placement);
      if (n > 0) text += fmt::format("{}{} of {} vocabularies", text.empty() ? "" : ", ", PlacementName(placement), n);
    }
  }
  return text + (strategy.sharded_input ? ", input sharded" : ", input replicated");
}

Strategy Uniform(Placement placement, int num_vocabularies) {
  Strategy strategy;
  strategy.replicated = placement == Placement::kDes;
  strategy.of_vocabulary.assign(static_cast<size_t>(num_vocabularies), placement);
  strategy.home.assign(static_cast<size_t>(num_vocabularies), -1);
  return strategy;
}

Status Validate(const StrategyConfig& config) {
  if (config.preset == "des" && config.placement != "auto" && config.placement != "des")
    return InvalidArgument("strategy.placement: {} contradicts strategy.preset des; leave one of them out",
                           config.placement);
  const StrategyConfig expanded = Expanded(config);
  const std::string& mode = expanded.dense.mode;
  if (expanded.placement == "local" && !expanded.fields.empty())
    return InvalidArgument("strategy.fields: placement local is one process, where fields have no placement");
  bool all_des = expanded.placement == "des";
  for (const auto& [name, field] : expanded.fields) {
    all_des = all_des && field.placement == "des";
    if (config.preset == "des" && field.placement != "des")
      return InvalidArgument(
          "strategy.fields.{}: {} contradicts strategy.preset des; use placement des_rs for the others", name,
          field.placement);
  }
  if (all_des && mode == "sharded_batch")
    return InvalidArgument(
        "strategy.dense.mode: sharded_batch does not go with placement des, in which every rank has "
        "the partial results of all samples; des_rs divides the batch for the same sparse bytes");
  if (expanded.placement == "auto" && expanded.fields.empty() && mode != "auto")
    return InvalidArgument("strategy.dense.mode: {} needs a placement; auto chooses both", mode);
  if (!all_des && expanded.placement != "auto" && expanded.placement != "local" && mode == "replicated")
    return InvalidArgument(
        "strategy.dense.mode: replicated goes with placement des for all fields only; {} divides the "
        "batch",
        expanded.placement == "des" ? "a mix of placements" : expanded.placement);
  if (all_des && config.input == "sharded")
    return InvalidArgument(
        "strategy.input: sharded does not go with placement des, in which every rank runs the dense net "
        "on all samples; des_rs divides the batch");
  return Status::Ok();
}

Result<std::vector<std::optional<Placement>>> NamedPlacements(const StrategyConfig& config,
                                                              const data::Schema& schema) {
  const StrategyConfig expanded = Expanded(config);
  const embedding::VirtualIdBuilder ids(schema);
  std::vector<std::optional<Placement>> named(static_cast<size_t>(ids.num_vocabularies()));
  std::vector<std::string> named_by(named.size());
  for (const auto& [name, field] : expanded.fields) {
    const auto found = std::find_if(schema.fields.begin(), schema.fields.end(),
                                    [&name = name](const data::SparseField& f) { return f.name == name; });
    if (found == schema.fields.end())
      return InvalidArgument("strategy.fields.{}: there is no sparse field of that name", name);
    const auto v = static_cast<size_t>(ids.vocabulary_of_field(static_cast<int>(found - schema.fields.begin())));
    const std::optional<Placement> placement = ParsePlacement(field.placement);
    if (named[v] && named[v] != placement)
      return InvalidArgument(
          "strategy.fields.{}: {}, but {} is {}; the two share a vocabulary, hence rows, and need one "
          "placement",
          name, field.placement, named_by[v], PlacementName(*named[v]));
    named[v] = placement;
    named_by[v] = name;
  }
  const std::optional<Placement> others = ParsePlacement(expanded.placement);
  for (auto& placement : named)
    if (!placement) placement = others;
  return named;
}

void BalanceHomes(const std::vector<double>& costs, int num_ranks, Strategy* strategy) {
  const size_t vocabularies = strategy->of_vocabulary.size();
  const auto cost = [&](size_t v) { return costs.empty() ? 1.0 : costs[v]; };
  strategy->home.resize(vocabularies, -1);
  std::vector<double> load(static_cast<size_t>(num_ranks), 0.0);
  std::vector<size_t> homeless;
  for (size_t v = 0; v < vocabularies; ++v) {
    if (strategy->of_vocabulary[v] != Placement::kFieldA2a)
      strategy->home[v] = -1;
    else if (strategy->home[v] >= 0)
      load[static_cast<size_t>(strategy->home[v])] += cost(v);
    else
      homeless.push_back(v);
  }
  std::stable_sort(homeless.begin(), homeless.end(), [&](size_t a, size_t b) { return cost(a) > cost(b); });
  for (const size_t v : homeless) {
    const auto least = std::min_element(load.begin(), load.end());
    *least += cost(v);
    strategy->home[v] = static_cast<int>(least - load.begin());
  }
}

Result<Strategy> Settle(const StrategyConfig& config, const data::Schema& schema, int num_ranks,
                        const Strategy& automatic, const std::vector<double>& costs) {
  SLUICE_ASSIGN_OR_RETURN(const auto named, NamedPlacements(config, schema));
  SLUICE_CHECK(automatic.of_vocabulary.size() == named.size(), "{} placements for {} vocabularies",
               automatic.of_vocabulary.size(), named.size());
  Strategy strategy = automatic;
  for (size_t v = 0; v < named.size(); ++v)
    if (named[v]) strategy.of_vocabulary[v] = *named[v];
  strategy.replicated = named.empty() ? Expanded(config).placement == "des" ||
                                            (Expanded(config).placement == "auto" && automatic.replicated)
                                      : std::all_of(strategy.of_vocabulary.begin(), strategy.of_vocabulary.end(),
                                                    [](Placement p) { return p == Placement::kDes; });
  if (strategy.replicated && config.dense.mode == "sharded_batch") strategy.replicated = false;
  if (!strategy.replicated) {
    if (config.dense.mode == "replicated")
      return InvalidArgument("strategy.dense.mode: replicated goes with placement des for all fields only");
    std::replace(strategy.of_vocabulary.begin(), strategy.of_vocabulary.end(), Placement::kDes, Placement::kDesRs);
  }
  for (int& home : strategy.home) home = home < num_ranks ? home : -1;
  BalanceHomes(costs, num_ranks, &strategy);
  strategy.sharded_input =
      config.input == "sharded" || (config.input == "auto" && strategy.pure() == Placement::kRowsA2a);
  if (strategy.replicated && strategy.sharded_input)
    return InvalidArgument(
        "strategy.input: sharded does not go with a replicated dense net, which needs all samples on "
        "every rank");
  strategy.partials = ParseWire(config.wire.partials);
  strategy.rows = ParseWire(config.wire.rows);
  strategy.dense_gradients = ParseWire(config.wire.dense_gradients);
  return strategy;
}

bool UsesServers(const StrategyConfig& config) { return config.preset.starts_with("ps-"); }

int64_t StalenessBound(const StrategyConfig& config) {
  if (config.preset == "ps-sync") return 0;
  return config.preset == "ps-ssp" ? config.staleness : -1;
}

}  // namespace sluice::placement
