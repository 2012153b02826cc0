#include "service/statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace sluice::service {

void Latencies::Rotate(Clock::time_point now) const {
  const double age_s = std::chrono::duration<double>(now - begin_).count();
  if (age_s < kWindow_s) return;
  const bool idle = age_s >= 2 * kWindow_s;  // nothing was recorded or asked for: what there is, is old
  previous_ = idle ? Histogram{} : current_;
  previous_s_ = idle ? kWindow_s : age_s;
  current_ = {};
  begin_ = now;
}

void Latencies::Record(double seconds) {
  const double octaves = std::log2(std::max(seconds * 1e6, 1.0));
  const int bucket = std::min(kBuckets - 1, static_cast<int>(octaves * kPerOctave));
  std::lock_guard lock(mutex_);
  Rotate(Clock::now());
  ++current_[static_cast<size_t>(bucket)];
  ++count_;
}

Latencies::Summary Latencies::Summarise() const {
  std::lock_guard lock(mutex_);
  const auto now = Clock::now();
  Rotate(now);
  Histogram sum;
  for (size_t b = 0; b < sum.size(); ++b) sum[b] = current_[b] + previous_[b];
  const auto total = std::accumulate(sum.begin(), sum.end(), int64_t{0});
  Summary out;
  out.count = count_;
  out.per_s =
      static_cast<double>(total) / std::max(0.1, previous_s_ + std::chrono::duration<double>(now - begin_).count());
  const auto quantile = [&](double q) {
    auto left = static_cast<int64_t>(std::ceil(q * static_cast<double>(total)));
    for (size_t b = 0; b < sum.size(); ++b)
      if (sum[b] > 0 && (left -= sum[b]) <= 0) return std::exp2((static_cast<double>(b) + 0.5) / kPerOctave) * 1e-3;
    return 0.0;
  };
  out.p50_ms = quantile(0.5);
  out.p99_ms = quantile(0.99);
  return out;
}

}  // namespace sluice::service
