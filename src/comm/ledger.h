#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace sluice::comm {

// What a message carries; the ledger counts payload by kind.
enum class Traffic : int {
  kInputKeys,       // keys, weights, labels and dense features on their way to the ranks that need them
  kPartials,        // partial results of weights-rich operators, and their gradients where those travel
  kRows,            // table rows pulled by other ranks
  kRowGradients,    // gradients of table rows pushed to their owners
  kDenseGradients,  // gradients or values of the dense net
  kStatistics,      // BatchNorm sums, metrics, norms
  kControl,         // agreement, heartbeat, checkpoints
};
inline constexpr int kNumTraffics = 7;
const char* TrafficName(Traffic traffic);

struct TrafficTotals {
  std::array<int64_t, kNumTraffics> sent_bytes{};
  std::array<int64_t, kNumTraffics> received_bytes{};
  std::array<int64_t, kNumTraffics> messages{};     // sent
  std::array<int64_t, kNumTraffics> nanoseconds{};  // that threads spent in exchanges, waiting for peers included

  int64_t total_sent() const;
  TrafficTotals operator-(const TrafficTotals& before) const;
  TrafficTotals& operator+=(const TrafficTotals& more);
};

// Payload bytes of one rank by kind, counted where they are handed to the transport, and the time that exchanges took.
// A message to oneself is none.
// Threads      any number of threads may count at a time.
class Ledger {
 public:
  void CountSent(Traffic traffic, int64_t bytes) {
    sent_[static_cast<int>(traffic)].fetch_add(bytes, std::memory_order_relaxed);
    messages_[static_cast<int>(traffic)].fetch_add(1, std::memory_order_relaxed);
  }
  void CountReceived(Traffic traffic, int64_t bytes) {
    received_[static_cast<int>(traffic)].fetch_add(bytes, std::memory_order_relaxed);
  }
  void CountTime(Traffic traffic, int64_t nanoseconds) {
    nanoseconds_[static_cast<int>(traffic)].fetch_add(nanoseconds, std::memory_order_relaxed);
  }
  TrafficTotals totals() const;

 private:
  std::array<std::atomic<int64_t>, kNumTraffics> sent_{};
  std::array<std::atomic<int64_t>, kNumTraffics> received_{};
  std::array<std::atomic<int64_t>, kNumTraffics> messages_{};
  std::array<std::atomic<int64_t>, kNumTraffics> nanoseconds_{};
};

}  // namespace sluice::comm
