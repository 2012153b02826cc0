#pragma once

#include "base/status.h"
#include "comm/communicator.h"
#include "placement/config.h"

namespace sluice::placement {

enum class Placement {
  kDes,      // partials all-reduced, dense net replicated
  kDesRs,    // partials reduce-scattered by samples, their gradients all-gathered, batch divided
  kRowsA2a,  // unique rows pulled, summed row gradients pushed, batch divided
};
const char* PlacementName(Placement placement);

// What a configuration asks of several ranks, settled.
struct Strategy {
  Placement placement = Placement::kDes;
  comm::Wire partials = comm::Wire::kNative;
  comm::Wire dense_gradients = comm::Wire::kNative;

  bool replicated() const { return placement == Placement::kDes; }   // every rank computes all samples
  bool owner_computes() const { return placement != Placement::kRowsA2a; }
};

// Settings that contradict one another. Errors: kInvalidArgument naming the setting.
Status Validate(const StrategyConfig& config);

// The placement that the configuration names, or `automatic` where it says auto. REQUIRES: a valid configuration.
Strategy Settle(const StrategyConfig& config, Placement automatic);
bool IsAutomatic(const StrategyConfig& config);

// Whether the preset trains through parameter servers, and the bound of staleness that they keep: 0 for ps-sync, -1 where
// there is none.
bool UsesServers(const StrategyConfig& config);
int64_t StalenessBound(const StrategyConfig& config);

}  // namespace sluice::placement
