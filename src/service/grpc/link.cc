#include "service/grpc/link.h"

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace sluice::service {
namespace {

constexpr auto kTick = std::chrono::milliseconds(100);

}  // namespace

Link::Link(LinkOptions options, LinkCounters* counters)
    : options_(std::move(options)), counters_(counters), channel_(options_) {}

Link::~Link() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    if (stream_ != nullptr) stream_->context.TryCancel();
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
  queue_of_events_.Shutdown();
  void* tag = nullptr;
  bool ok = false;
  while (queue_of_events_.Next(&tag, &ok)) {
  }
}

double Link::SilentSeconds() const {
  const Clock::duration since(Clock::now().time_since_epoch().count() - alive_ns_.load(std::memory_order_relaxed));
  return std::chrono::duration<double>(since).count();
}

JoinAs Link::Self(bool begins) const {
  std::lock_guard lock(mutex_);
  return {client_id_, generation_, kept_.empty() ? last_clock_ : kept_.oldest().header.push_clock - 1,
          kept_.first_sequence(), begins};
}

Status Link::Connect(uint64_t client_id, int64_t clock, int64_t generation) {
  SLUICE_RETURN_IF_ERROR(channel_.Open());
  client_id_ = client_id;
  generation_ = generation;
  last_clock_ = clock;
  SLUICE_RETURN_IF_ERROR(channel_.JoinPatiently(Self(true), &joined_));
  client_id_ = joined_.client_id();
  generation_ = joined_.generation();
  incarnation_ = joined_.incarnation();
  kept_.BeginAfter(joined_.applied());
  return Status::Ok();
}

Status Link::Begin(int64_t clock) {
  last_clock_ = clock;
  proto::JoinReply reply = joined_;
  if (joined_.last_clock() < clock) SLUICE_RETURN_IF_ERROR(channel_.JoinPatiently(Self(true), &reply));
  incarnation_ = reply.incarnation();
  Alive();
  {
    std::lock_guard lock(mutex_);
    OpenStream(reply.session());
  }
  thread_ = std::thread([this] { Loop(); });
  return Status::Ok();
}

bool Link::outlived() const {
  std::lock_guard lock(mutex_);
  return outlived_;
}

// REQUIRES: mutex_.
void Link::OpenStream(uint64_t session) {
  handles_ =
      joined_.max_handles() > 0 ? std::make_unique<HandleMap>(static_cast<int64_t>(joined_.max_handles())) : nullptr;
  stream_ = std::make_unique<Stream>();
  stream_->rpc = channel_.PrepareRows(client_id_, session, &stream_->context, &queue_of_events_);
  stream_->under_way = 1;
  stream_->rpc->StartCall(reinterpret_cast<void*>(kStarted));
}

uint64_t Link::incarnation() const {
  std::lock_guard lock(mutex_);
  return incarnation_;
}

Status Link::CheckSize(const LinkCall& call) const {
  uint64_t bytes = sizeof(RequestHeader), keys = 0;
  for (const KeyList* list : {call.pull_keys.get(), call.push != nullptr ? call.push->keys.get() : nullptr}) {
    if (list == nullptr) continue;
    keys = std::max(keys, list->keys.size());
    bytes += list->keys.size() * (2 * sizeof(Key) + 2) + list->blocks.size() * 8;
  }
  if (call.push != nullptr) bytes += static_cast<uint64_t>(call.push->bytes());
  if (bytes > joined_.max_message_bytes())
    return ResourceExhausted(
        "a message of {} bytes is longer than parameter server {} takes: {} (service.max_message_bytes); use "
        "smaller batches or more servers",
        bytes, options_.address, joined_.max_message_bytes());
  if (keys > joined_.max_request_rows())
    return ResourceExhausted(
        "a batch needs {} rows of parameter server {}, which takes {} (service.max_request_rows); use smaller "
        "batches or more servers",
        keys, options_.address, joined_.max_request_rows());
  return Status::Ok();
}

void Link::Send(std::shared_ptr<LinkCall> call) {
  Status dead;
  {
    std::lock_guard lock(mutex_);
    if (call->push != nullptr) {
      last_clock_ = call->push->header.push_clock;
      kept_.Add(call->push);
    }
    if (dead_.ok()) {
      if (call->push != nullptr) ++pushes_under_way_;
      const uint64_t number = next_number_++;
      calls_[number] = std::move(call);
      Enqueue(number);
      return;
    }
    dead = dead_;
  }
  call->on_end(dead);
}

// REQUIRES: mutex_.
void Link::Enqueue(uint64_t number) {
  queue_.push_back(number);
  StartWrite();
}

