#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <thread>

#include <grpcpp/alarm.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>

#include "base/log.h"
#include "service/grpc/control.h"
#include "service/grpc/row_stream.h"
#include "service/metrics_endpoint.h"
#include "service/parameter_server.h"

namespace sluice::service {
namespace {

constexpr int kMaxControlThreads = 64;
constexpr double kSilenceCheck_s = 0.25;
constexpr double kAway_s = 1.5;         // between two checks: this process was stopped, or had no processor
constexpr double kFollow_s = 1;         // between two looks at the other servers
constexpr double kPeerTimeout_s = 0.5;  // for one; who is away is told later what it has to hear

uint64_t RandomNumber() {
  std::random_device device;
  return device() | (uint64_t{device()} << 32);
}

// A piece of work for a thread of the completion queue.
struct Posted {
  grpc::Alarm alarm;
  std::function<void()> body;
};

class GrpcServer final : public ParameterServer {
 public:
  ~GrpcServer() override { Shutdown(0); }

  Status Start(std::unique_ptr<Backend> backend, ModelLayout layout, EngineOptions engine, ServiceState state,
               ServerOptions options, CheckpointHooks hooks);

  std::string address() const override { return address_; }
  Engine& engine() override { return *engine_; }
  Result<std::string> Checkpoint() override;
  bool first_leaves() const override { return first_leaves_.load(); }
  int64_t going_back() const override { return going_back_.load(); }
  void Shutdown(double grace_s) override;

 private:
  using Stub = proto::ParameterService::Stub;

  Status CheckOptions() const;
  Result<std::shared_ptr<grpc::ServerCredentials>> Credentials() const;
  void Serve();
  void Post(std::function<void()> body);
  void Watch();
  Status OpenPeers();
  std::unique_ptr<grpc::ClientContext> PeerContext(double timeout_s) const;
  // call(stub, context, server) on every other server at once.
  Status ForEachPeer(double timeout_s, const std::function<grpc::Status(Stub*, grpc::ClientContext*, size_t)>& call);
  // Each peer's own outcome.
  std::vector<Status> AskPeers(double timeout_s,
                               const std::function<grpc::Status(Stub*, grpc::ClientContext*, size_t)>& call);
  void LeadPeers(const AppliedBy& lost);
  void TellLeaving();
  void CompareDropped(size_t peer, const proto::FollowReply& reply);
  void GoBack(int64_t generation);
  Result<std::string> WriteCheckpoint(uint64_t cut, bool* committed);

  EngineOptions engine_options_;
  ServerOptions options_;
  CheckpointHooks hooks_;
  std::string address_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<ControlService> control_;
  grpc::AsyncGenericService rows_;
  std::unique_ptr<grpc::ServerCompletionQueue> queue_;
  RowStreams streams_;
  std::unique_ptr<grpc::Server> server_;
  std::vector<std::thread> threads_;
  std::unique_ptr<MetricsEndpoint> metrics_;

  std::mutex post_mutex_;
  bool queue_open_ = false;  // guarded by post_mutex_

  std::mutex checkpoint_mutex_;
  std::vector<std::unique_ptr<Stub>> peers_;  // of servers 1, 2, ...
  std::atomic<bool> first_leaves_{false};
  mutable std::mutex newest_mutex_;
  std::string newest_;

  std::atomic<int64_t> going_back_{0};

