#include "service/engine.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "service/engine_impl.h"
#include "service/packing.h"

namespace sluice::service {

std::unique_ptr<Engine> Engine::Make(std::unique_ptr<Backend> backend, ModelLayout layout, EngineOptions options,
                                     ServiceState state) {
  return std::make_unique<EngineImpl>(std::move(backend), std::move(layout), std::move(options), std::move(state));
}

namespace {

Status NotFinite() {
  return NumericError("a push has a gradient that is not finite; lower the learning rate, or set train.clip_norm");
}

}  // namespace

EngineImpl::EngineImpl(std::unique_ptr<Backend> backend, ModelLayout layout, EngineOptions options, ServiceState state)
    : Engine(state.generation),
      backend_(std::move(backend)),
      layout_(std::move(layout)),
      layout_text_(LayoutText(layout_)),
      options_(std::move(options)),
      pool_(std::max(1, options_.threads)) {
  if (!options_.executor) options_.executor = [](std::function<void()> body) { body(); };
  step_ = state.step;
  expired_step_ = step_;
  samples_ = state.samples;
  leases_ = std::move(state.leases);
  counters_.lost_pushes = state.lost_pushes;
  lost_before_ = lost_in_cut_ = state.lost_pushes - state.lost_since;
  for (const uint64_t id : state.dropped) dropped_[id] = 0;
  for (const auto& [id, applied] : state.dropped_since) dropped_[id] = applied;
  lost_ = std::move(state.dropped_since);
  for (const auto& saved : state.clients) {
    auto client = std::make_shared<Client>();
    client->id = saved.id;
    client->name = saved.name;
    client->worker = saved.worker;
    client->applied = client->durable = saved.applied;
    client->clock = saved.clock;
    client->start = saved.start;
    client->heard = Clock::now();
    clients_[saved.id] = client;
    started_ = started_ || saved.worker;
  }
  // A run that goes on waits for nobody: it may be near its end, with fewer workers.
  started_ = started_ || step_ > 0;
  round_clock_ = step_;
  max_clock_ = step_;
  memory_full_ = options_.config.max_memory_bytes > 0 && backend_->MemoryBytes() > options_.config.max_memory_bytes;
}

// ---- answers

void EngineImpl::AnswerFailure(Work* work, const Status& status) {
  counters_.rejected.fetch_add(1, std::memory_order_relaxed);
  ReplyMessage reply;
  reply.header.status = static_cast<uint32_t>(status.code());
  reply.header.request = work->request.header.request;
  reply.text = status.message();
  reply.header.row_bytes = reply.text.size();
  work->answer(std::move(reply));
}

void EngineImpl::AnswerDone(Work* work) {
  ReplyMessage& reply = work->reply;
  reply.header.request = work->request.header.request;
  reply.header.staleness = work->staleness;
  reply.header.durable = work->session->client->durable_hint.load(std::memory_order_relaxed);
  reply.header.row_bytes = reply.rows.size();
  reply.header.dense_bytes = reply.dense.size();
  reply.header.buffer_bytes = reply.buffers.size();
  Latencies& times = !work->request.has(kPull)    ? counters_.pushes_time
                     : work->request.has(kLookup) ? counters_.lookups
                                                  : counters_.pulls;
  times.Record(SecondsSince(work->begin));
  work->answer(std::move(reply));
}

void EngineImpl::Dispatch(Ready* ready) {
  for (auto& work : ready->again) options_.executor([this, work] { Run(work); });
  for (auto& [work, status] : ready->failed) AnswerFailure(work.get(), status);
  for (auto& work : ready->done) AnswerDone(work.get());
  *ready = {};
}

// ---- requests

std::shared_ptr<Engine::Work> EngineImpl::Prepare(const std::shared_ptr<Session>& session, Message message,
                                                  Answer answer) {
  auto work = std::make_shared<Work>();
  work->session = session;
  work->answer = std::move(answer);
  work->begin = Clock::now();
  counters_.bytes_received.fetch_add(static_cast<int64_t>(message.bytes.size()), std::memory_order_relaxed);
  auto request = ParseRequest(message.bytes);
  if (!request.ok()) {
    AnswerFailure(work.get(), request.status());
    return nullptr;
  }
  work->request = std::move(request).value();
  work->message = std::move(message);
  const Status status = CheckAndRead(work.get());
  if (!status.ok()) {
    AnswerFailure(work.get(), status);
    return nullptr;
  }
  return work;
}

Status EngineImpl::CheckAndRead(Work* work) {
  const Request& request = work->request;
  const KeyLimits limits{options_.config.max_request_rows, static_cast<int>(layout_.salts.size()),
                         ShardsOfServer(options_.server, options_.servers)};
  AlignedBuffer<std::byte> copy;
  if (!request.pull_keys.empty())
    SLUICE_RETURN_IF_ERROR(
        ParseKeys(request.pull_keys.Whole(&copy), limits, &work->session->dictionary, &work->pull_keys));
  if (!request.push_keys.empty()) {
    SLUICE_RETURN_IF_ERROR(
        ParseKeys(request.push_keys.Whole(&copy), limits, &work->session->dictionary, &work->push_keys));
    work->has_push_keys = true;
  }
  work->handles = work->session->dictionary.size();
  if (!request.has(kPush)) return Status::Ok();
  const bool packed = request.has(kDenseGradientsPacked);
  if (packed) SLUICE_RETURN_IF_ERROR(UnpackDenseGradients(work));
  const bool dense_bf16 = request.has(kDenseGradientsBf16);
  const auto dense_bytes = static_cast<size_t>(WireBytes(backend_->num_params(), dense_bf16, layout_.scalar_bytes));
  const auto buffer_bytes = static_cast<size_t>(backend_->num_buffers() * layout_.scalar_bytes);
  if (!request.dense_gradients.empty() && request.dense_gradients.size() != dense_bytes)
    return InvalidArgument("a push has {} bytes of dense gradients; this server's span has {}",
                           request.dense_gradients.size(), dense_bytes);
  if (!request.buffers.empty() && request.buffers.size() != buffer_bytes)
    return InvalidArgument("a push has {} bytes of buffers; this server's span has {}", request.buffers.size(),
                           buffer_bytes);
  if (!WireFinite(request.row_gradients, request.has(kRowGradientsBf16), layout_.scalar_bytes) ||
      (!packed && !WireFinite(request.dense_gradients, dense_bf16, layout_.scalar_bytes)) ||
      !WireFinite(request.buffers, false, layout_.scalar_bytes))
    return NotFinite();
  return Status::Ok();
}

Status EngineImpl::UnpackDenseGradients(Work* work) const {
  Request& request = work->request;
  if (layout_.scalar_bytes != sizeof(float)) return InvalidArgument("dense gradients other than floats are packed");
  work->unpacked = Bytes(static_cast<size_t>(backend_->num_params()) * sizeof(float));
  bool finite = true;
  if (!UnpackFloats(request.dense_gradients, backend_->num_params(), reinterpret_cast<float*>(work->unpacked.data()),
                    &finite))
    return InvalidArgument("{} bytes of dense gradients are no packing of {} numbers", request.dense_gradients.size(),
                           backend_->num_params());
  if (!finite) return NotFinite();
  request.dense_gradients = work->unpacked.span();
  return Status::Ok();
}

// The bytes of row gradients that a list of keys asks for.
Status EngineImpl::CheckRowGradients(const Work& work, const KeyList& keys) const {
  const auto bytes = static_cast<size_t>(
      WireBytes(backend_->RowScalars(keys), work.request.has(kRowGradientsBf16), layout_.scalar_bytes));
  if (work.request.row_gradients.size() == bytes) return Status::Ok();
  return InvalidArgument("a push has {} bytes of row gradients; its {} keys need {}", work.request.row_gradients.size(),
                         keys.size(), bytes);
}

void EngineImpl::Run(const std::shared_ptr<Work>& work) {
  Ready ready;
  {
    std::unique_lock lock(mutex_);
    RunLocked(&lock, work, &ready);
    Advance(&lock, &ready);
  }
  Dispatch(&ready);
}

void EngineImpl::RunLocked(Lock* lock, const WorkPtr& work, Ready* ready) {
  Client& client = *work->session->client;
  const bool lookup = work->request.has(kLookup);
  if (shutdown_) return Fail(work, Status(StatusCode::kUnavailable, "the server is shutting down"), ready);
  if (client.gone) return Fail(work, Unknown(client.id), ready);
  client.heard = Clock::now();
  client.handles = work->handles;
  if (work->request.has(kPush) && work->push != Work::PushState::kSettled) {
    if (std::exchange(work->push, Work::PushState::kHere) == Work::PushState::kUnseen) ++client.pushes_here;
    if (!Push(lock, work, ready)) return;
  }
  if (!work->request.has(kPull)) {
    ready->done.push_back(work);
    return;
  }
  // Its connection was replaced: nobody hears the answer, and a batch that it opened might never be pushed.
  if (work->session->number != client.session)
    return Fail(work, Status(StatusCode::kUnavailable, "another connection took this one's place"), ready);
  if (lookup) return PullRows(lock, work, ready);
  if (options_.staleness == 0) return JoinRound(work, ready);
  if (options_.staleness > 0 && !ClockIsOpen(work->request.header.pull_clock)) {
    waiting_for_clock_.push_back(work);
    return;
  }
  PullRows(lock, work, ready);
}

// The push of a request. True: it is done, and the request goes on; false: it waits somewhere, or failed.
bool EngineImpl::Push(Lock* lock, const WorkPtr& work, Ready* ready) {
  Client& client = *work->session->client;
  const RequestHeader& header = work->request.header;
  const uint64_t sequence = header.sequence;
  if (sequence <= client.applied || client.ahead.contains(sequence)) {
    counters_.repeated_pushes.fetch_add(1, std::memory_order_relaxed);
    SettlePush(work.get());
    return true;
  }
  if (client.in_hand.contains(sequence)) {  // sent again while the first is under way
    waiting_for_push_.push_back(work);
    return false;
  }
  if (sequence > client.applied + kMaxAhead) {
    Fail(work, InvalidArgument("push {} comes when {} were applied; too far ahead", sequence, client.applied), ready);
    return false;
  }
  if (cutting_ && sequence > client.cut) {
    held_.push_back(work);
    return false;
  }
  if (closed_) {
    waiting_for_gate_.push_back(work);
    return false;
  }
  if (options_.staleness != 0) return ApplyOwnStep(lock, work, ready);
  PushToRound(work, ready);
  return false;
}

// A push as a step of its own.
bool EngineImpl::ApplyOwnStep(Lock* lock, const WorkPtr& work, Ready* ready) {
  Client& client = *work->session->client;
  const RequestHeader& header = work->request.header;
  Client::OpenBatch batch{nullptr, applied_pushes_, client.own_pushes};
  const auto open = client.open.find(header.push_clock);
  Status status;
  if (open != client.open.end() && open->second.rows == nullptr)
    status = InvalidArgument("the batch of clock {} is pushed before it was pulled", header.push_clock);
  else if (open != client.open.end())
    status = CheckRowGradients(*work, open->second.rows->keys);
  else if (!work->has_push_keys && !work->request.row_gradients.empty())
    status = NotFound("the batch of clock {} is not open here, and its push has no keys", header.push_clock);
  else
    status = CheckRowGradients(*work, work->push_keys);
  if (!status.ok()) {
    Fail(work, std::move(status), ready);
    return false;
  }
  if (!TakeSamples(client, header, work, ready)) return false;
  if (open != client.open.end()) {
    batch = std::move(open->second);
    client.open.erase(open);
  }
  client.in_hand.insert(header.sequence);
  const int64_t step = batch.rows != nullptr ? batch.rows->step : ++step_;
  EnterGate();
  lock->unlock();
  status = Guarded([&] { ApplyPush(work.get(), batch.rows, step); });
  lock->lock();
  LeaveGate();
  client.in_hand.erase(header.sequence);
  // A push that failed half way counts as applied: it must not be applied again.
  MarkApplied(&client, header.sequence, header.push_clock);
  work->staleness = applied_pushes_ - batch.applied_pushes - (client.own_pushes - batch.own_pushes);
  counters_.CountStaleness(work->staleness);
  ++applied_pushes_;
  ++client.own_pushes;
  counters_.pushes.fetch_add(1, std::memory_order_relaxed);
  SettlePush(work.get());
  if (!status.ok()) Fail(work, std::move(status), ready);
  return status.ok();
}

// A push is applied, or refused: nothing waits for it, and it is not looked at again.
void EngineImpl::SettlePush(Work* work) {
  if (std::exchange(work->push, Work::PushState::kSettled) == Work::PushState::kHere)
    --work->session->client->pushes_here;
}

// Counts a push's samples, and those of its leases.
bool EngineImpl::TakeSamples(const Client& client, const RequestHeader& header, const WorkPtr& work, Ready* ready) {
  if (header.lease >= 0 && options_.server == 0) {
    const LeaseShares shares{
        {{header.lease, header.samples - header.next_lease_samples}, {header.next_lease, header.next_lease_samples}}};
    if (const Status status = leases_.Advance(client.id, shares); !status.ok()) {
      Fail(work, status, ready);
      return false;
    }
  }
  samples_ += header.samples;
  return true;
}

// One push as a step of its own, without a lock.
void EngineImpl::ApplyPush(Work* work, const std::shared_ptr<Backend::Batch>& open, int64_t step) {
  const Request& request = work->request;
  std::shared_ptr<Backend::Batch> batch = open;
  if (batch == nullptr && work->push_keys.size() > 0)
    batch = backend_->Resolve(std::move(work->push_keys), embedding::ResolveMode::kTrain, step, nullptr);
  if (batch != nullptr) {
    const Status applied = Guarded([&] {
      if (!request.row_gradients.empty())
        backend_->Apply(*batch, request.row_gradients, request.has(kRowGradientsBf16));
    });
    backend_->Release(*batch);
    if (!applied.ok()) throw StatusError(applied);
    counters_.rows_pushed.fetch_add(batch->keys.size(), std::memory_order_relaxed);
  }
  if (!request.dense_gradients.empty())
    backend_->ApplyDense(request.dense_gradients, request.has(kDenseGradientsBf16), step);
  if (!request.buffers.empty()) backend_->MixBuffers(request.buffers, 1.0 / static_cast<double>(num_workers_.load()));
}

void EngineImpl::MarkApplied(Client* client, uint64_t sequence, int64_t clock) {
  if (sequence > client->applied) client->ahead.insert(sequence);
  while (!client->ahead.empty() && *client->ahead.begin() == client->applied + 1) {
    ++client->applied;
    client->ahead.erase(client->ahead.begin());
  }
  client->clock = std::max(client->clock, clock);
  max_clock_ = std::max(max_clock_, clock);
}

// ---- clocks

int64_t EngineImpl::MinClock() const {
  int64_t min_clock = INT64_MAX;
  for (const auto& [id, client] : clients_)
    if (client->worker) min_clock = std::min(min_clock, client->clock);
  return min_clock;
}

bool EngineImpl::ClockIsOpen(int64_t clock) const {
  if (!started_) return false;
  const int64_t min_clock = MinClock();
  return min_clock == INT64_MAX || min_clock >= clock - 1 - options_.staleness;
}

// Whatever became possible: requests that waited, rounds, expiry.
void EngineImpl::Advance(Lock* lock, Ready* ready) {
  int64_t workers = 0;
  for (const auto& [id, client] : clients_) workers += client->worker;
  num_workers_.store(std::max<int64_t>(1, workers));
  if (options_.staleness == 0) AdvanceRounds(lock, ready);
  if (options_.staleness != 0 && backend_->expires() && step_ - expired_step_ >= kExpiryBatch && !closed_)
    Expire(lock, step_);
  // Those of `queue` that need not wait any more.
  const auto release = [&](std::deque<WorkPtr>* queue, const auto& waits) {
    std::deque<WorkPtr> still;
    for (auto& work : *queue) {
      const Client& client = *work->session->client;
      const bool stays = !client.gone && !shutdown_ && waits(client, work->request.header);
      if (stays)
        still.push_back(work);
      else
        ready->again.push_back(work);
    }
    queue->swap(still);
  };
  release(&waiting_for_gate_, [&](const Client&, const RequestHeader&) { return closed_; });
  release(&waiting_for_push_,
          [&](const Client& client, const RequestHeader& header) { return client.in_hand.contains(header.sequence); });
  release(&waiting_for_pull_,
          [&](const Client& client, const RequestHeader& header) { return PullWaits(client, header.pull_clock); });
  release(&waiting_for_clock_,
          [&](const Client&, const RequestHeader& header) { return !ClockIsOpen(header.pull_clock); });
  release(&held_,
          [&](const Client& client, const RequestHeader& header) { return cutting_ && header.sequence > client.cut; });
  changed_.notify_all();
}

// Expiry needs the tables at rest: who finds it due closes the gate and waits for those inside. A round may find it due
// when a cut has closed the gate: it is the cut that opens it.
void EngineImpl::Expire(Lock* lock, int64_t to) {
  changed_.wait(*lock, [&] { return !closed_; });
  closed_ = true;
  changed_.wait(*lock, [&] { return running_ == 0; });
  for (; expired_step_ < to; ++expired_step_) backend_->Expire(expired_step_ + 1);
  closed_ = false;
}

void EngineImpl::LeaveGate() {
  --running_;
  if (running_ == 0) changed_.notify_all();
}

void EngineImpl::Shutdown() {
  Ready ready;
  {
    std::unique_lock lock(mutex_);
    shutdown_ = true;
    Advance(&lock, &ready);
    FailRounds(&ready);
  }
  Dispatch(&ready);
}

}  // namespace sluice::service
