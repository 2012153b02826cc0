#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

#include "base/log.h"
#include "service/grpc/batch_codec.h"
#include "service/grpc/link.h"
#include "service/parameter_client.h"

namespace sluice::service {
namespace {

// Counts down the servers that have not answered.
class PendingState final : public Pending::State {
 public:
  PendingState(int servers, std::atomic<int64_t>* wait_ns) : left_(servers), wait_ns_(wait_ns) {}

  Status Wait() override {
    const auto begin = Clock::now();
    std::unique_lock lock(mutex_);
    done_.wait(lock, [this] { return left_ == 0; });
    wait_ns_->fetch_add((Clock::now() - begin).count(), std::memory_order_relaxed);
    return status_;
  }
  bool ready() const override {
    std::lock_guard lock(mutex_);
    return left_ == 0;
  }
  void End(const Status& status) {
    std::lock_guard lock(mutex_);
    if (status_.ok()) status_ = status;
    if (--left_ == 0) done_.notify_all();
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable done_;
  int left_;
  Status status_;
  std::atomic<int64_t>* wait_ns_;
};

template <class T>
class ClientOf final : public ParameterClient<T> {
 public:
  Status Connect(const ClientOptions& options, const ModelLayout& layout);
  ~ClientOf() override;

  const JoinInfo& info() const override { return info_; }
  Pending Pull(const PullRequest<T>& request) override { return Exchange(nullptr, &request); }
  Pending Push(const PushRequest<T>& request) override { return Exchange(&request, nullptr); }
  Pending PushPull(const PushRequest<T>& push, const PullRequest<T>& pull) override { return Exchange(&push, &pull); }
  Status Flush() override {
    Status status;
    {
      std::lock_guard lock(mutex_);
      status = std::exchange(not_sent_, Status::Ok());
    }
    for (const auto& link : links_) {
      const Status flushed = link->FlushPushes();
      if (status.ok()) status = flushed;
    }
    return status;
  }
  Status OfferInput(const InputPlan& plan) override;
  Result<LeaseReply> AcquireLease(std::span<const int64_t> held) override;
  Status FinishLease(const Lease& lease) override;
  Result<std::string> Checkpoint() override;
  Status AwaitCheckpoint(double timeout_s) override;
  Status Leave() override;
  bool outlived() const override {
    return std::any_of(links_.begin(), links_.end(), [](const auto& link) { return link->outlived(); });
  }
  ClientStats stats() const override;

 private:
  struct OpenBatch {
    std::vector<ServerKeys> keys;        // [servers]
    std::vector<uint64_t> incarnations;  // of the servers when it was pulled
  };

  int num_servers() const { return static_cast<int>(links_.size()); }
  Status Join(LinkOptions link);
  Pending Exchange(const PushRequest<T>* push, const PullRequest<T>* pull);
  Pending Refuse(const Status& why, bool push);
  Status CheckPull(const PullRequest<T>& request, bool with_push) const;
  Status CheckPush(const PushRequest<T>& request) const;
  void Beat();

  ClientOptions options_;
  ModelLayout layout_;
  BatchCodec<T> codec_;  // outlives the links, as the counters do
  LinkCounters counters_;
  std::vector<std::unique_ptr<Link>> links_;
  JoinInfo info_;
  int64_t max_open_ = 1;
  std::map<int64_t, OpenBatch> open_;  // by clock
  std::atomic<int64_t> pulls_{0}, pushes_{0}, wait_ns_{0};