  // Clients that are not here any more and that a peer has not dropped, with their last applied pushes here; nothing
  // where they left in good order. By peer. Of the watcher.
  std::vector<std::map<uint64_t, std::optional<uint64_t>>> untold_;
  Clock::time_point looked_{};
  std::thread watcher_;
  std::mutex watch_mutex_;
  std::condition_variable watch_;
  bool stopping_ = false;  // guarded by watch_mutex_
  std::atomic<bool> draining_{false};
};

Status GrpcServer::CheckOptions() const {
  if (!IsAddress(options_.listen)) return InvalidArgument("--listen {}: host:port was expected", options_.listen);
  if (!options_.metrics.empty() && !IsAddress(options_.metrics))
    return InvalidArgument("--metrics {}: host:port was expected", options_.metrics);
  if (options_.tls_cert.empty() != options_.tls_key.empty())
    return InvalidArgument("--tls-cert and --tls-key go together");
  if (options_.token.empty() && !IsLoopback(options_.listen))
    return InvalidArgument(
        "--listen {}: other machines can reach this address; a shared token is needed (--token-file, or "
        "service.token_file)",
        options_.listen);
  if (engine_options_.servers > 1 && engine_options_.server == 0 &&
      options_.servers.size() != static_cast<size_t>(engine_options_.servers))
    return InvalidArgument(
        "strategy.servers: has {} addresses, and there are {} servers; the first one talks to the others",
        options_.servers.size(), engine_options_.servers);
  return Status::Ok();
}

Result<std::shared_ptr<grpc::ServerCredentials>> GrpcServer::Credentials() const {
  if (options_.tls_cert.empty()) return grpc::InsecureServerCredentials();
  auto cert = ReadWholeFile(options_.tls_cert);
  if (!cert.ok()) return cert.status().WithContext("--tls-cert");
  auto key = ReadWholeFile(options_.tls_key);
  if (!key.ok()) return key.status().WithContext("--tls-key");
  grpc::SslServerCredentialsOptions ssl;
  ssl.pem_key_cert_pairs.push_back({*key, *cert});
  return grpc::SslServerCredentials(ssl);
}

Status GrpcServer::Start(std::unique_ptr<Backend> backend, ModelLayout layout, EngineOptions engine, ServiceState state,
                         ServerOptions options, CheckpointHooks hooks) {
  options_ = std::move(options);
  hooks_ = std::move(hooks);
  engine.executor = [this](std::function<void()> body) { Post(std::move(body)); };
  engine_options_ = engine;
  SLUICE_RETURN_IF_ERROR(CheckOptions());
  SLUICE_ASSIGN_OR_RETURN(const auto credentials, Credentials());
  if (engine.server == 0) SLUICE_RETURN_IF_ERROR(OpenPeers());
  engine_ = Engine::Make(std::move(backend), std::move(layout), engine, std::move(state));

  ControlService::Parts parts;
  parts.engine = engine_.get();
  parts.options = engine_options_;
  parts.token = options_.token;
  parts.hooks = hooks_;
  parts.incarnation = RandomNumber();
  parts.cut_timeout_s = options_.cut_timeout_s;
  parts.groups = engine_options_.staleness == 0 ? 1 : kGroups;
  parts.checkpoint = [this] { return Checkpoint(); };
  parts.wrote = [this](const std::string& folder) {
    std::lock_guard lock(newest_mutex_);
    newest_ = folder;
  };
  parts.newest_checkpoint = [this] {
    std::lock_guard lock(newest_mutex_);
    return newest_;
  };
  parts.draining = [this] { return draining_.load(); };
  parts.go_back = [this](int64_t generation) { GoBack(generation); };
  parts.leaving = [this](bool leaving) { first_leaves_.store(leaving); };
  control_ = std::make_unique<ControlService>(std::move(parts));

  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(options_.listen, credentials, &port);
  builder.RegisterService(control_.get());
  builder.RegisterAsyncGenericService(&rows_);
  TuneTransport(engine_options_.config, [&](const char* name, int value) { builder.AddChannelArgument(name, value); });
  builder.AddChannelArgument("grpc.max_concurrent_streams", 64);
  builder.AddChannelArgument("grpc.max_metadata_size", 16 << 10);
  builder.SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MIN_POLLERS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MAX_POLLERS, 2);
  builder.SetResourceQuota(grpc::ResourceQuota("sluice").SetMaxThreads(kMaxControlThreads));
  queue_ = builder.AddCompletionQueue();
  server_ = builder.BuildAndStart();
  if (server_ == nullptr || port == 0) {
    queue_->Shutdown();
    return Status(StatusCode::kUnavailable,
                  fmt::format("--listen {}: the address cannot be used; is another server there?", options_.listen));
  }
  address_ = options_.listen.substr(0, options_.listen.rfind(':') + 1) + std::to_string(port);
  {
    std::lock_guard lock(post_mutex_);
    queue_open_ = true;
  }
  streams_.service = &rows_;
  streams_.queue = queue_.get();
  streams_.engine = engine_.get();
  streams_.token = options_.token;
  streams_.max_requests = 2 * engine_options_.config.max_open_batches + 4;
  RowStream::Accept(&streams_);
  for (int t = 0; t < std::max(1, engine_options_.threads); ++t) threads_.emplace_back([this] { Serve(); });
  watcher_ = std::thread([this] { Watch(); });
  if (!options_.metrics.empty()) {
    auto endpoint = MetricsEndpoint::Start(options_.metrics, engine_.get());
    if (!endpoint.ok()) return endpoint.status().WithContext("--metrics " + options_.metrics);
    metrics_ = std::move(endpoint).value();
  }
  return Status::Ok();
}

void GrpcServer::Serve() {
  void* tag = nullptr;
  bool ok = false;
  while (queue_->Next(&tag, &ok)) {
    // The lowest bit tells pieces of work from streams.
    const auto bits = reinterpret_cast<uintptr_t>(tag);
    if ((bits & 1) != 0) {
      const std::unique_ptr<Posted> posted(reinterpret_cast<Posted*>(bits & ~uintptr_t{1}));
      { std::lock_guard set(post_mutex_); }  // Post has let go of the alarm
      posted->body();
    } else {
      const RowStream::Tag at = *static_cast<RowStream::Tag*>(tag);
      at.stream->Proceed(at.operation, ok);
    }
  }
}

void GrpcServer::Post(std::function<void()> body) {
  {
    std::lock_guard lock(post_mutex_);
    if (queue_open_) {
      auto* const posted = new Posted{{}, std::move(body)};  // Serve deletes it
      posted->alarm.Set(queue_.get(), gpr_now(GPR_CLOCK_MONOTONIC),
                        reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(posted) | 1));
      return;
    }
  }
  body();
}

