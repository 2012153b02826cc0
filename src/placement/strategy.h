#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "comm/communicator.h"
#include "data/schema.h"
#include "placement/config.h"

namespace sluice::placement {

// How the rows of a vocabulary meet the samples that read them; docs/decisions/0003-distributed-step.md.
enum class Placement {
  kDes,       // partials all-reduced, dense net replicated
  kDesRs,     // partials reduce-scattered by samples, their gradients all-gathered, batch divided
  kFieldA2a,  // one rank holds the vocabulary and computes its partials, which go to the ranks with the samples
  kRowsA2a,   // unique rows pulled by the ranks with the samples, summed row gradients pushed, batch divided
};
const char* PlacementName(Placement placement);

// What a configuration asks of several ranks, settled. Vocabularies are numbered as by embedding::VirtualIdBuilder.
struct Strategy {
  bool replicated = false;  // every rank runs the dense net on all samples; then every vocabulary is kDes, else none is
  std::vector<Placement> of_vocabulary;  // fields of one vocabulary share rows, so they share a placement
  std::vector<int> home;                 // [vocabulary]: the rank that holds it whole (kFieldA2a), else -1
  bool sharded_input = false;            // each rank parses its own samples; keys travel (KeyExchange)
  comm::Wire partials = comm::Wire::kNative;
  comm::Wire rows = comm::Wire::kNative;
  comm::Wire dense_gradients = comm::Wire::kNative;

  // The placement of all vocabularies where it is one.
  std::optional<Placement> pure() const;
  bool uses(Placement placement) const;
  // Whether some rank computes partials of samples that are not its own.
  bool owner_computes() const { return replicated || uses(Placement::kDesRs) || uses(Placement::kFieldA2a); }
};

// One line for logs: the placement, or how many vocabularies have which, and how input is read.
std::string ToText(const Strategy& strategy);

// What a planner chose, or a default: `placement` for every vocabulary; kDes means a replicated dense net.
Strategy Uniform(Placement placement, int num_vocabularies);

// Settings that contradict one another whatever the data. Errors: kInvalidArgument naming the setting.
Status Validate(const StrategyConfig& config);

// The placement that the configuration names for each vocabulary; nothing where it leaves the choice to a planner.
// Errors: kInvalidArgument for a field that is not there, and for two fields of one vocabulary that differ, naming
// both.
Result<std::vector<std::optional<Placement>>> NamedPlacements(const StrategyConfig& config, const data::Schema& schema);

// The strategy of a run: what the configuration names, and where it says auto, what a planner chose.
// `automatic`  of_vocabulary and replicated as chosen; home [vocabulary] or empty. A home of -1, or none given, is
//              filled in by BalanceHomes of `costs`.
// `costs`      [vocabulary] work per sample, keys times row width; empty: equal.
// Semantics    kDes beside any other placement divides the batch and becomes kDesRs.
// Errors       as NamedPlacements; kInvalidArgument where `dense.mode` does not go with the placements.
Result<Strategy> Settle(const StrategyConfig& config, const data::Schema& schema, int num_ranks,
                        const Strategy& automatic, const std::vector<double>& costs = {});

// Gives every vocabulary of kFieldA2a without a home one: the costliest first, each to the rank with the least cost.
void BalanceHomes(const std::vector<double>& costs, int num_ranks, Strategy* strategy);

// Whether the preset trains through parameter servers, and the bound of staleness that they keep: 0 for ps-sync, -1
// where there is none.
bool UsesServers(const StrategyConfig& config);
int64_t StalenessBound(const StrategyConfig& config);

}  // namespace sluice::placement
