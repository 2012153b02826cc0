#pragma once

#include <chrono>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "comm/communicator.h"
#include "comm/in_process.h"

namespace sluice::comm {

// body(communicator) on one thread per rank of a new group, each with a ledger of its own; returns when all ended.
// For tests, and for ranks as threads of one process.
template <class Body>
void RunRankThreads(int size, std::chrono::milliseconds timeout, const Body& body) {
  auto transports = MakeInProcessTransports(size);
  std::vector<std::thread> threads;
  for (int r = 0; r < size; ++r) {
    threads.emplace_back([&, r] {
      Communicator comm(std::move(transports[r]), std::make_shared<Ledger>(), timeout);
      body(comm);
    });
  }
  for (auto& thread : threads) thread.join();
}

}  // namespace sluice::comm
