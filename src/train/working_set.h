#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/batch.h"
#include "data/source.h"
#include "embedding/table.h"
#include "embedding/virtual_ids.h"
#include "placement/key_requests.h"
#include "service/parameter_client.h"

namespace sluice::train {

// Seconds that the host stage spent on a batch, for the time-by-part report.
struct HostTimes {
  double read_s = 0;  // waiting for the source included
  double unique_s = 0;
  double resolve_s = 0;
};

// A run of consecutive unique keys that one table serves, resolved together.
struct ResolvedRun {
  int32_t begin = 0, end = 0;               // indices into VirtualIds::unique
  std::vector<embedding::KeyBlock> blocks;  // of each vocabulary in the run, relative to `begin`
  embedding::Resolved rows;
};

// Consecutive samples of a batch that are of one lease.
struct LeasedPart {
  service::Lease lease;
  int64_t samples = 0;
  bool ends = false;  // they are its last
};

// A batch on its way from the reader to the worker: its samples, unique keys and pinned rows. Objects circulate, so
// nothing here is allocated anew once their vectors have grown.
struct WorkingSet {
  data::Batch batch;                             // with several ranks: the global one, as far as this rank needs it
  embedding::VirtualIds ids;                     // with several ranks: of the rows that this rank looks up
  std::vector<std::vector<ResolvedRun>> tables;  // [table][run]
  int64_t step = 0;                              // counts from 1
  std::string position;                          // of the source after this batch
  data::SourceStats stats;                       // of the source after this batch
  HostTimes times;

  // With several ranks (train/rank_keys.h).
  double weight = 0;                // of all samples of the global batch
  data::Batch local;                // where the batch is divided: samples that this rank computes
  data::Batch routed;               // sharded input: their keys, on the way to the owners of their rows
  embedding::VirtualIds local_ids;  // keys of `local` whose rows travel
  placement::RowRoutes routes;

  // With parameter servers (train/remote_step.h).
  std::shared_ptr<void> remote;    // what RemoteStep keeps of the batch
  std::vector<LeasedPart> leases;  // that the samples are of, in their order; at most service::kMaxLeaseShares
};

}  // namespace sluice::train
