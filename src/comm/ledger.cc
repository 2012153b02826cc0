#include "comm/ledger.h"

namespace sluice::comm {

const char* TrafficName(Traffic traffic) {
  switch (traffic) {
    case Traffic::kInputKeys:
      return "input_keys";
    case Traffic::kPartials:
      return "partials";
    case Traffic::kRows:
      return "rows";
    case Traffic::kRowGradients:
      return "row_gradients";
    case Traffic::kDenseGradients:
      return "dense_gradients";
    case Traffic::kStatistics:
      return "statistics";
    case Traffic::kControl:
      return "control";
  }
  return "unknown";
}

int64_t TrafficTotals::total_sent() const {
  int64_t total = 0;
  for (int64_t bytes : sent_bytes) total += bytes;
  return total;
}

TrafficTotals TrafficTotals::operator-(const TrafficTotals& before) const {
  TrafficTotals d = *this;
  for (int i = 0; i < kNumTraffics; ++i) {
    d.sent_bytes[i] -= before.sent_bytes[i];
    d.received_bytes[i] -= before.received_bytes[i];
    d.messages[i] -= before.messages[i];
    d.nanoseconds[i] -= before.nanoseconds[i];
  }
  return d;
}

TrafficTotals& TrafficTotals::operator+=(const TrafficTotals& more) {
  for (int i = 0; i < kNumTraffics; ++i) {
    sent_bytes[i] += more.sent_bytes[i];
    received_bytes[i] += more.received_bytes[i];
    messages[i] += more.messages[i];
    nanoseconds[i] += more.nanoseconds[i];
  }
  return *this;
}

TrafficTotals Ledger::totals() const {
  TrafficTotals t;
  for (int i = 0; i < kNumTraffics; ++i) {
    t.sent_bytes[i] = sent_[i].load(std::memory_order_relaxed);
    t.received_bytes[i] = received_[i].load(std::memory_order_relaxed);
    t.messages[i] = messages_[i].load(std::memory_order_relaxed);
    t.nanoseconds[i] = nanoseconds_[i].load(std::memory_order_relaxed);
  }
  return t;
}

}  // namespace sluice::comm
