#include "service/grpc/kept_pushes.h"

#include <algorithm>
#include <utility>

namespace sluice::service {

void KeptPushes::Add(std::shared_ptr<KeptPush> push) {
  push->header.sequence = next_sequence_++;
  bytes_ += push->bytes();
  pushes_.push_back(std::move(push));
}

void KeptPushes::Durable(uint64_t sequence) {
  durable_ = std::max(durable_, sequence);
  while (!empty() && oldest().header.sequence <= sequence) DropOldest();
}

void KeptPushes::TrimTo(int64_t bytes, const std::function<bool(uint64_t sequence)>& under_way) {
  while (!empty() && bytes_ > bytes && !under_way(oldest().header.sequence)) DropOldest();
}

// REQUIRES: not empty.
void KeptPushes::DropOldest() {
  bytes_ -= oldest().bytes();
  pushes_.pop_front();
}

}  // namespace sluice::service
