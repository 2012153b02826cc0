// Engine: who is there, what became of those who are not, and who has which input.

#include <algorithm>

#include "base/log.h"
#include "service/engine_impl.h"
#include "service/journal.h"

namespace sluice::service {

// ---- clients

Result<JoinOutcome> EngineImpl::Join(const JoinArguments& arguments) {
  if (arguments.layout != layout_text_) return InvalidArgument("{}", DescribeDifference(arguments.layout));
  if (arguments.servers != options_.servers || arguments.server != options_.server)
    return InvalidArgument(
        "this is server {} of {}, and was taken for {} of {}; strategy.servers lists servers in the order "
        "of their shards",
        options_.server, options_.servers, arguments.server, arguments.servers);
  // Each push has a clock of its own, so their numbers have the same bound.
  if (arguments.clock < 0 || arguments.clock > kMaxClock ||
      arguments.first_sequence > static_cast<uint64_t>(kMaxClock) + 1)
    return InvalidArgument("a client joins at clock {}, and can send its pushes from {} on", arguments.clock,
                           arguments.first_sequence);
  Ready ready;
  JoinOutcome outcome;
  {
    std::unique_lock lock(mutex_);
    if (shutdown_) return Status(StatusCode::kUnavailable, "the server is shutting down");
    std::shared_ptr<Client> client;
    if (arguments.client_id != 0) {
      SLUICE_RETURN_IF_ERROR(CheckReturning(arguments));
      if (const auto found = clients_.find(arguments.client_id); found != clients_.end()) client = found->second;
    } else if (options_.server != 0) {
      return InvalidArgument("a client joins the first server first");
    } else if (arguments.worker) {
      TakePlace(&lock, arguments.name, &ready);
    }
    outcome.known = client != nullptr;
    if (client == nullptr) {
      if (static_cast<int64_t>(clients_.size()) >= options_.config.max_clients)
        return ResourceExhausted("{} clients are there already (service.max_clients)", clients_.size());
      client = std::make_shared<Client>();
      client->id = arguments.client_id != 0 ? arguments.client_id : NewId();
      client->worker = arguments.worker;
      client->start = arguments.clock;
      if (arguments.client_id == 0 || arguments.begins) client->start = std::max(client->start, max_clock_);
      client->clock = client->start;
      clients_[client->id] = client;
      if (options_.journal != nullptr)
        options_.journal->Joined(client->id, arguments.name, arguments.worker, client->start);
      int64_t workers = 0;
      for (const auto& [id, other] : clients_) workers += other->worker;
      started_ = started_ || workers >= options_.workers || client->start > 0;
    }
    // What the client cannot send again nobody waits for.
    client->clock = std::max(client->clock, arguments.clock);
    if (arguments.first_sequence > client->applied + 1) outcome.lost = Lose(client.get(), arguments.first_sequence - 1);
    client->name = arguments.name;
    client->address = arguments.address;
    client->heard = Clock::now();
    client->session = NewId();
    outcome.client_id = client->id;
    outcome.session = client->session;
    outcome.last_clock = client->clock;
    outcome.applied = client->applied;
    outcome.durable = client->durable;
    outcome.samples = samples_;
    Advance(&lock, &ready);
  }
  Dispatch(&ready);
  return outcome;
}

// One that says who it is: whether it may still be that one.
Status EngineImpl::CheckReturning(const JoinArguments& arguments) const {
  if (arguments.generation > generation())
    return Status(StatusCode::kUnavailable, "this server is about to go back to a checkpoint");
  if (arguments.generation < generation())
    return Status(StatusCode::kCancelled, "the servers went back to a checkpoint");
  if (!dropped_.contains(arguments.client_id)) return Status::Ok();
  for (const auto& [id, other] : clients_)
    if (arguments.worker && other->worker && other->name == arguments.name)
      return InvalidArgument("another process came as {}; each worker needs a strategy.worker of its own", other->name);
  return Status(StatusCode::kCancelled,
                "this client was silent for too long and taken for lost; its input went to others");
}

// A worker that is started again takes the place of its former self, for which nobody has to wait any more.
void EngineImpl::TakePlace(Lock* lock, const std::string& name, Ready* ready) {
  if (name.empty()) return;
  // Another one may join while the lock is let go of.
  for (;;) {
    const auto found = std::find_if(clients_.begin(), clients_.end(), [&](const auto& entry) {
      return entry.second->worker && entry.second->name == name;
    });
    if (found == clients_.end()) return;
    const std::shared_ptr<Client> client = found->second;
    SLUICE_INFO("{} is there again; after push {} it is another process", name, client->last_taken());
    lost_.emplace_back(client->id, client->last_taken());
    dropped_[client->id] = client->last_taken();
    Remove(lock, client, true, ready);
  }
}

// The client's pushes up to `upto` that are not here will never come.
int64_t EngineImpl::Lose(Client* client, uint64_t upto) {
  const auto up_to_there = [&](const std::set<uint64_t>& sequences) {
    return static_cast<int64_t>(std::distance(sequences.begin(), sequences.upper_bound(upto)));
  };
  const auto missing = static_cast<int64_t>(std::min<uint64_t>(upto - client->applied, INT64_MAX));
  const int64_t pushes = std::max<int64_t>(0, missing - up_to_there(client->ahead) - up_to_there(client->in_hand));
  counters_.lost_pushes.fetch_add(pushes, std::memory_order_relaxed);
  SLUICE_WARN("client {}: {} pushes up to {} are lost", client->name, pushes, upto);
  client->applied = upto;
  client->ahead.erase(client->ahead.begin(), client->ahead.upper_bound(upto));
  leases_.Forgive(client->id);
  return pushes;
}

std::string EngineImpl::DescribeDifference(const std::string& theirs) const {
  size_t at = 0;
  while (at < theirs.size() && at < layout_text_.size() && theirs[at] == layout_text_[at]) ++at;
  const size_t from = at < 40 ? 0 : at - 40;
  return fmt::format(
      "the client's model is not the server's: '...{}...' there, '...{}...' here; use one configuration and "
      "equal data for the features' transforms",
      theirs.substr(std::min(from, theirs.size()), 120), layout_text_.substr(std::min(from, layout_text_.size()), 120));
}

uint64_t EngineImpl::NewId() {
  // Not 0, which means none.
  return (ids_() & 0x7fffffffffffffff) | 1;
}

bool EngineImpl::Heartbeat(uint64_t client, uint64_t* durable) {
  std::lock_guard lock(mutex_);
  const auto found = clients_.find(client);
  if (found == clients_.end()) return false;
  found->second->heard = Clock::now();
  *durable = found->second->durable;
  return true;
}

Status EngineImpl::Leave(uint64_t client) {
  Ready ready;
  {
    std::unique_lock lock(mutex_);
    const auto found = clients_.find(client);
    if (found == clients_.end()) return Status::Ok();
    Remove(&lock, found->second, false, &ready);
    Advance(&lock, &ready);
  }
  Dispatch(&ready);
  return Status::Ok();
}

AppliedBy EngineImpl::TakeLost(bool away) {
  std::vector<uint64_t> silent;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [id, client] : clients_) {
      if (away) client->heard = Clock::now();
      if (SecondsSince(client->heard) > options_.config.worker_timeout_s) silent.push_back(id);
    }
  }
  AppliedBy lost;
  for (const uint64_t id : silent) lost.emplace_back(id, Drop(id).value_or(0));
  std::lock_guard lock(mutex_);
  lost.insert(lost.end(), lost_.begin(), lost_.end());
  lost_.clear();
  return lost;
}