// ---- the first server's part

void GrpcServer::Watch() {
  std::unique_lock lock(watch_mutex_);
  auto checked = Clock::now();
  while (!watch_.wait_for(lock, std::chrono::duration<double>(kSilenceCheck_s), [this] { return stopping_; })) {
    lock.unlock();
    if (engine_options_.server != 0) {
      engine_->EndStaleCut(3 * options_.cut_timeout_s);
    } else {  // who leads the cuts ends them itself, however long the others write, and tells who is lost
      const bool away = SecondsSince(std::exchange(checked, Clock::now())) > kAway_s;
      const AppliedBy lost = engine_->TakeLost(away);
      if (engine_options_.servers > 1) LeadPeers(lost);
      if (engine_->LostTooMuch()) GoBack(engine_->generation() + 1);
    }
    lock.lock();
  }
}

// The one who serves acts on it.
void GrpcServer::GoBack(int64_t generation) {
  int64_t before = 0;
  if (going_back_.compare_exchange_strong(before, generation))
    SLUICE_WARN(
        "server {}: a failure lost more than service.max_lost_pushes allows ({}); back to the newest checkpoint",
        engine_options_.server, engine_options_.config.max_lost_pushes);
}

// Every peer hears of every client that is gone, those that are away once they are back, and of the generation.
void GrpcServer::LeadPeers(const AppliedBy& lost) {
  untold_.resize(static_cast<size_t>(engine_options_.servers - 1));
  for (auto& peer : untold_)
    for (const auto& [client, applied] : lost) peer[client] = applied;
  const bool news = std::any_of(untold_.begin(), untold_.end(), [](const auto& peer) { return !peer.empty(); });
  if (!news && SecondsSince(looked_) < kFollow_s) return;
  std::unique_lock peers(checkpoint_mutex_, std::try_to_lock);  // a checkpoint needs them
  if (!peers.owns_lock()) return;
  looked_ = Clock::now();
  std::vector<proto::FollowReply> replies(peers_.size());
  const auto statuses = AskPeers(kPeerTimeout_s, [&](Stub* stub, grpc::ClientContext* context, size_t p) {
    proto::FollowRequest request;
    request.set_generation(engine_->generation());
    for (const auto& [client, applied] : untold_[p]) request.add_lost(client);
    return stub->Follow(context, request, &replies[p]);
  });
  std::set<uint64_t> here;
  for (const ClientView& client : engine_->Clients()) here.insert(client.id);
  for (size_t p = 0; p < peers_.size(); ++p) {
    if (!statuses[p].ok()) continue;  // away
    if (replies[p].generation() > engine_->generation() || replies[p].lost_too_much())
      GoBack(std::max(replies[p].generation(), engine_->generation()) + 1);
    if (replies[p].generation() != engine_->generation()) continue;
    CompareDropped(p, replies[p]);
    untold_[p].clear();
    // A client joins the first server before the others, and leaves it after them: one that is there alone is gone.
    for (const uint64_t client : replies[p].clients())
      if (!here.contains(client)) untold_[p].emplace(client, std::nullopt);
  }
}

