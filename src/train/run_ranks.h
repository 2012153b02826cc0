#pragma once

#include <algorithm>
#include <chrono>
#include <memory>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#include "base/status.h"
#include "base/thread_pool.h"
#include "comm/heartbeat.h"
#include "comm/in_process.h"
#include "comm/mpi.h"
#include "placement/ranks.h"

// The same work on several ranks, which are threads of this process or one process each. `body` is a
// Result<R>(placement::Ranks*); a rank that fails tells the others why, so that none waits for it.
namespace sluice::train {

inline std::chrono::milliseconds Timeout(const placement::StrategyConfig& strategy) {
  return std::chrono::milliseconds(static_cast<int64_t>(strategy.timeout_s * 1000));
}

// A rank's threads where `num_ranks` ranks are threads of one process that may have `threads` (0: what is usable).
inline int ShareOfThreads(int64_t threads, int num_ranks) {
  return std::max(1, (threads > 0 ? static_cast<int>(threads) : NumUsableProcessors()) / num_ranks);
}

template <class R, class Body>
Result<R> RunRank(placement::Ranks* ranks, const Body& body) {
  Status status;
  try {
    Result<R> result = body(ranks);
    if (result.ok()) return result;
    status = result.status();
  } catch (const StatusError& error) {
    status = error.status();
  } catch (const std::bad_alloc&) {
    status = ResourceExhausted("out of memory");
  }
  return ranks->Leave(status);
}

// Rank 0's result, or the first failure in rank order; what was seen only as silence comes last.
template <class R, class Body>
Result<R> RunOnThreads(int num_ranks, std::chrono::milliseconds timeout, const Body& body) {
  auto transports = comm::MakeInProcessTransports(num_ranks);
  std::vector<Result<R>> results(static_cast<size_t>(num_ranks), R());
  std::vector<std::thread> threads;
  for (size_t r = 0; r < results.size(); ++r) {
    threads.emplace_back([&, r] {
      auto ranks = placement::Ranks::Make(std::move(transports[r]), timeout);
      results[r] = ranks.ok() ? RunRank<R>(ranks->get(), body) : Result<R>(ranks.status());
    });
  }
  for (auto& thread : threads) thread.join();
  for (const bool lost : {false, true})
    for (const auto& result : results)
      if (!result.ok() && (result.status().code() == StatusCode::kUnavailable) == lost) return result.status();
  return std::move(results.front());
}

// As one process of those that an MPI launcher started. `on_lost`: as Ranks::WatchPeers; null: peers are not watched.
template <class R, class Body>
Result<R> RunAsProcess(std::chrono::milliseconds timeout, comm::Heartbeat::OnLost on_lost, const Body& body) {
  SLUICE_ASSIGN_OR_RETURN(auto transport, comm::MakeMpiTransport());
  SLUICE_ASSIGN_OR_RETURN(const auto ranks, placement::Ranks::Make(std::move(transport), timeout));
  if (on_lost) ranks->WatchPeers(std::move(on_lost));
  return RunRank<R>(ranks.get(), body);
}

}  // namespace sluice::train