  mutable std::mutex mutex_;  // of what other threads touch
  std::condition_variable stop_;
  bool stopping_ = false, left_ = false;
  std::set<int64_t> finished_;  // leases, told again after the first server's restart
  uint64_t told_incarnation_ = 0;
  Status not_sent_;  // why the first push since the last Flush was not even sent
  std::thread heart_;
};

template <class T>
Status ClientOf<T>::Connect(const ClientOptions& options, const ModelLayout& layout) {
  options_ = options;
  layout_ = layout;
  layout_.scalar_bytes = sizeof(T);
  if (options.servers.empty()) return InvalidArgument("strategy.servers: no parameter servers are named");
  if (sizeof(T) != sizeof(float) && (options.dense == Wire::kPacked || options.dense_gradients == Wire::kPacked))
    return InvalidArgument("dense spans other than of floats do not travel packed");
  if (options.rows == Wire::kPacked || options.row_gradients == Wire::kPacked)
    return InvalidArgument("rows and their gradients do not travel packed");
  if (options.servers.size() > 64)
    return InvalidArgument("strategy.servers: {} servers; at most 64", options.servers.size());
  LinkOptions link;
  SLUICE_ASSIGN_OR_RETURN(link.token, ReadToken(options.config.token_file));
  link.servers = static_cast<int>(options.servers.size());
  link.name = options.name;
  link.worker = options.worker;
  link.config = options.config;
  link.layout = LayoutText(layout_);
  const auto begin = Clock::now();
  Status status = Join(link);
  // Servers that go back to a checkpoint meanwhile do not all do so at once.
  while (status.code() == StatusCode::kCancelled && SecondsSince(begin) < options.config.retry_s) status = Join(link);
  SLUICE_RETURN_IF_ERROR(status);
  heart_ = std::thread([this] { Beat(); });
  return Status::Ok();
}

// Joins all servers. The clocks begin with the latest of theirs: one that was restarted may be behind the others. No
// server takes a step beyond its own from the join on, so that no step of the clocks in between is missed anywhere.
template <class T>
Status ClientOf<T>::Join(LinkOptions link) {
  links_.clear();
  info_ = {};
  int64_t generation = 0;
  for (size_t s = 0; s < options_.servers.size(); ++s) {
    link.address = options_.servers[s];
    link.server = static_cast<int>(s);
    links_.push_back(std::make_unique<Link>(link, &counters_));
    SLUICE_RETURN_IF_ERROR(links_[s]->Connect(info_.client_id, info_.last_clock, generation));
    const proto::JoinReply& joined = links_[s]->joined();
    if (s > 0) {
      if (joined.staleness() != info_.staleness)
        return InvalidArgument("strategy: server {} keeps staleness {}, the first one {}", options_.servers[s],
                               joined.staleness(), info_.staleness);
      info_.last_clock = std::max<int64_t>(info_.last_clock, joined.last_clock());
      continue;
    }
    info_ = {joined.client_id(), joined.staleness(), joined.last_clock(), joined.samples()};
    generation = joined.generation();
    SLUICE_ASSIGN_OR_RETURN(auto inits, RowInitsFrom(joined, layout_));
    codec_ = BatchCodec<T>(layout_, options_, std::clamp<int>(static_cast<int>(joined.groups()), 1, kGroups),
                           InitialRows<T>(std::move(inits)));
    max_open_ = std::max<int64_t>(1, joined.max_open_batches());
    told_incarnation_ = joined.incarnation();
  }
  for (const auto& each : links_) SLUICE_RETURN_IF_ERROR(each->Begin(info_.last_clock));
  return Status::Ok();
}

template <class T>
ClientOf<T>::~ClientOf() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stop_.notify_all();
  if (heart_.joinable()) heart_.join();
}

// Signs of life. A first server that was restarted hears again which leases are finished: its checkpoint may be older.
template <class T>
void ClientOf<T>::Beat() {
  std::unique_lock lock(mutex_);
  const std::chrono::duration<double> pause(options_.config.heartbeat_s);
  while (!stop_.wait_for(lock, pause, [this] { return stopping_ || left_; })) {
    lock.unlock();
    for (const auto& link : links_) (void)link->Heartbeat();  // who is away is the links' affair
    const uint64_t incarnation = links_[0]->incarnation();
    lock.lock();
    if (incarnation == told_incarnation_) continue;
    const std::set<int64_t> finished = finished_;
    lock.unlock();
    Status status;
    for (const int64_t id : finished) {
      proto::FinishLeaseRequest request;
      request.set_client_id(info_.client_id);
      request.set_id(id);
      proto::Empty reply;
      status =
          links_[0]->Control([&](auto* stub, auto* context) { return stub->FinishLease(context, request, &reply); });
      if (!status.ok()) break;
    }
    if (!status.ok()) SLUICE_WARN("telling a restarted server which input is done: {}", status.message());
    lock.lock();
    told_incarnation_ = incarnation;
  }
}

template <class T>
Status ClientOf<T>::CheckPull(const PullRequest<T>& request, bool with_push) const {
  if (request.ids != nullptr && request.rows.size() != layout_.tables.size())
    return InvalidArgument("a pull has room for {} tables, the model has {}", request.rows.size(),
                           layout_.tables.size());
  if (request.mode != embedding::ResolveMode::kTrain) return Status::Ok();
  if (!options_.worker) return InvalidArgument("this client looks up only");
  if (open_.contains(request.clock)) return InvalidArgument("the batch of clock {} was pulled before", request.clock);
  if (static_cast<int64_t>(open_.size()) - with_push >= max_open_)
    return ResourceExhausted("{} batches are pulled and not pushed (service.max_open_batches)", open_.size());
  return Status::Ok();
}

template <class T>
Status ClientOf<T>::CheckPush(const PushRequest<T>& request) const {
  if (!open_.contains(request.clock)) return InvalidArgument("the batch of clock {} was not pulled", request.clock);
  if (open_.begin()->first != request.clock)
    return InvalidArgument("the batch of clock {} is pushed before that of clock {}", request.clock,
                           open_.begin()->first);
  if (request.ids != nullptr && request.grads.size() != layout_.tables.size())
    return InvalidArgument("a push has gradients of {} tables, the model has {}", request.grads.size(),
                           layout_.tables.size());
  return Status::Ok();
}

// Nothing is sent. A push is owed to the servers all the same, so that Flush fails too.
template <class T>
Pending ClientOf<T>::Refuse(const Status& why, bool push) {
  if (push) {
    std::lock_guard lock(mutex_);
    if (not_sent_.ok()) not_sent_ = why;
  }
  auto state = std::make_shared<PendingState>(1, &wait_ns_);
  state->End(why);
  return Pending(state);
}

template <class T>
Pending ClientOf<T>::Exchange(const PushRequest<T>* push, const PullRequest<T>* pull) {
  if (push != nullptr)
    if (const Status status = CheckPush(*push); !status.ok()) return Refuse(status, true);
  if (pull != nullptr)
    if (const Status status = CheckPull(*pull, push != nullptr); !status.ok()) return Refuse(status, push != nullptr);
  const OpenBatch* const pushed = push != nullptr ? &open_.begin()->second : nullptr;
  OpenBatch pulled;
  if (pull != nullptr)
    pulled.keys = pull->ids != nullptr ? codec_.Partition(*pull->ids) : std::vector<ServerKeys>(links_.size());
  auto state = std::make_shared<PendingState>(num_servers(), &wait_ns_);
  std::vector<std::shared_ptr<LinkCall>> calls;
  for (int s = 0; s < num_servers(); ++s) {
    const auto at = static_cast<size_t>(s);
    auto call = std::make_shared<LinkCall>();
    if (push != nullptr) {
      call->push = codec_.MakePush(*push, pushed->keys[at], s);
      call->needs_push_keys = links_[at]->incarnation() != pushed->incarnations[at];
    }
    if (pull != nullptr) {
      call->pull_clock = pull->clock;
      call->pull_keys = pulled.keys[at].keys;
      call->flags = codec_.PullFlags(*pull);
      if (pull->ids != nullptr) call->initial_rows = codec_.initial_rows();
      pulled.incarnations.push_back(links_[at]->incarnation());
      call->on_reply = [this, request = *pull, keys = pulled.keys[at], s](const Reply& reply) {
        return codec_.Scatter(request, keys, s, reply);
      };
    }
    call->on_end = [state](const Status& status) { state->End(status); };
    if (const Status status = links_[at]->CheckSize(*call); !status.ok()) return Refuse(status, push != nullptr);
    calls.push_back(std::move(call));
  }
  if (push != nullptr) {
    open_.erase(open_.begin());
    ++pushes_;
  }
  if (pull != nullptr) {
    if (pull->mode == embedding::ResolveMode::kTrain) open_[pull->clock] = std::move(pulled);
    ++pulls_;
  }
  for (size_t s = 0; s < calls.size(); ++s) links_[s]->Send(std::move(calls[s]));
  return Pending(state);
}

// ---- control

template <class T>
Status ClientOf<T>::OfferInput(const InputPlan& plan) {
  proto::InputPlan request;
  request.set_client_id(info_.client_id);
  request.set_ranges(plan.ranges);
  request.set_epochs(plan.epochs);
  request.set_fingerprint(plan.fingerprint);
  proto::Empty reply;
  return links_[0]->Control([&](auto* stub, auto* context) { return stub->OfferInput(context, request, &reply); });
}

template <class T>
Result<LeaseReply> ClientOf<T>::AcquireLease(std::span<const int64_t> held) {
  proto::AcquireLeaseRequest request;
  request.set_client_id(info_.client_id);
  request.mutable_held()->Add(held.begin(), held.end());
  proto::LeaseReply reply;
  SLUICE_RETURN_IF_ERROR(
      links_[0]->Control([&](auto* stub, auto* context) { return stub->AcquireLease(context, request, &reply); }));
  return LeaseReply{static_cast<LeaseState>(reply.state()), {reply.id(), reply.epoch(), reply.range(), reply.done()}};
}

template <class T>
Status ClientOf<T>::FinishLease(const Lease& lease) {
  SLUICE_RETURN_IF_ERROR(Flush());
  {
    std::lock_guard lock(mutex_);
    finished_.insert(lease.id);
  }
  proto::FinishLeaseRequest request;
  request.set_client_id(info_.client_id);
  request.set_id(lease.id);
  proto::Empty reply;
  return links_[0]->Control([&](auto* stub, auto* context) { return stub->FinishLease(context, request, &reply); });
}

template <class T>
Result<std::string> ClientOf<T>::Checkpoint() {
  proto::CheckpointReply reply;
  SLUICE_RETURN_IF_ERROR(
      links_[0]->Control([&](auto* stub, auto* context) { return stub->Checkpoint(context, {}, &reply); }, 3600));
  return reply.path();
}

template <class T>
Status ClientOf<T>::AwaitCheckpoint(double timeout_s) {
  SLUICE_RETURN_IF_ERROR(Flush());
  const auto begin = Clock::now();
  const std::chrono::duration<double> pause(std::min(0.2, options_.config.heartbeat_s));
  while (true) {
    bool all = true;
    for (const auto& link : links_) {
      SLUICE_ASSIGN_OR_RETURN(const bool durable, link->AllDurable());
      all = all && durable;
    }
    if (all) return Status::Ok();
    if (SecondsSince(begin) > timeout_s)
      return Status(StatusCode::kUnavailable, fmt::format("no checkpoint was written within {:.0f} s", timeout_s));
    std::this_thread::sleep_for(pause);
    for (const auto& link : links_) (void)link->Heartbeat();
  }
}

template <class T>
Status ClientOf<T>::Leave() {
  Status status = Flush();
  proto::LeaveRequest request;
  request.set_client_id(info_.client_id);
  for (const auto& link : links_) link->Leaving();
  // The first server last: from it the others hear of a client that is gone, one that is lost between two of these too.
  for (auto at = links_.rbegin(); at != links_.rend(); ++at) {
    Link* const link = at->get();
    proto::Empty reply;
    const Status left = link->Control([&](auto* stub, auto* context) { return stub->Leave(context, request, &reply); });
    if (status.ok()) status = left;
  }
  std::lock_guard lock(mutex_);
  left_ = true;
  stop_.notify_all();
  return status;
}

template <class T>
ClientStats ClientOf<T>::stats() const {
  ClientStats out;
  out.pulls = pulls_;
  out.pushes = pushes_;
  out.bytes_sent = counters_.sent;
  out.bytes_received = counters_.received;
  out.bytes_by_kind = {{"keys", counters_.keys},
                       {"rows", counters_.rows},
                       {"row gradients", counters_.row_gradients},
                       {"dense", counters_.dense},
                       {"dense gradients", counters_.dense_gradients}};
  int64_t known = 0;
  for (const auto& [kind, bytes] : out.bytes_by_kind) known += bytes;
  out.bytes_by_kind["control"] = out.bytes_sent + out.bytes_received - known;
  out.reconnects = counters_.reconnects;
  out.replayed_pushes = counters_.replayed;
  out.lost_pushes = counters_.lost;
  out.staleness_sum = counters_.staleness_sum;
  out.staleness_max = counters_.staleness_max;
  out.wait_s = static_cast<double>(wait_ns_.load()) * 1e-9;
  const auto summary = counters_.pulls.Summarise();
  out.latency_p50_ms = summary.p50_ms;
  out.latency_p99_ms = summary.p99_ms;
  return out;
}

}  // namespace

template <class T>
Result<std::unique_ptr<ParameterClient<T>>> ParameterClient<T>::Connect(const ClientOptions& options,
                                                                        const ModelLayout& layout) {
  auto client = std::make_unique<ClientOf<T>>();
  SLUICE_RETURN_IF_ERROR(client->Connect(options, layout));
  return std::unique_ptr<ParameterClient<T>>(std::move(client));
}
template class ParameterClient<float>;
template class ParameterClient<double>;

}  // namespace sluice::service
