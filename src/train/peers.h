#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "placement/ranks.h"
#include "train/config.h"

namespace sluice::train {

// Whether the ranks of a run can work together: the same version of the program, in deterministic mode the same
// processor and instruction set, the same settings, and the same data files. Collective; all ranks return the same.
// Errors       kInvalidArgument naming the first rank that differs from rank 0 and in what; what opening a file
//              returned, naming the rank; kUnavailable for a lost rank.
Status CheckPeers(const RunConfig& config, placement::Ranks* ranks);

// What a rank runs on.
struct Host {
  std::string name;             // equal for ranks of one machine
  int64_t usable = 1;           // processors that it may keep busy, by affinity and quota
  std::vector<int> processors;  // those of its affinity mask
};
Host ThisHost();

// Threads of every rank of a run: `threads`, or what is usable where that is 0, divided among the ranks of a machine
// that may run on the same processors. The least over all ranks, so that all sum in the same order.
int ThreadsPerRank(const std::vector<Host>& hosts, int64_t threads);

// The same for ranks that are processes. Collective.
Result<int> AgreeOnThreads(const RunConfig& config, placement::Ranks* ranks);

}  // namespace sluice::train