// The others need not wait for a checkpoint of this one. REQUIRES: Watch has ended, since it says the contrary.
void GrpcServer::TellLeaving() {
  std::lock_guard peers(checkpoint_mutex_);
  proto::FollowRequest request;
  request.set_generation(engine_->generation());
  request.set_leaving(true);
  std::vector<proto::FollowReply> replies(peers_.size());
  AskPeers(kPeerTimeout_s, [&](Stub* stub, grpc::ClientContext* context, size_t p) {
    return stub->Follow(context, request, &replies[p]);
  });
}

// What a lost client had pushed to some servers and not to others.
void GrpcServer::CompareDropped(size_t peer, const proto::FollowReply& reply) {
  for (const auto& dropped : reply.dropped()) {
    const auto told = untold_[peer].find(dropped.client_id());
    if (told == untold_[peer].end() || !told->second || *told->second == dropped.sequence()) continue;
    const uint64_t here = *told->second, there = dropped.sequence();
    const uint64_t pushes = here > there ? here - there : there - here;
    engine_->counters().partial_pushes.fetch_add(static_cast<int64_t>(pushes), std::memory_order_relaxed);
    SLUICE_WARN("client {:x} is gone: server {} applied {} of its pushes, server 0 {}", dropped.client_id(), peer + 1,
                there, here);
  }
}

// Channels to the other servers, over which nothing travels yet: only a setting can be wrong.
Status GrpcServer::OpenPeers() {
  for (size_t s = 1; s < options_.servers.size(); ++s) {
    SLUICE_ASSIGN_OR_RETURN(auto channel, OpenChannel(options_.servers[s], engine_options_.config));
    peers_.push_back(proto::ParameterService::NewStub(channel));
  }
  return Status::Ok();
}

std::unique_ptr<grpc::ClientContext> GrpcServer::PeerContext(double timeout_s) const {
  auto context = std::make_unique<grpc::ClientContext>();
  context->set_deadline(DeadlineIn(timeout_s));
  if (!options_.token.empty()) context->AddMetadata(kTokenKey, "Bearer " + options_.token);
  return context;
}

std::vector<Status> GrpcServer::AskPeers(double timeout_s,
                                         const std::function<grpc::Status(Stub*, grpc::ClientContext*, size_t)>& call) {
  std::vector<Status> statuses(peers_.size());
  std::vector<std::thread> threads;
  for (size_t p = 0; p < peers_.size(); ++p) {
    threads.emplace_back([&, p] {
      const auto context = PeerContext(timeout_s);
      statuses[p] = FromGrpc(call(peers_[p].get(), context.get(), p))
                        .WithContext(fmt::format("server {} ({})", p + 1, options_.servers[p + 1]));
    });
  }
  for (auto& thread : threads) thread.join();
  return statuses;
}

Status GrpcServer::ForEachPeer(double timeout_s,
                               const std::function<grpc::Status(Stub*, grpc::ClientContext*, size_t)>& call) {
  for (const Status& status : AskPeers(timeout_s, call)) SLUICE_RETURN_IF_ERROR(status);
  return Status::Ok();
}

Result<std::string> GrpcServer::Checkpoint() {
  if (hooks_.create == nullptr) return InvalidArgument("this server writes no checkpoints");
  std::lock_guard lock(checkpoint_mutex_);
  if (going_back_ != 0) return Status(StatusCode::kUnavailable, "the servers are about to go back to a checkpoint");
  SLUICE_RETURN_IF_ERROR(engine_->MayCut());
  bool committed = false;
  const uint64_t cut = RandomNumber();
  auto path = WriteCheckpoint(cut, &committed);
  engine_->EndCut(committed);
  const Status told = ForEachPeer(10, [&](Stub* stub, grpc::ClientContext* context, size_t) {
    proto::EndCutRequest request;
    request.set_cut(cut);
    request.set_committed(committed);
    proto::Empty reply;
    return stub->EndCut(context, request, &reply);
  });
  if (!told.ok()) SLUICE_WARN("ending a cut: {}", told.message());
  if (path.ok()) {
    std::lock_guard newest(newest_mutex_);
    newest_ = *path;
  }
  return path;
}