std::optional<uint64_t> EngineImpl::Drop(uint64_t id) {
  Ready ready;
  uint64_t applied = 0;
  {
    std::unique_lock lock(mutex_);
    if (const auto before = dropped_.find(id); before != dropped_.end()) return before->second;
    const auto found = clients_.find(id);
    if (found == clients_.end()) return std::nullopt;
    const std::shared_ptr<Client> client = found->second;
    applied = client->last_taken();
    dropped_[id] = applied;
    SLUICE_WARN("client {} ({}) is taken for lost after push {}", client->name, client->address, applied);
    Remove(&lock, client, true, &ready);
    Advance(&lock, &ready);
  }
  Dispatch(&ready);
  return applied;
}

bool EngineImpl::WasDropped(uint64_t client) const {
  std::lock_guard lock(mutex_);
  return dropped_.contains(client);
}

// Forgets a client: its batches are let go of, its input returned, and nobody waits for its clock.
void EngineImpl::Remove(Lock* lock, std::shared_ptr<Client> client, bool lost, Ready* ready) {
  client->gone = true;
  clients_.erase(client->id);
  if (leases_.OwedBy(client->id) > 0) {
    SLUICE_WARN("client {} is gone, and {} samples that it had trained on since the checkpoint with it", client->name,
                leases_.OwedBy(client->id));
    lost_unknown_ = true;
    leases_.Forgive(client->id);
  }
  const auto returned = leases_.Return(client->id);
  if (options_.journal != nullptr) {
    for (const Lease& lease : returned) options_.journal->Returned(lease.id, lease.done);
    options_.journal->Gone(client->id, client->last_taken(), lost);
  }
  std::vector<std::shared_ptr<Backend::Batch>> open;
  for (auto& [clock, batch] : client->open) open.push_back(std::move(batch.rows));
  client->open.clear();
  LeaveRounds(client->id, ready);
  // Those that are being pushed are in the hands of their requests.
  lock->unlock();
  for (const auto& batch : open)
    if (batch != nullptr) backend_->Release(*batch);
  lock->lock();
}

