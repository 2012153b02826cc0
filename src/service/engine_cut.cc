// Engine: consistent cuts while serving.

#include <algorithm>
#include <chrono>

#include "base/log.h"
#include "service/engine_impl.h"
#include "service/journal.h"

namespace sluice::service {

AppliedBy EngineImpl::BeginCut(uint64_t cut) {
  std::unique_lock lock(mutex_);
  cutting_ = true;
  cut_ = cut;
  cut_begin_ = Clock::now();
  for (auto& [id, client] : clients_) client->cut = 0;  // every push is held from now on
  // Pushes under way come to their end. Those that a round has taken wait for others, which are held: they are after
  // the cut, unless another server had them all.
  changed_.wait(lock, [&] {
    if (round_busy_) return false;
    return options_.staleness == 0 || std::all_of(clients_.begin(), clients_.end(),
                                                  [](const auto& entry) { return entry.second->in_hand.empty(); });
  });
  AppliedBy applied;
  for (auto& [id, client] : clients_) {
    client->cut = client->last_applied();
    applied.emplace_back(id, client->cut);
  }
  return applied;
}

AppliedBy EngineImpl::ReachCut(const AppliedBy& upto, double timeout_s) {
  Ready ready;
  {
    std::unique_lock lock(mutex_);
    for (const auto& [id, sequence] : upto)
      if (const auto found = clients_.find(id); found != clients_.end())
        found->second->cut = std::max(found->second->cut, sequence);
    Advance(&lock, &ready);
  }
  Dispatch(&ready);
  const auto missing = [&] {
    AppliedBy out;
    for (const auto& [id, sequence] : upto) {
      if (const auto found = clients_.find(id); found != clients_.end()) {
        if (found->second->applied < sequence) out.emplace_back(id, found->second->applied);
      } else if (const auto gone = dropped_.find(id); gone != dropped_.end() && gone->second < sequence) {
        out.emplace_back(id, gone->second);
      }
    }
    return out;
  };
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, std::chrono::duration<double>(timeout_s), [&] { return missing().empty(); });
  return missing();
}

Status EngineImpl::AtRest(uint64_t cut, const std::function<Status(const ServiceState&)>& body) {
  ServiceState state;
  bool given_up = false;
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !closed_; });
    closed_ = true;
    changed_.wait(lock, [&] { return running_ == 0; });
    given_up = cut != 0 && !(cutting_ && cut_ == cut);
    if (!given_up) state = TakeState();
  }
  const Status status =
      given_up ? Status(StatusCode::kUnavailable, "the checkpoint was given up meanwhile") : body(state);
  Ready ready;
  {
    std::unique_lock lock(mutex_);
    closed_ = false;
    if (!given_up) cutting_ = false;
    Advance(&lock, &ready);
  }
  Dispatch(&ready);
  return status;
}

// REQUIRES: mutex_, everything at rest.
ServiceState EngineImpl::TakeState() {
  ServiceState state;
  // Rows of the round that is next may have been resolved; its step is after the cut.
  state.step = options_.staleness == 0 ? round_clock_ : step_;
  state.samples = samples_;
  state.leases = leases_;
  state.lost_pushes = counters_.lost_pushes;
  state.generation = generation();
  state.cut = cut_;
  for (const auto& [id, applied] : dropped_) state.dropped.push_back(id);
  lost_in_cut_ = Losses();
  if (options_.journal != nullptr) options_.journal->Cut(cut_);
  for (const auto& [id, client] : clients_) {
    // A push that overtook one that never came counts, and the missing one is lost: none is applied twice.
    const uint64_t applied = client->last_applied();
    client->cut = applied;
    state.clients.push_back({id, client->name, client->worker, applied, client->clock, client->start});
  }
  return state;
}

void EngineImpl::EndCut(bool committed) {
  Ready ready;
  {
    std::unique_lock lock(mutex_);
    cutting_ = false;
    if (committed) {
      lost_before_ = lost_in_cut_;
      for (auto& [id, client] : clients_) {
        client->durable = std::max(client->durable, client->cut);
        client->durable_hint.store(client->durable, std::memory_order_relaxed);
      }
    }
    Advance(&lock, &ready);
  }
  Dispatch(&ready);
}

void EngineImpl::EndStaleCut(double age_s) {
  {
    std::lock_guard lock(mutex_);
    if (!cutting_ || closed_ || SecondsSince(cut_begin_) < age_s) return;
  }
  SLUICE_WARN("a checkpoint that began {:.0f} s ago was not written; going on", age_s);
  EndCut(false);
}

int64_t EngineImpl::step() const {
  std::lock_guard lock(mutex_);
  return step_;
}

int64_t EngineImpl::missing_samples() const {
  std::lock_guard lock(mutex_);
  return std::max<int64_t>(0, leases_.claimed_samples() - samples_);
}

int64_t EngineImpl::samples() const {
  std::lock_guard lock(mutex_);
  return samples_;
}

}  // namespace sluice::service
