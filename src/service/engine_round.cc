// Engine: one step per clock from the gradients of all workers (s = 0).

#include <algorithm>
#include <tuple>

#include "service/engine_impl.h"

namespace sluice::service {

// An order that does not depend on who came first.
bool EngineImpl::Before(const Part& a, const Part& b) {
  return std::tie(a.client->name, a.client->id) < std::tie(b.client->name, b.client->id);
}

int64_t EngineImpl::RoundsOf(uint64_t client) const {
  return std::count_if(rounds_.begin(), rounds_.end(), [&](const auto& round) {
    const auto part = round.second->parts.find(client);
    return part != round.second->parts.end() && part->second->push == nullptr;
  });
}

// Whether somebody has named keys of a clock that the client has not. Workers that end their ranges together are not
// awaited: the next clock is nobody's before all of them have a range again.
bool EngineImpl::IsAwaited(uint64_t client) const {
  return std::any_of(rounds_.upper_bound(round_clock_), rounds_.end(),
                     [&](const auto& round) { return !round.second->parts.contains(client); });
}

// A pull waits in its round until every worker has named its keys and the round before is done.
void EngineImpl::JoinRound(const WorkPtr& work, Ready* ready) {
  const auto& client = work->session->client;
  const int64_t clock = work->request.header.pull_clock;
  if (clock <= client->clock || clock <= round_clock_)
    return Fail(work,
                InvalidArgument("the batch of clock {} comes when clock {} is done", clock,
                                std::max(client->clock, round_clock_)),
                ready);
  const auto found = rounds_.find(clock);
  const bool joined = found != rounds_.end() && found->second->parts.contains(client->id);
  if (!joined && RoundsOf(client->id) >= 2 * options_.config.max_open_batches)
    return Fail(
        work,
        ResourceExhausted("{} batches are pulled and not pushed (service.max_open_batches)", RoundsOf(client->id)),
        ready);
  if (const Status status = CheckMemory(); !status.ok()) return Fail(work, status, ready);
  auto& round = rounds_[clock];
  if (round == nullptr) round = std::make_shared<Round>();
  auto& part = round->parts[client->id];
  if (part == nullptr) part = std::make_shared<Part>();
  part->client = client;
  if (part->has_keys && part->keys.keys != work->pull_keys.keys)
    return Fail(work, InvalidArgument("the batch of clock {} is pulled twice, with other keys", clock), ready);
  if (!part->has_keys) {
    part->keys = std::move(work->pull_keys);
    part->has_keys = true;
  }
  if (part->pull != nullptr) Fail(part->pull, Status(StatusCode::kUnavailable, "the batch was asked for again"), ready);
  part->pull = work;
  if (started_) max_clock_ = std::max(max_clock_, clock);
}

void EngineImpl::PushToRound(const WorkPtr& work, Ready* ready) {
  const auto& client = work->session->client;
  const RequestHeader& header = work->request.header;
  if (header.push_clock <= round_clock_)
    return Fail(
        work, InvalidArgument("the gradients of clock {} come when clock {} is done", header.push_clock, round_clock_),
        ready);
  auto& round = rounds_[header.push_clock];
  if (round == nullptr) round = std::make_shared<Round>();
  auto& part = round->parts[client->id];
  if (part == nullptr) part = std::make_shared<Part>();
  part->client = client;
  if (part->push != nullptr)
    return Fail(work, InvalidArgument("the gradients of clock {} come twice", header.push_clock), ready);
  if (!part->has_keys) {
    if (!work->has_push_keys && !work->request.row_gradients.empty())
      return Fail(work, NotFound("the batch of clock {} is not open here, and its push has no keys", header.push_clock),
                  ready);
    part->keys = std::move(work->push_keys);
    part->has_keys = true;
  }
  if (const Status status = CheckRowGradients(*work, part->keys); !status.ok() && header.weight > 0)
    return Fail(work, status, ready);
  if (!TakeSamples(*client, header, work, ready)) return;
  client->in_hand.insert(header.sequence);
  part->push = work;
  if (started_) max_clock_ = std::max(max_clock_, header.push_clock);
}

// Whatever of the part waits for an answer gets this one.
void EngineImpl::FailPart(Part* part, const Status& status, Ready* ready) {
  if (part->pull != nullptr) Fail(std::exchange(part->pull, nullptr), status, ready);
  if (part->push == nullptr) return;
  part->client->in_hand.erase(part->push->request.header.sequence);
  Fail(std::exchange(part->push, nullptr), status, ready);
}

void EngineImpl::LeaveRounds(uint64_t client, Ready* ready) {
  // Gradients that were pushed still count; what was only pulled does not.
  for (auto& [clock, round] : rounds_) {
    const auto part = round->parts.find(client);
    if (part == round->parts.end() || part->second->push != nullptr) continue;
    FailPart(part->second.get(), Unknown(client), ready);
    round->parts.erase(part);
  }
}

void EngineImpl::FailRounds(Ready* ready) {
  const Status status(StatusCode::kUnavailable, "the server is shutting down");
  for (auto& [clock, round] : rounds_)
    for (auto& [id, part] : round->parts) FailPart(part.get(), status, ready);
}

void EngineImpl::AdvanceRounds(Lock* lock, Ready* ready) {
  while (!closed_ && !round_busy_ && started_ && !shutdown_) {
    round_busy_ = true;
    const bool moved = StepRound(lock, ready);
    round_busy_ = false;
    if (!moved) return;
    changed_.notify_all();
  }
}

// One thing for the round that is next; false: it waits for a worker.
bool EngineImpl::StepRound(Lock* lock, Ready* ready) {
  const int64_t clock = round_clock_ + 1;
  const auto found = rounds_.find(clock);
  const std::shared_ptr<Round> round = found != rounds_.end() ? found->second : nullptr;
  bool any_member = false, all_named = true, all_pushed = true;
  for (const auto& [id, client] : clients_) {
    if (!client->worker || client->start >= clock || client->clock >= clock) continue;  // the last: its push was lost
    any_member = true;
    const Part* part = nullptr;
    if (round != nullptr)
      if (const auto at = round->parts.find(id); at != round->parts.end()) part = at->second.get();
    all_named = all_named && part != nullptr && part->has_keys;
    all_pushed = all_pushed && part != nullptr && part->push != nullptr;
  }
  if (!any_member && (round == nullptr || round->parts.empty())) {
    // Nobody has a batch of this clock: workers whose pushes of it are lost, or that came later, pass it by.
    int64_t to = INT64_MAX;
    for (const auto& [id, client] : clients_)
      if (client->worker) to = std::min(to, std::max(client->start, client->clock));
    if (to == INT64_MAX) return false;
    if (round != nullptr) {
      for (const auto& batch : round->segments) backend_->Release(*batch);
      rounds_.erase(clock);
    }
    if (const auto next = rounds_.upper_bound(clock); next != rounds_.end()) to = std::min(to, next->first - 1);
    round_clock_ = std::max(clock, to);
    step_ = std::max(step_, round_clock_);
    return true;
  }
  if (round == nullptr) return false;
  std::vector<std::shared_ptr<Part>> unplaced, pulls;
  bool any_push = false, in_cut = true;
  for (const auto& [id, part] : round->parts) {
    if (part->has_keys && part->segment < 0) unplaced.push_back(part);
    if (part->pull != nullptr && part->segment >= 0) pulls.push_back(part);
    any_push = any_push || part->push != nullptr;
    if (part->push != nullptr && cutting_ && !part->client->gone)
      in_cut = in_cut && part->push->request.header.sequence <= part->client->cut;
  }
  if (!unplaced.empty() && (all_named || !round->segments.empty())) {
    PlaceParts(lock, round.get(), clock, std::move(unplaced), ready);
    return true;
  }
  if (!pulls.empty()) {
    AnswerPulls(lock, round.get(), pulls, ready);
    return true;
  }
  if (all_pushed && any_push && in_cut && unplaced.empty()) {
    ApplyRound(lock, round.get(), clock, ready);
    return true;
  }
  return false;
}

void EngineImpl::PlaceParts(Lock* lock, Round* round, int64_t clock, std::vector<std::shared_ptr<Part>> parts,
                            Ready* ready) {
  std::sort(parts.begin(), parts.end(), [](const auto& a, const auto& b) { return Before(*a, *b); });
  std::vector<const KeyList*> lists;
  for (const auto& part : parts) lists.push_back(&part->keys);
  EnterGate();
  lock->unlock();
  std::shared_ptr<Backend::Batch> batch;
  const Status status = Guarded([&] { batch = backend_->ResolveUnion(lists, clock, &pool_); });
  lock->lock();
  LeaveGate();
  if (!status.ok()) {
    for (const auto& part : parts) {
      FailPart(part.get(), status, ready);
      round->parts.erase(part->client->id);
    }
    return;
  }
  for (size_t i = 0; i < parts.size(); ++i) {
    parts[i]->segment = static_cast<int>(round->segments.size());
    parts[i]->list = static_cast<int>(i);
  }
  round->segments.push_back(batch);
  step_ = std::max(step_, clock);
  if (backend_->expires() && expired_step_ < clock) Expire(lock, clock);
}

void EngineImpl::AnswerPulls(Lock* lock, Round* round, const std::vector<std::shared_ptr<Part>>& parts, Ready* ready) {
  struct Pull {
    WorkPtr work;
    std::shared_ptr<Backend::Batch> batch;
    int list;
    Status status;
  };
  std::vector<Pull> pulls;
  for (const auto& part : parts)
    pulls.push_back(
        {std::exchange(part->pull, nullptr), round->segments[static_cast<size_t>(part->segment)], part->list, {}});
  EnterGate();
  lock->unlock();
  for (Pull& pull : pulls) {
    const auto form = RowFormOf(pull.work->request);
    pull.status =
        Guarded([&] { FillReply(pull.work.get(), backend_->GatherPart(*pull.batch, pull.list, form, &pool_)); });
  }
  lock->lock();
  LeaveGate();
  for (const auto& pull : pulls) {
    if (!pull.status.ok()) {
      Fail(pull.work, pull.status, ready);
      continue;
    }
    counters_.rows_pulled.fetch_add(pull.batch->keys.size(), std::memory_order_relaxed);
    ready->done.push_back(pull.work);
  }
}

Status EngineImpl::ApplyPushes(const Round& round, const std::vector<PartPush>& pushes, int64_t clock) {
  double weight = 0;
  for (const auto& push : pushes) weight += push.work->request.header.weight;
  if (!(weight > 0)) return Status::Ok();  // nobody had samples
  std::vector<std::vector<Backend::Part>> rows(round.segments.size());
  std::vector<Backend::DensePart> dense;
  for (const auto& push : pushes) {
    const Request& request = push.work->request;
    if (!(request.header.weight > 0)) continue;
    const double share = request.header.weight / weight;
    if (!request.row_gradients.empty())
      rows[static_cast<size_t>(push.part->segment)].push_back(
          {push.part->list, request.row_gradients, request.has(kRowGradientsBf16), share});
    if (!request.dense_gradients.empty() && request.buffers.size() == static_cast<size_t>(backend_->num_buffers()) *
                                                                          static_cast<size_t>(layout_.scalar_bytes))
      dense.push_back({request.dense_gradients, request.buffers, request.has(kDenseGradientsBf16), share});
  }
  return Guarded([&] {
    for (size_t s = 0; s < rows.size(); ++s)
      if (!rows[s].empty()) backend_->ApplyParts(*round.segments[s], rows[s], &pool_);
    backend_->ApplyDenseParts(dense, clock, &pool_);
  });
}

void EngineImpl::ApplyRound(Lock* lock, Round* round, int64_t clock, Ready* ready) {
  // Out of the round: nobody else answers them meanwhile.
  std::vector<PartPush> pushes;
  for (const auto& [id, part] : round->parts)
    if (part->push != nullptr) pushes.push_back({part, std::exchange(part->push, nullptr)});
  std::sort(pushes.begin(), pushes.end(), [](const auto& a, const auto& b) { return Before(*a.part, *b.part); });
  EnterGate();
  lock->unlock();
  const Status status = ApplyPushes(*round, pushes, clock);
  for (const auto& batch : round->segments) backend_->Release(*batch);
  lock->lock();
  LeaveGate();
  round_clock_ = clock;
  step_ = std::max(step_, clock);
  for (const auto& [part, work] : pushes) {
    const RequestHeader& header = work->request.header;
    part->client->in_hand.erase(header.sequence);
    MarkApplied(part->client.get(), header.sequence, header.push_clock);
    ++applied_pushes_;
    counters_.pushes.fetch_add(1, std::memory_order_relaxed);
    counters_.rows_pushed.fetch_add(part->keys.size(), std::memory_order_relaxed);
    counters_.CountStaleness(0);
    SettlePush(work.get());
    if (!status.ok())
      Fail(work, status, ready);
    else if (work->request.has(kPull))
      ready->again.push_back(work);
    else
      ready->done.push_back(work);
  }
  // What came for this clock while it was stepped.
  for (const auto& [id, part] : round->parts) FailPart(part.get(), InvalidArgument("clock {} is done", clock), ready);
  rounds_.erase(clock);
}

}  // namespace sluice::service
