#include "service/grpc/joining.h"

#include <algorithm>
#include <thread>

namespace sluice::service {

Result<std::vector<embedding::RowInit>> RowInitsFrom(const proto::JoinReply& reply, const ModelLayout& layout) {
  if (reply.row_inits_size() != static_cast<int>(layout.tables.size()))
    return DataLoss("a server describes the initial rows of {} tables; the model has {}", reply.row_inits_size(),
                    layout.tables.size());
  std::vector<embedding::RowInit> inits;
  for (size_t t = 0; t < layout.tables.size(); ++t) {
    const proto::RowInit& from = reply.row_inits(static_cast<int>(t));
    std::vector<embedding::ColumnInit> columns;
    for (const auto& range : from.columns()) {
      if (range.kind() > static_cast<uint32_t>(embedding::InitKind::kNormal))
        return DataLoss("a server describes initial rows of table {} in a way {} that this client does not know",
                        layout.tables[t].name, range.kind());
      columns.push_back({range.begin(), range.end(), static_cast<embedding::InitKind>(range.kind()), range.scale()});
    }
    auto init = embedding::RowInit::Make({}, layout.tables[t].dim, std::move(columns), from.seed());
    if (!init.ok())
      return DataLoss("a server's initial rows of table {}: {}", layout.tables[t].name, init.status().message());
    inits.push_back(std::move(init).value());
  }
  return inits;
}

Status ServerChannel::Open() {
  SLUICE_ASSIGN_OR_RETURN(channel_, OpenChannel(options_.address, options_.config));
  control_ = proto::ParameterService::NewStub(channel_);
  rows_ = std::make_unique<grpc::GenericStub>(channel_);
  return Status::Ok();
}

Status ServerChannel::Try(const Call& call, double timeout_s) {
  grpc::ClientContext context;
  context.set_deadline(DeadlineIn(timeout_s > 0 ? timeout_s : options_.config.connect_timeout_s));
  if (!options_.token.empty()) context.AddMetadata(kTokenKey, "Bearer " + options_.token);
  return FromGrpc(call(control_.get(), &context));
}

Status ServerChannel::Join(const JoinAs& as, proto::JoinReply* reply) {
  proto::JoinRequest request;
  request.set_protocol(kProtocol);
  request.set_name(options_.name);
  request.set_worker(options_.worker);
  request.set_layout(options_.layout);
  request.set_servers(static_cast<uint32_t>(options_.servers));
  request.set_shard(static_cast<uint32_t>(options_.server));
  request.set_begins(as.begins);
  request.set_client_id(as.client_id);
  request.set_generation(as.generation);
  request.set_clock(as.clock);
  request.set_first_sequence(as.first_sequence);
  return Try([&](Stub* stub, grpc::ClientContext* context) { return stub->Join(context, request, reply); });
}

// Calls that fail at once move nothing on: without somebody who waits, gRPC looks after a channel that is being made
// every five seconds only.
void ServerChannel::AwaitServer(double seconds) { (void)channel_->WaitForConnected(DeadlineIn(seconds)); }

Status ServerChannel::JoinPatiently(const JoinAs& as, proto::JoinReply* reply) {
  const auto begin = Clock::now();
  double pause_s = kFirstPause_s;
  Status status = Join(as, reply);
  while (MayPass(status) && SecondsSince(begin) < options_.config.retry_s) {
    std::this_thread::sleep_for(std::chrono::duration<double>(kFirstPause_s));
    AwaitServer(pause_s);
    pause_s = std::min(2 * pause_s, kLongestPause_s);
    status = Join(as, reply);
  }
  return status.WithContext(fmt::format("parameter server {}", options_.address));
}

Status ServerChannel::Heartbeat(uint64_t client_id, proto::HeartbeatReply* reply) {
  proto::ClientRequest request;
  request.set_client_id(client_id);
  // Short: a server that is stopped must not keep the others from hearing of this client.
  return Try([&](Stub* stub, grpc::ClientContext* context) { return stub->Heartbeat(context, request, reply); },
             std::max(0.5, options_.config.heartbeat_s));
}

std::unique_ptr<grpc::GenericClientAsyncReaderWriter> ServerChannel::PrepareRows(uint64_t client_id, uint64_t session,
                                                                                 grpc::ClientContext* context,
                                                                                 grpc::CompletionQueue* queue) {
  context->AddMetadata(kClientKey, std::to_string(client_id));
  context->AddMetadata(kSessionKey, std::to_string(session));
  if (!options_.token.empty()) context->AddMetadata(kTokenKey, "Bearer " + options_.token);
  return rows_->PrepareCall(context, kRowsMethod, queue);
}

}  // namespace sluice::service
