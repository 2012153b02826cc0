#include "service/grpc/control.h"

#include <utility>

#include "service/engine_impl.h"
#include "service/grpc/row_stream.h"

namespace sluice::service {
namespace {

constexpr size_t kMaxText = size_t{4} << 20;
constexpr size_t kMaxName = 256;

}  // namespace

grpc::Status ControlService::Answer(Context* context, const std::function<Status()>& body) {
  if (!TokenMatches(context->client_metadata(), parts_.token))
    return {grpc::StatusCode::UNAUTHENTICATED, "the token is missing or wrong (service.token_file)"};
  Status status;
  const Status thrown = Guarded([&] { status = body(); });
  return ToGrpc(thrown.ok() ? status : thrown);
}

Status ControlService::CheckLeads() const {
  if (parts_.options.server == 0) return Status::Ok();
  return InvalidArgument("server {} does not coordinate; ask the first one", parts_.options.server);
}

Status ControlService::CheckCut(uint64_t cut) const {
  if (cut != 0 && cut == cut_.load()) return Status::Ok();
  return Status(StatusCode::kUnavailable, "this server was not there when the checkpoint began");
}

grpc::Status ControlService::Join(Context* context, const proto::JoinRequest* request, proto::JoinReply* reply) {
  return Answer(context, [&]() -> Status {
    if (request->protocol() != kProtocol)
      return InvalidArgument("the client speaks version {} of the protocol, the server version {}", request->protocol(),
                             kProtocol);
    if (request->layout().size() > kMaxText || request->name().size() > kMaxName)
      return InvalidArgument("a join with {} bytes of layout and {} of name", request->layout().size(),
                             request->name().size());
    if (parts_.draining()) return Status(StatusCode::kUnavailable, "the server is shutting down");
    SLUICE_ASSIGN_OR_RETURN(
        const JoinOutcome outcome,
        parts_.engine->Join({request->name(), context->peer(), request->worker(), request->layout(),
                             static_cast<int>(request->servers()), static_cast<int>(request->shard()),
                             request->client_id(), request->clock(), request->begins(), request->generation(),
                             request->first_sequence()}));
    const ServiceConfig& config = parts_.options.config;
    reply->set_client_id(outcome.client_id);
    reply->set_session(outcome.session);
    reply->set_staleness(parts_.options.staleness);
    reply->set_last_clock(outcome.last_clock);
    reply->set_applied(outcome.applied);
    reply->set_durable(outcome.durable);
    reply->set_incarnation(parts_.incarnation);
    reply->set_generation(parts_.engine->generation());
    reply->set_lost(outcome.lost);
    reply->set_samples(outcome.samples);
    reply->set_known(outcome.known);
    reply->set_max_open_batches(static_cast<uint32_t>(config.max_open_batches));
    reply->set_max_handles(static_cast<uint64_t>(config.max_handles));
    reply->set_max_message_bytes(static_cast<uint64_t>(config.max_message_bytes));
    reply->set_max_request_rows(static_cast<uint64_t>(config.max_request_rows));
    reply->set_groups(static_cast<uint32_t>(parts_.groups));
    for (const embedding::RowInit& init : parts_.engine->row_inits()) {
      proto::RowInit* const out = reply->add_row_inits();
      out->set_seed(init.seed());
      for (const embedding::ColumnInit& columns : init.columns()) {
        proto::RowInit::Columns* const range = out->add_columns();
        range->set_begin(columns.begin);
        range->set_end(columns.end);
        range->set_kind(static_cast<uint32_t>(columns.kind));
        range->set_scale(columns.scale);
      }
    }
    return Status::Ok();
  });
}

grpc::Status ControlService::Heartbeat(Context* context, const proto::ClientRequest* request,
                                       proto::HeartbeatReply* reply) {
  return Answer(context, [&] {
    uint64_t durable = 0;
    reply->set_known(parts_.engine->Heartbeat(request->client_id(), &durable));
    reply->set_durable(durable);
    reply->set_draining(parts_.draining());
    return Status::Ok();
  });
}

grpc::Status ControlService::Leave(Context* context, const proto::LeaveRequest* request, proto::Empty*) {
  return Answer(context, [&] { return parts_.engine->Leave(request->client_id()); });
}

grpc::Status ControlService::OfferInput(Context* context, const proto::InputPlan* request, proto::Empty*) {
  return Answer(context, [&]() -> Status {
    SLUICE_RETURN_IF_ERROR(CheckLeads());
    return parts_.engine->OfferInput(request->client_id(),
                                     {request->ranges(), request->epochs(), request->fingerprint()});
  });
}

grpc::Status ControlService::AcquireLease(Context* context, const proto::AcquireLeaseRequest* request,
                                          proto::LeaseReply* reply) {
  return Answer(context, [&]() -> Status {
    SLUICE_RETURN_IF_ERROR(CheckLeads());
    if (request->held_size() > kMaxHeldLeases)
      return InvalidArgument("a worker holds {} leases; at most {}", request->held_size(), kMaxHeldLeases);
    const std::vector<int64_t> held(request->held().begin(), request->held().end());
    SLUICE_ASSIGN_OR_RETURN(const service::LeaseReply lease, parts_.engine->AcquireLease(request->client_id(), held));
    reply->set_state(static_cast<uint32_t>(lease.state));
    reply->set_id(lease.lease.id);
    reply->set_epoch(lease.lease.epoch);
    reply->set_range(lease.lease.range);
    reply->set_done(lease.lease.done);
    return Status::Ok();
  });
}

grpc::Status ControlService::FinishLease(Context* context, const proto::FinishLeaseRequest* request, proto::Empty*) {
  return Answer(context, [&]() -> Status {
    SLUICE_RETURN_IF_ERROR(CheckLeads());
    return parts_.engine->FinishLease(request->client_id(), request->id());
  });
}

grpc::Status ControlService::Checkpoint(Context* context, const proto::Empty*, proto::CheckpointReply* reply) {
  return Answer(context, [&]() -> Status {
    SLUICE_RETURN_IF_ERROR(CheckLeads());
    SLUICE_ASSIGN_OR_RETURN(*reply->mutable_path(), parts_.checkpoint());
    return Status::Ok();
  });
}

grpc::Status ControlService::BeginCut(Context* context, const proto::BeginCutRequest* request,
                                      proto::BeginCutReply* reply) {
  return Answer(context, [&]() -> Status {
    if (request->generation() != parts_.engine->generation() || parts_.engine->LostTooMuch())
      return Status(StatusCode::kUnavailable, "this server is about to go back to a checkpoint");
    cut_ = request->cut();
    for (const auto& [client, sequence] : parts_.engine->BeginCut(request->cut())) {
      auto* applied = reply->add_applied();
      applied->set_client_id(client);
      applied->set_sequence(sequence);
    }
    reply->set_step(parts_.engine->step());
    return Status::Ok();
  });
}

grpc::Status ControlService::WriteCut(Context* context, const proto::WriteCutRequest* request,
                                      proto::WriteCutReply* reply) {
  return Answer(context, [&]() -> Status {
    if (parts_.hooks.write == nullptr) return InvalidArgument("this server writes no checkpoints");
    SLUICE_RETURN_IF_ERROR(CheckCut(request->cut()));
    AppliedBy upto;
    for (const auto& applied : request->upto()) upto.emplace_back(applied.client_id(), applied.sequence());
    for (const auto& [client, sequence] : parts_.engine->ReachCut(upto, parts_.cut_timeout_s)) {
      auto* missing = reply->add_missing();
      missing->set_client_id(client);
      missing->set_sequence(sequence);
    }
    if (reply->missing_size() > 0) return Status::Ok();  // the first server ends the cut
    SLUICE_RETURN_IF_ERROR(parts_.engine->AtRest(request->cut(), [&](const ServiceState& state) -> Status {
      SLUICE_ASSIGN_OR_RETURN(const CheckpointHooks::Part part,
                              parts_.hooks.write(request->folder(), request->step(), state, {}));
      reply->set_sections(part.sections);
      for (const int64_t rows : part.rows) reply->add_rows(rows);
      return Status::Ok();
    }));
    if (parts_.engine->LostTooMuch())  // meanwhile
      return Status(StatusCode::kUnavailable, "this server is about to go back to a checkpoint");
    parts_.wrote(request->folder());
    return Status::Ok();
  });
}

grpc::Status ControlService::EndCut(Context* context, const proto::EndCutRequest* request, proto::Empty*) {
  return Answer(context, [&]() -> Status {
    SLUICE_RETURN_IF_ERROR(CheckCut(request->cut()));
    cut_ = 0;
    parts_.engine->EndCut(request->committed());
    return Status::Ok();
  });
}

grpc::Status ControlService::Follow(Context* context, const proto::FollowRequest* request, proto::FollowReply* reply) {
  return Answer(context, [&]() -> Status {
    Engine& engine = *parts_.engine;
    parts_.leaving(request->leaving());
    reply->set_generation(engine.generation());
    if (request->generation() != engine.generation()) {
      if (request->generation() > engine.generation()) parts_.go_back(request->generation());
      return Status::Ok();
    }
    for (const uint64_t client : request->lost()) {
      const auto applied = engine.Drop(client);
      if (!applied) continue;
      auto* dropped = reply->add_dropped();
      dropped->set_client_id(client);
      dropped->set_sequence(*applied);
    }
    for (const ClientView& client : engine.Clients()) reply->add_clients(client.id);
    reply->set_lost_too_much(engine.LostTooMuch());
    return Status::Ok();
  });
}

grpc::Status ControlService::Inspect(Context* context, const proto::Empty*, proto::InspectReply* reply) {
  return Answer(context, [&] {
    Engine& engine = *parts_.engine;
    Counters& counters = engine.counters();
    reply->set_shard(static_cast<uint32_t>(parts_.options.server));
    reply->set_servers(static_cast<uint32_t>(parts_.options.servers));
    reply->set_uptime_s(SecondsSince(parts_.started));
    reply->set_step(engine.step());
    reply->set_samples(engine.samples());
    reply->set_missing_samples(engine.missing_samples());
    reply->set_lost_pushes(counters.lost_pushes);
    reply->set_partial_pushes(counters.partial_pushes);
    reply->set_generation(engine.generation());
    reply->set_staleness_bound(parts_.options.staleness);
    reply->set_bytes_received(counters.bytes_received);
    reply->set_bytes_sent(counters.bytes_sent);
    reply->set_pushes(counters.pushes);
    reply->set_repeated_pushes(counters.repeated_pushes);
    reply->set_rejected_requests(counters.rejected);
    reply->set_staleness_mean(
        counters.pushes > 0 ? static_cast<double>(counters.staleness_sum) / static_cast<double>(counters.pushes) : 0);
    reply->set_staleness_max(counters.staleness_max);
    reply->set_params(engine.backend().num_params());
    reply->set_checkpoint(parts_.newest_checkpoint());
    const std::pair<const char*, const Latencies*> kinds[] = {
        {"pull", &counters.pulls}, {"push", &counters.pushes_time}, {"lookup", &counters.lookups}};
    for (const auto& [kind, latencies] : kinds) {
      const auto summary = latencies->Summarise();
      auto* out = reply->add_requests();
      out->set_kind(kind);
      out->set_count(static_cast<uint64_t>(summary.count));
      out->set_per_s(summary.per_s);
      out->set_p50_ms(summary.p50_ms);
      out->set_p99_ms(summary.p99_ms);
    }
    int64_t memory = 0;
    for (const auto& table : engine.backend().Report()) {
      auto* out = reply->add_tables();
      out->set_name(table.name);
      out->set_dim(table.dim);
      out->set_rows(table.stats.rows);
      out->set_memory_bytes(table.stats.memory_bytes);
      out->set_inserted(table.stats.inserted);
      out->set_expired(table.stats.expired);
      out->set_rejected(table.stats.rejected);
      memory += table.stats.memory_bytes;
    }
    reply->set_memory_bytes(memory);
    for (const auto& client : engine.Clients()) {
      auto* out = reply->add_clients();
      out->set_client_id(client.id);
      out->set_name(client.name);
      out->set_address(client.address);
      out->set_worker(client.worker);
      out->set_clock(client.clock);
      out->set_applied(client.applied);
      out->set_open_batches(client.open_batches);
      out->set_handles(client.handles);
      out->set_silent_s(client.silent_s);
    }
    return Status::Ok();
  });
}

}  // namespace sluice::service
