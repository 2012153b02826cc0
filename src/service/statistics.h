#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>

namespace sluice::service {

using Clock = std::chrono::steady_clock;
inline double SecondsSince(Clock::time_point then) {
  return std::chrono::duration<double>(Clock::now() - then).count();
}

// Times of requests: how many, how many a second lately, and quantiles of the last 5 to 10 seconds, within 9%.
// Threads      any.
class Latencies {
 public:
  struct Summary {
    int64_t count = 0;
    double per_s = 0, p50_ms = 0, p99_ms = 0;
  };

  void Record(double seconds);
  Summary Summarise() const;

 private:
  static constexpr int kPerOctave = 4;
  static constexpr int kBuckets = 30 * kPerOctave;  // from a microsecond to 18 minutes
  static constexpr double kWindow_s = 5;
  using Histogram = std::array<int64_t, kBuckets>;

  void Rotate(Clock::time_point now) const;

  mutable std::mutex mutex_;
  mutable Histogram current_{}, previous_{};
  mutable Clock::time_point begin_ = Clock::now();  // of the current window
  mutable double previous_s_ = 0;                   // length of the previous one
  int64_t count_ = 0;
};

// What a server counts.
struct Counters {
  std::atomic<int64_t> bytes_received{0}, bytes_sent{0};
  std::atomic<int64_t> pushes{0}, repeated_pushes{0}, rejected{0};
  std::atomic<int64_t> lost_pushes{0};  // that nobody will send again
  // The first server: of lost clients, applied by some servers and not by others.
  std::atomic<int64_t> partial_pushes{0};
  std::atomic<int64_t> staleness_sum{0}, staleness_max{0};
  std::atomic<int64_t> rows_pulled{0}, rows_pushed{0};
  Latencies pulls, pushes_time, lookups;

  void CountStaleness(int64_t staleness) {
    staleness_sum.fetch_add(staleness, std::memory_order_relaxed);
    int64_t seen = staleness_max.load(std::memory_order_relaxed);
    while (staleness > seen && !staleness_max.compare_exchange_weak(seen, staleness, std::memory_order_relaxed)) {
    }
  }
};

}  // namespace sluice::service