// REQUIRES: mutex_.
void Link::StartWrite() {
  if (stream_ == nullptr || !stream_->started || stream_->writing || stream_->finishing) return;
  while (!queue_.empty() && !calls_.contains(queue_.front())) queue_.pop_front();
  if (queue_.empty()) return;
  const uint64_t number = queue_.front();
  queue_.pop_front();
  std::vector<grpc::Slice> slices;
  Encode(number, *calls_[number], &slices);
  stream_->writing = true;
  ++stream_->under_way;
  stream_->rpc->Write(grpc::ByteBuffer(slices.data(), slices.size()), reinterpret_cast<void*>(kWritten));
}

// REQUIRES: mutex_. Keys are numbered as they are sent, so a call is encoded when its turn comes.
void Link::Encode(uint64_t number, const LinkCall& call, std::vector<grpc::Slice>* slices) {
  RequestHeader header;
  if (call.push != nullptr) header = call.push->header;
  header.flags |= call.flags;
  header.request = number;
  header.pull_clock = call.pull_clock;
  header.initial_rows = call.initial_rows;
  slices->emplace_back();
  if (call.pull_keys != nullptr && call.pull_keys->size() > 0) {
    Bytes keys = EncodeKeys(*call.pull_keys, handles_.get());
    header.pull_key_bytes = keys.size();
    slices->push_back(ToSlice(std::move(keys)));
  }
  if (call.push != nullptr) {
    const KeptPush& push = *call.push;
    header.flags |= kPush;
    if (call.needs_push_keys && push.keys != nullptr && push.keys->size() > 0) {
      Bytes keys = EncodeKeys(*push.keys, handles_.get());
      header.push_key_bytes = keys.size();
      slices->push_back(ToSlice(std::move(keys)));
    }
    header.row_gradient_bytes = push.row_gradients.size();
    header.dense_gradient_bytes = push.dense_gradients.size();
    header.buffer_bytes = push.buffers.size();
    for (const grpc::Slice* slice : {&push.row_gradients, &push.dense_gradients, &push.buffers})
      if (slice->size() > 0) slices->push_back(*slice);
  }
  (*slices)[0] = grpc::Slice(&header, sizeof(header));
  const auto add = [](std::atomic<int64_t>* to, uint64_t n) {
    to->fetch_add(static_cast<int64_t>(n), std::memory_order_relaxed);
  };
  add(&counters_->keys, header.pull_key_bytes + header.push_key_bytes);
  add(&counters_->row_gradients, header.row_gradient_bytes);
  add(&counters_->dense_gradients, header.dense_gradient_bytes + header.buffer_bytes);
  add(&counters_->sent, sizeof(header) + header.pull_key_bytes + header.push_key_bytes + header.row_gradient_bytes +
                            header.dense_gradient_bytes + header.buffer_bytes);
}

// ---- the link's own thread

void Link::Loop() {
  while (true) {
    void* tag = nullptr;
    bool ok = false;
    const auto event = queue_of_events_.AsyncNext(&tag, &ok, std::chrono::system_clock::now() + kTick);
    if (event == grpc::CompletionQueue::SHUTDOWN) return;
    if (event == grpc::CompletionQueue::GOT_EVENT) Handle(static_cast<Tag>(reinterpret_cast<intptr_t>(tag)), ok);
    bool ended = false;
    {
      std::lock_guard lock(mutex_);
      if (stream_ != nullptr && !stopping_ && !calls_.empty() && SilentSeconds() > options_.config.retry_s) {
        // The connection stands, and nobody answers.
        dead_ = Status(StatusCode::kUnavailable, fmt::format("parameter server {} has been silent for {:.0f} s",
                                                             options_.address, SilentSeconds()));
        stream_->context.TryCancel();
      }
      ended = stream_ != nullptr && stream_->finishing && stream_->under_way == 0;
      if (ended && (stopping_ || leaving_)) return;
    }
    if (!ended) continue;
    if (!Reconnect()) return;
  }
}

void Link::Handle(Tag tag, bool ok) {
  grpc::ByteBuffer received;
  bool has_message = false;
  {
    std::lock_guard lock(mutex_);
    Stream& stream = *stream_;
    --stream.under_way;
    const auto read = [&] {
      ++stream.under_way;
      stream.rpc->Read(&stream.incoming, reinterpret_cast<void*>(kRead));
    };
    const auto finish = [&] {
      if (std::exchange(stream.finishing, true)) return;
      ++stream.under_way;
      stream.rpc->Finish(&stream.status, reinterpret_cast<void*>(kFinished));
    };
    switch (tag) {
      case kStarted:
        if (!ok) return finish();
        stream.started = true;
        read();
        return StartWrite();
      case kWritten:
        stream.writing = false;
        if (!ok) return finish();
        return StartWrite();
      case kRead:
        if (!ok) return finish();
        received.Swap(&stream.incoming);
        has_message = true;
        read();
        break;
      case kFinished:
        return;
    }
  }
  if (has_message) Received(&received);
}

