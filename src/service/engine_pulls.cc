// Engine: pulls outside of rounds, and how many batches and how much memory they may take.

#include "service/engine_impl.h"

namespace sluice::service {

void EngineImpl::PullRows(Lock* lock, const WorkPtr& work, Ready* ready) {
  Client& client = *work->session->client;
  const bool lookup = work->request.has(kLookup);
  if (closed_) {
    waiting_for_gate_.push_back(work);
    return;
  }
  const int64_t clock = work->request.header.pull_clock;
  std::shared_ptr<Backend::Batch> batch;
  bool opens = false;
  int64_t step = 0;
  if (!lookup) {
    if (PullWaits(client, clock)) {
      waiting_for_pull_.push_back(work);
      return;
    }
    if (const Status status = CheckPull(client, clock); !status.ok()) return Fail(work, status, ready);
    if (const auto open = client.open.find(clock); open != client.open.end()) {  // asked for again
      if (open->second.rows->keys.keys != work->pull_keys.keys)
        return Fail(work, InvalidArgument("the batch of clock {} is pulled twice", clock), ready);
      batch = open->second.rows;
    } else {
      step = ++step_;
      opens = true;
      client.open[clock] = {nullptr, applied_pushes_, client.own_pushes};
    }
  }
  EnterGate();
  lock->unlock();
  const bool mine = batch == nullptr;
  const Status status = Guarded([&] {
    const auto mode = lookup ? embedding::ResolveMode::kLookup : embedding::ResolveMode::kTrain;
    if (mine) batch = backend_->Resolve(std::move(work->pull_keys), mode, step, nullptr);
    FillReply(work.get(), backend_->Gather(*batch, RowFormOf(work->request)));
    counters_.rows_pulled.fetch_add(batch->keys.size(), std::memory_order_relaxed);
  });
  // `gone` is read once more below; a batch that nobody will push is let go of while inside the gate.
  if (lookup && batch != nullptr) backend_->Release(*batch);
  lock->lock();
  const bool drop = opens && (client.gone || !status.ok());
  if (drop) {
    client.open.erase(clock);
    if (batch != nullptr) backend_->Release(*batch);
  } else if (opens) {
    client.open[clock].rows = batch;
  }
  LeaveGate();
  if (!status.ok()) return Fail(work, status, ready);
  ready->done.push_back(work);
}

bool EngineImpl::IsFull(const Client& client) const {
  return static_cast<int64_t>(client.open.size()) >= 2 * options_.config.max_open_batches;
}

// Whether a pull has to wait: for its first answer, where it was asked for again after a lost connection; or for room,
// which pushes that are here and not applied will make. Those are held back by a cut, while pulls are answered.
bool EngineImpl::PullWaits(const Client& client, int64_t clock) const {
  const auto open = client.open.find(clock);
  if (open != client.open.end()) return open->second.rows == nullptr;
  return IsFull(client) && client.pushes_here > 0;
}

// Clients keep to max_open_batches; here a push may still be on its way when the next pull comes.
Status EngineImpl::CheckPull(const Client& client, int64_t clock) {
  if (clock <= client.clock) return InvalidArgument("the batch of clock {} was pushed before", clock);
  if (IsFull(client) && !client.open.contains(clock))
    return ResourceExhausted("{} batches are pulled and not pushed (service.max_open_batches)", client.open.size());
  return CheckMemory();
}

Status EngineImpl::CheckMemory() {
  const int64_t limit = options_.config.max_memory_bytes;
  if (limit == 0) return Status::Ok();
  // Statistics walk over all shards, so not at each request.
  if (memory_checks_++ % 64 == 0) memory_full_ = backend_->MemoryBytes() > limit;
  if (memory_full_)
    return ResourceExhausted(
        "the tables of server {} fill service.max_memory_bytes ({} bytes); set tables.*.expiry, add servers, or raise "
        "it",
        options_.server, limit);
  return Status::Ok();
}

void EngineImpl::FillReply(Work* work, Bytes rows) {
  ReplyMessage& reply = work->reply;
  reply.rows = std::move(rows);
  if (work->request.has(kWantParams))
    reply.dense = backend_->ReadParams(work->request.has(kDenseBf16)     ? Wire::kBf16
                                       : work->request.has(kDensePacked) ? Wire::kPacked
                                                                         : Wire::kNative);
  if (work->request.has(kWantBuffers)) reply.buffers = backend_->ReadBuffers();
}

}  // namespace sluice::service