Result<std::string> GrpcServer::WriteCheckpoint(uint64_t cut, bool* committed) {
  std::map<uint64_t, uint64_t> upto;
  const auto include = [&](uint64_t client, uint64_t sequence) { upto[client] = std::max(upto[client], sequence); };
  std::vector<proto::BeginCutReply> begun(peers_.size());
  // The others first, so that a failure to reach one stops nobody else. A peer that is restarted between the calls does
  // not know the cut and refuses to write it.
  proto::BeginCutRequest begin;
  begin.set_cut(cut);
  begin.set_generation(engine_->generation());
  SLUICE_RETURN_IF_ERROR(ForEachPeer(options_.cut_timeout_s, [&](Stub* stub, grpc::ClientContext* context, size_t p) {
    return stub->BeginCut(context, begin, &begun[p]);
  }));
  for (const auto& [client, sequence] : engine_->BeginCut(cut)) include(client, sequence);
  int64_t step = engine_->step();
  for (const auto& reply : begun) {
    step = std::max(step, reply.step());
    for (const auto& applied : reply.applied()) {
      // What it pushed to some servers only is not settled before they have dropped it too.
      if (engine_->WasDropped(applied.client_id()))
        return Status(StatusCode::kUnavailable, "a client that is lost is still known to other servers");
      include(applied.client_id(), applied.sequence());
    }
  }
  SLUICE_ASSIGN_OR_RETURN(const std::string folder, hooks_.create(step));
  std::vector<CheckpointHooks::Part> others(peers_.size());
  std::vector<proto::WriteCutReply> written(peers_.size());
  const AppliedBy targets(upto.begin(), upto.end());
  SLUICE_RETURN_IF_ERROR(ForEachPeer(3600, [&](Stub* stub, grpc::ClientContext* context, size_t p) {
    proto::WriteCutRequest request;
    request.set_cut(cut);
    request.set_folder(folder);
    request.set_step(step);
    for (const auto& [client, sequence] : targets) {
      auto* applied = request.add_upto();
      applied->set_client_id(client);
      applied->set_sequence(sequence);
    }
    return stub->WriteCut(context, request, &written[p]);
  }));
  auto missing = engine_->ReachCut(targets, options_.cut_timeout_s);
  for (size_t p = 0; p < written.size(); ++p) {
    others[p].sections = written[p].sections();
    others[p].rows.assign(written[p].rows().begin(), written[p].rows().end());
    for (const auto& late : written[p].missing()) missing.emplace_back(late.client_id(), late.sequence());
  }
  // A client that lives sends them, perhaps once more after a server's restart: the next attempt will find them.
  if (!missing.empty())
    return Status(StatusCode::kUnavailable, fmt::format("pushes of client {:x} after {} have not reached all servers",
                                                        missing[0].first, missing[0].second));
  SLUICE_RETURN_IF_ERROR(engine_->AtRest(
      cut, [&](const ServiceState& state) { return hooks_.write(folder, step, state, others).status(); }));
  SLUICE_RETURN_IF_ERROR(engine_->MayCut());  // nothing was lost meanwhile
  SLUICE_ASSIGN_OR_RETURN(std::string path, hooks_.commit(others));
  *committed = true;
  return path;
}

void GrpcServer::Shutdown(double grace_s) {
  if (draining_.exchange(true) || engine_ == nullptr) return;
  metrics_.reset();
  {
    std::lock_guard lock(watch_mutex_);
    stopping_ = true;
  }
  watch_.notify_all();
  if (watcher_.joinable()) watcher_.join();
  if (server_ == nullptr) return;
  if (engine_options_.server == 0) TellLeaving();
  if (auto* health = server_->GetHealthCheckService()) health->SetServingStatus(false);
  engine_->Shutdown();
  server_->Shutdown(DeadlineIn(grace_s));
  if (!threads_.empty()) {  // calls are cancelled by now, so every stream comes to its end
    std::unique_lock lock(streams_.mutex);
    streams_.ended.wait(lock, [this] { return streams_.live == 0; });
  }
  {
    std::lock_guard lock(post_mutex_);
    queue_open_ = false;
  }
  queue_->Shutdown();
  for (auto& thread : threads_) thread.join();
  if (threads_.empty()) {
    void* tag = nullptr;
    bool ok = false;
    while (queue_->Next(&tag, &ok)) {
    }
  }
}

}  // namespace

Result<std::unique_ptr<ParameterServer>> ParameterServer::Start(std::unique_ptr<Backend> backend, ModelLayout layout,
                                                                EngineOptions engine, ServiceState state,
                                                                ServerOptions options, CheckpointHooks hooks) {
  auto server = std::make_unique<GrpcServer>();
  SLUICE_RETURN_IF_ERROR(server->Start(std::move(backend), std::move(layout), std::move(engine), std::move(state),
                                       std::move(options), std::move(hooks)));
  return std::unique_ptr<ParameterServer>(std::move(server));
}

}  // namespace sluice::service