void Link::Received(grpc::ByteBuffer* buffer) {
  Alive();
  const Message message = ToMessage(buffer);
  counters_->received.fetch_add(static_cast<int64_t>(message.bytes.size()), std::memory_order_relaxed);
  auto reply = ParseReply(message.bytes);
  std::shared_ptr<LinkCall> call;
  {
    std::lock_guard lock(mutex_);
    if (reply.ok() && MayPass(reply->status)) {  // it is shutting down, or we are to join again
      if (stream_ != nullptr) stream_->context.TryCancel();
      return;
    }
    if (!reply.ok()) {
      SLUICE_WARN("parameter server {}: {}", options_.address, reply.status().message());
      if (stream_ != nullptr) stream_->context.TryCancel();
      return;
    }
    stream_->answered = true;
    kept_.Durable(reply->header.durable);
    TrimKept();
    const auto found = calls_.find(reply->header.request);
    if (found == calls_.end()) return;
    call = found->second;
    if (reply->status.code() == StatusCode::kNotFound && call->push != nullptr && !call->needs_push_keys) {
      call->needs_push_keys = true;  // the server let go of the batch
      return Enqueue(found->first);
    }
    calls_.erase(found);
  }
  if (reply->status.ok()) {
    if (call->push != nullptr) {
      const int64_t staleness = reply->header.staleness;
      counters_->staleness_sum.fetch_add(staleness, std::memory_order_relaxed);
      int64_t seen = counters_->staleness_max.load(std::memory_order_relaxed);
      while (staleness > seen && !counters_->staleness_max.compare_exchange_weak(seen, staleness)) {
      }
    }
    if (call->pull_keys != nullptr) counters_->pulls.Record(SecondsSince(call->begin));
    counters_->rows.fetch_add(static_cast<int64_t>(reply->rows.size()), std::memory_order_relaxed);
    counters_->dense.fetch_add(static_cast<int64_t>(reply->dense.size() + reply->buffers.size()),
                               std::memory_order_relaxed);
    if (call->on_reply) reply->status = call->on_reply(*reply);
  }
  const Status status = reply->status.WithContext(fmt::format("parameter server {}", options_.address));
  {
    std::lock_guard lock(mutex_);
    if (call->push != nullptr) {
      --pushes_under_way_;
      if (!status.ok() && push_failure_.ok()) push_failure_ = status;
    }
  }
  call->on_end(status);
  changed_.notify_all();
}

// REQUIRES: mutex_.
void Link::TrimKept() {
  kept_.TrimTo(options_.config.replay_bytes / options_.servers, [&](uint64_t sequence) {
    return std::any_of(calls_.begin(), calls_.end(), [&](const auto& call) {
      return call.second->push != nullptr && call.second->push->header.sequence == sequence;
    });
  });
}

// Joins again after the stream ended. False: the link is dead.
bool Link::Reconnect() {
  Status why;
  {
    std::unique_lock lock(mutex_);
    why = dead_.ok() ? FromGrpc(stream_->status) : dead_;
    // A stream that brought nothing is not opened again at once.
    pause_s_ = stream_->answered ? 0 : std::min(std::max(2 * pause_s_, kFirstPause_s), kLongestPause_s);
    stream_.reset();
    const bool refused = why.code() == StatusCode::kInvalidArgument || why.code() == StatusCode::kResourceExhausted;
    if (dead_.ok() && refused) dead_ = why;  // again would be no better
    if (changed_.wait_for(lock, std::chrono::duration<double>(pause_s_), [this] { return stopping_; })) return false;
  }
  counters_->reconnects.fetch_add(1, std::memory_order_relaxed);
  if (dead_.ok())
    SLUICE_WARN("parameter server {}: connection lost ({}); trying again", options_.address, why.message());
  double pause_s = kFirstPause_s;
  proto::JoinReply reply;
  Status status = dead_;
  while (status.ok() || MayPass(status)) {
    if (!dead_.ok()) break;
    status = channel_.Join(Self(false), &reply);
    if (status.ok()) break;
    std::unique_lock lock(mutex_);
    if (SilentSeconds() > options_.config.retry_s) {
      status =
          Status(StatusCode::kUnavailable, fmt::format("away for {:.0f} s: {}", SilentSeconds(), status.message()));
      break;
    }
    if (changed_.wait_for(lock, std::chrono::duration<double>(kFirstPause_s), [this] { return stopping_; }))
      return false;
    lock.unlock();
    channel_.AwaitServer(pause_s);
    pause_s = std::min(2 * pause_s, kLongestPause_s);
  }
  if (!status.ok()) {
    if (status.code() == StatusCode::kCancelled) {
      std::lock_guard lock(mutex_);
      outlived_ = true;
    }
    FailAll(
        Status(StatusCode::kUnavailable, fmt::format("parameter server {}: {}", options_.address, status.message())));
    return false;
  }
  Alive();
  std::lock_guard lock(mutex_);
  if (stopping_) return false;
  Resend(reply);
  OpenStream(reply.session());
  return true;
}