Result<std::shared_ptr<Engine::Session>> EngineImpl::Open(uint64_t id, uint64_t session) {
  std::lock_guard lock(mutex_);
  const auto found = clients_.find(id);
  if (found == clients_.end() || found->second->session != session)
    return Status(StatusCode::kUnavailable, fmt::format("there is no client {} with session {}", id, session));
  auto out = std::make_shared<Session>();
  out->client = found->second;
  out->number = session;
  out->dictionary = KeyDictionary(options_.config.max_handles);
  return out;
}

std::vector<ClientView> EngineImpl::Clients() const {
  std::vector<ClientView> views;
  std::lock_guard lock(mutex_);
  for (const auto& [id, client] : clients_)
    views.push_back({id, client->name, client->address, client->worker, client->clock, client->applied,
                     static_cast<int64_t>(client->open.size()), client->handles, SecondsSince(client->heard)});
  return views;
}

// ---- losses

// REQUIRES: mutex_.
int64_t EngineImpl::Losses() const { return counters_.lost_pushes + counters_.partial_pushes; }

bool EngineImpl::LostTooMuch() const {
  const int64_t most = options_.config.max_lost_pushes;
  std::lock_guard lock(mutex_);
  return most >= 0 && (lost_unknown_ || Losses() - lost_before_ > most);
}

Status EngineImpl::MayCut() const {
  if (LostTooMuch()) return Status(StatusCode::kUnavailable, "the servers are about to go back to a checkpoint");
  std::lock_guard lock(mutex_);
  if (leases_.anyone_owes())
    return Status(StatusCode::kUnavailable, "pushes that were lost in a restart are still being sent again");
  return Status::Ok();
}

// ---- leases

Status EngineImpl::OfferInput(uint64_t client, const InputPlan& plan) {
  std::lock_guard lock(mutex_);
  if (!clients_.contains(client)) return Unknown(client);
  const bool first = leases_.plan().ranges == 0;
  const Status status = leases_.Offer(plan);
  if (status.ok() && first && options_.journal != nullptr) options_.journal->Offered(plan);
  return status;
}

Result<LeaseReply> EngineImpl::AcquireLease(uint64_t client, std::span<const int64_t> held) {
  std::lock_guard lock(mutex_);
  if (!clients_.contains(client)) return Unknown(client);
  auto reply = leases_.Acquire(client, held);
  if (reply.ok() && reply->state == LeaseState::kGranted && options_.journal != nullptr)
    options_.journal->Lent(reply->lease.id, client);
  if (reply.ok() && reply->state == LeaseState::kWait && IsAwaited(client)) reply->state = LeaseState::kAwaited;
  return reply;
}

Status EngineImpl::FinishLease(uint64_t client, int64_t lease) {
  std::lock_guard lock(mutex_);
  if (!clients_.contains(client)) return Unknown(client);
  const int64_t samples = leases_.SamplesOf(lease);
  const Status status = leases_.Finish(client, lease);
  if (status.ok() && options_.journal != nullptr) options_.journal->Finished(lease, samples);
  return status;
}

Status EngineImpl::Unknown(uint64_t client) const {
  return Status(StatusCode::kUnavailable, fmt::format("client {} has not joined, or was taken for lost", client));
}

}  // namespace sluice::service
