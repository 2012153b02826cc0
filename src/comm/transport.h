#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <span>

#include "base/status.h"

namespace sluice::comm {

using Clock = std::chrono::steady_clock;
using Deadline = Clock::time_point;

// A message under way. Its buffer must stay valid until Wait returned or the request was destroyed; destroying a
// request that was not waited for withdraws it (the peer then fails by its own deadline).
class Request {
 public:
  virtual ~Request() = default;
  // Blocks until the message has left (or arrived in) the buffer. kUnavailable at the deadline; may then be called
  // again.
  virtual Status Wait(Deadline deadline) = 0;
};

// Point-to-point messages among `size` ranks: the one thing that differs between threads as ranks and processes over
// MPI. Messages between two ranks arrive in the order they were sent; receives from one rank are waited for in the
// order they were posted.
// Threads      one thread at a time per transport; different transports are independent.
// Errors       a received length other than the posted one is kDataLoss naming both ranks; a peer that does not answer
//              by the deadline is kUnavailable naming it.
class Transport {
 public:
  virtual ~Transport() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual std::unique_ptr<Request> Send(int to, std::span<const std::byte> bytes) = 0;
  virtual std::unique_ptr<Request> Receive(int from, std::span<std::byte> bytes) = 0;

  // A transport of its own among the ranks that give the same color, ranked by their rank here. Collective.
  virtual Result<std::unique_ptr<Transport>> Split(int color) = 0;

  // This rank leaves because of `status`. Where ranks share memory, every wait of every rank of the group, and of
  // groups split from it or that it was split from, ends with `status` from now on; the first failure of a group stays.
  // Where they are processes this rank's own waits do, and the others learn it from the heartbeat. From any thread.
  // Returns the group's failure.
  virtual Status Fail(const Status& status) { return status; }
};

}  // namespace sluice::comm