// What has to be sent again, before everything else: pushes that the server has not applied, then what was under way.
// REQUIRES: mutex_.
void Link::Resend(const proto::JoinReply& reply) {
  const bool restarted = reply.incarnation() != incarnation_;
  incarnation_ = reply.incarnation();
  kept_.Durable(reply.durable());
  std::map<uint64_t, std::shared_ptr<LinkCall>> before;
  before.swap(calls_);
  queue_.clear();
  std::map<uint64_t, std::shared_ptr<LinkCall>> by_sequence;
  for (const auto& [number, call] : before) {
    if (call->push == nullptr) continue;
    call->needs_push_keys = true;
    by_sequence[call->push->header.sequence] = call;
  }
  for (const auto& push : kept_.list()) {
    const uint64_t sequence = push->header.sequence;
    if (sequence <= reply.applied() || by_sequence.contains(sequence)) continue;
    auto call = std::make_shared<LinkCall>();  // answered before, and forgotten by a server that was restarted
    call->push = push;
    call->needs_push_keys = true;
    call->on_end = [](const Status&) {};
    by_sequence[sequence] = call;
    ++pushes_under_way_;
    counters_->replayed.fetch_add(1, std::memory_order_relaxed);
  }
  if (reply.lost() > 0) {
    counters_->lost.fetch_add(reply.lost(), std::memory_order_relaxed);
    SLUICE_WARN(
        "parameter server {}: {} pushes up to {} are lost: its checkpoint does not hold them, and they are not kept "
        "any "
        "more (service.replay_bytes)",
        options_.address, reply.lost(), reply.applied());
  }
  if (restarted)
    SLUICE_INFO("parameter server {}: restarted; {} pushes are sent again", options_.address, by_sequence.size());
  const auto add = [&](const std::shared_ptr<LinkCall>& call) {
    const uint64_t number = next_number_++;
    calls_[number] = call;
    queue_.push_back(number);
  };
  for (const auto& [sequence, call] : by_sequence) add(call);
  for (const auto& [number, call] : before)
    if (call->push == nullptr) add(call);
}

void Link::FailAll(const Status& status) {
  std::map<uint64_t, std::shared_ptr<LinkCall>> calls;
  {
    std::lock_guard lock(mutex_);
    dead_ = status;
    calls.swap(calls_);
    queue_.clear();
    pushes_under_way_ = 0;
    if (push_failure_.ok()) push_failure_ = status;
  }
  for (const auto& [number, call] : calls) call->on_end(status);
  changed_.notify_all();
}

// ---- control

Status Link::FlushPushes() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return pushes_under_way_ == 0 || !dead_.ok(); });
  if (!dead_.ok()) return dead_;
  return std::exchange(push_failure_, Status::Ok());
}

void Link::Leaving() {
  std::lock_guard lock(mutex_);
  leaving_ = true;
}

Result<bool> Link::AllDurable() const {
  std::lock_guard lock(mutex_);
  if (!dead_.ok()) return dead_;
  return kept_.all_durable();
}

Status Link::Control(const ServerChannel::Call& call, double timeout_s) {
  const auto begin = Clock::now();
  double pause_s = kFirstPause_s;
  while (true) {
    const Status status = channel_.Try(call, timeout_s);
    if (!MayPass(status) || SecondsSince(begin) > options_.config.retry_s)
      return status.WithContext(fmt::format("parameter server {}", options_.address));
    std::unique_lock lock(mutex_);
    if (!dead_.ok()) return dead_;
    if (changed_.wait_for(lock, std::chrono::duration<double>(pause_s), [this] { return stopping_ || !dead_.ok(); }))
      return dead_.ok() ? status : dead_;
    pause_s = std::min(2 * pause_s, kLongestPause_s);
  }
}

Status Link::Heartbeat() {
  proto::HeartbeatReply reply;
  SLUICE_RETURN_IF_ERROR(channel_.Heartbeat(client_id_, &reply));
  Alive();
  std::lock_guard lock(mutex_);
  if (reply.known())
    kept_.Durable(reply.durable());
  else if (stream_ != nullptr && !leaving_)  // the server has forgotten this client, or dropped it: to join again tells
    stream_->context.TryCancel();
  return Status::Ok();
}

}  // namespace sluice::service
