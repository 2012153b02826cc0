#pragma once

#include <memory>

#include "base/status.h"
#include "comm/transport.h"

namespace sluice::comm {

// Whether this build can talk MPI (the build option SLUICE_MPI).
bool HasMpi();

// Whether this process was started by an MPI or Slurm launcher with more than one rank.
bool LaunchedByMpi();

// Ranks that are processes: a transport over MPI with MPI_THREAD_MULTIPLE. Initialises MPI on first use; FinishMpi ends
// it, or leaves at once without the agreement of lost peers where `failed`.
// Errors       kInvalidArgument where this build has no MPI; kUnavailable where MPI cannot start.
Result<std::unique_ptr<Transport>> MakeMpiTransport();
void FinishMpi(bool failed, int exit_code);

}  // namespace sluice::comm
