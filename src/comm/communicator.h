#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <span>
#include <vector>

#include "base/chunks.h"
#include "base/status.h"
#include "comm/ledger.h"
#include "comm/transport.h"

namespace sluice::comm {

enum class ReduceOp { kSum, kMax };

// How float elements travel. kBf16 rounds each addend once before it is sent and sums in fp32; a reduced value is
// rounded once more when it is gathered. Relative error of a sum: at most 2^-8 of the sum of magnitudes, plus 2^-8 of
// the result.
enum class Wire { kNative, kBf16 };

// An operation under way on a communicator's progress thread.
using Handle = std::shared_future<Status>;

// Collectives among a group of ranks, by rings and pairwise exchanges of our own over point-to-point messages, because
// library collectives choose algorithms by size, cannot time out and hang when a peer stops.
// Bytes sent   S = bytes of the whole buffer, N ranks; rank r's share follows PartRange:
//                AllReduce      ring reduce-scatter then ring all-gather; 2 (N - 1) S in all, 2 (N - 1) steps
//                ReduceScatter  pairwise; (N - 1) S in all, N - 1 steps; addends are summed in rank order
//                AllGather      ring; (N - 1) S in all, N - 1 steps
//                AllToAll       pairwise; what is addressed to others, N - 1 steps
//                Broadcast      binomial tree; (N - 1) S in all, log2 N steps
// Distributed  every call is collective: all ranks, same order, same sizes where they describe the same data.
// Threads      one caller at a time; Start runs an operation on the progress thread, operations in the order started. A
//              blocking call first waits for everything started. Different communicators are independent: one per
//              purpose.
// Errors       kUnavailable naming the silent rank after `timeout`; kDataLoss where lengths do not match. After a
//              failure the communicator is unusable: every later call returns that failure.
class Communicator {
 public:
  Communicator(std::unique_ptr<Transport> transport, std::shared_ptr<Ledger> ledger, std::chrono::milliseconds timeout);
  ~Communicator();

  int rank() const { return rank_; }
  int size() const { return size_; }
  Ledger& ledger() { return *ledger_; }
  std::chrono::milliseconds timeout() const { return timeout_; }

  // In place: every rank ends with the same bits. T: float, double, int64_t.
  template <class T>
  Status AllReduce(std::span<T> data, ReduceOp op, Traffic traffic, Wire wire = Wire::kNative);

  // in [sum of counts]: `in` is the concatenation of every rank's part; out [counts[rank()]] gets the reduction of
  // mine.
  template <class T>
  Status ReduceScatter(std::span<const T> in, std::span<const int64_t> counts, std::span<T> out, ReduceOp op,
                       Traffic traffic, Wire wire = Wire::kNative);

  // out [sum of counts]: the parts of all ranks; `in` [counts[rank()]] may be out's own part.
  template <class T>
  Status AllGather(std::span<const T> in, std::span<const int64_t> counts, std::span<T> out, Traffic traffic,
                   Wire wire = Wire::kNative);

  // send[r] goes to rank r; receive[r] is filled from rank r. Lengths must agree beforehand (ExchangeCounts).
  Status AllToAll(const std::vector<std::span<const std::byte>>& send, const std::vector<std::span<std::byte>>& receive,
                  Traffic traffic);
  // counts[r] goes to rank r; returns what each rank gave me. 8 (N - 1) bytes sent by each rank.
  Result<std::vector<int64_t>> ExchangeCounts(std::span<const int64_t> counts, Traffic traffic);

  // This rank leaves because of `status`; as Transport::Fail. May be called while another thread waits in an operation.
  Status Fail(const Status& status) { return transport_->Fail(status); }

  Status Broadcast(std::span<std::byte> data, int root, Traffic traffic);
  Status Barrier();

  // Runs `operation`, which calls this communicator's blocking operations, on the progress thread.
  Handle Start(std::function<Status()> operation);
  static Status Wait(const Handle& handle) { return handle.get(); }

  // A communicator among the ranks that give the same color, with the same ledger. Collective.
  Result<std::unique_ptr<Communicator>> Split(int color);
  Result<std::unique_ptr<Communicator>> Duplicate() { return Split(0); }

 private:
  class Progress;

  // Sends to `to` and receives from `from` at once; both may be this rank's neighbours or -1 (none).
  Status Exchange(int to, std::span<const std::byte> out, int from, std::span<std::byte> in, Traffic traffic);
  Status Enter();               // waits for started operations, returns an earlier failure
  Status Leave(Status status);  // remembers a failure
  template <class T>
  Status RingReduceScatter(std::span<T> data, ReduceOp op, Traffic traffic);
  template <class T>
  Status RingAllGather(std::span<T> data, const std::vector<Range>& parts, Traffic traffic);
  Status AllReduceBf16(std::span<float> data, ReduceOp op, Traffic traffic);

  std::unique_ptr<Transport> transport_;
  std::shared_ptr<Ledger> ledger_;
  std::chrono::milliseconds timeout_;
  int rank_, size_;
  Status failure_;
  std::vector<std::byte> scratch_;
  std::vector<uint16_t> wire_out_;
  std::vector<float> widened_;
  std::unique_ptr<Progress> progress_;
};

}  // namespace sluice::comm
