#pragma once

#include <chrono>

namespace sluice::train {

// Seconds of wall time since it was made, or since the last lap.
class Stopwatch {
 public:
  double Lap() {
    const auto now = Clock::now();
    const double seconds = std::chrono::duration<double>(now - start_).count();
    start_ = now;
    return seconds;
  }
  double Elapsed() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
};

}  // namespace sluice::train
