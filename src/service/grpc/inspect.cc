#include <nlohmann/json.hpp>

#include "parameter_service.grpc.pb.h"
#include "service/grpc/transport.h"
#include "service/parameter_server.h"

namespace sluice::service {
namespace {

using Json = nlohmann::json;

Json ToJson(const proto::InspectReply& reply) {
  Json json = {{"server", reply.shard()},
               {"servers", reply.servers()},
               {"uptime_s", reply.uptime_s()},
               {"step", reply.step()},
               {"samples", reply.samples()},
               {"missing_samples", reply.missing_samples()},
               {"lost_pushes", reply.lost_pushes()},
               {"partial_pushes", reply.partial_pushes()},
               {"generation", reply.generation()},
               {"staleness_bound", reply.staleness_bound()},
               {"memory_bytes", reply.memory_bytes()},
               {"params", reply.params()},
               {"bytes_received", reply.bytes_received()},
               {"bytes_sent", reply.bytes_sent()},
               {"pushes", reply.pushes()},
               {"repeated_pushes", reply.repeated_pushes()},
               {"rejected_requests", reply.rejected_requests()},
               {"staleness_mean", reply.staleness_mean()},
               {"staleness_max", reply.staleness_max()},
               {"checkpoint", reply.checkpoint()},
               {"requests", Json::object()},
               {"tables", Json::array()},
               {"clients", Json::array()}};
  for (const auto& kind : reply.requests())
    json["requests"][kind.kind()] = {
        {"count", kind.count()}, {"per_s", kind.per_s()}, {"p50_ms", kind.p50_ms()}, {"p99_ms", kind.p99_ms()}};
  for (const auto& table : reply.tables())
    json["tables"].push_back({{"name", table.name()},
                              {"dim", table.dim()},
                              {"rows", table.rows()},
                              {"memory_bytes", table.memory_bytes()},
                              {"inserted", table.inserted()},
                              {"expired", table.expired()},
                              {"rejected", table.rejected()}});
  for (const auto& client : reply.clients())
    json["clients"].push_back({{"id", client.client_id()},
                               {"name", client.name()},
                               {"address", client.address()},
                               {"worker", client.worker()},
                               {"clock", client.clock()},
                               {"pushes", client.applied()},
                               {"open_batches", client.open_batches()},
                               {"handles", client.handles()},
                               {"silent_s", client.silent_s()}});
  return json;
}

std::string Megabytes(int64_t bytes) { return fmt::format("{:.1f} MB", static_cast<double>(bytes) * 1e-6); }

std::string ToText(const proto::InspectReply& reply) {
  const std::string bound = reply.staleness_bound() < 0 ? "none" : std::to_string(reply.staleness_bound());
  std::string text = fmt::format(
      "parameter server {} of {}, up {:.0f} s, step {}, {} samples\n"
      "memory {}, {} dense parameters, received {}, sent {}\n"
      "pushes {} ({} came again, {} requests refused), staleness mean {:.2f}, most {}, bound {}\n",
      reply.shard(), reply.servers(), reply.uptime_s(), reply.step(), reply.samples(), Megabytes(reply.memory_bytes()),
      reply.params(), Megabytes(reply.bytes_received()), Megabytes(reply.bytes_sent()), reply.pushes(),
      reply.repeated_pushes(), reply.rejected_requests(), reply.staleness_mean(), reply.staleness_max(), bound);
  if (reply.missing_samples() + reply.lost_pushes() + reply.partial_pushes() > 0)
    text += fmt::format(
        "after failures: {} samples claimed and not applied here, {} pushes lost, {} applied by some servers only\n",
        reply.missing_samples(), reply.lost_pushes(), reply.partial_pushes());
  if (reply.generation() > 0)
    text += fmt::format("went back to a checkpoint {} times, with all servers\n", reply.generation());
  if (!reply.checkpoint().empty()) text += fmt::format("checkpoint {}\n", reply.checkpoint());
  text += fmt::format("\n{:<8} {:>12} {:>10} {:>9} {:>9}\n", "request", "count", "per s", "p50 ms", "p99 ms");
  for (const auto& kind : reply.requests())
    text += fmt::format("{:<8} {:>12} {:>10.1f} {:>9.3f} {:>9.3f}\n", kind.kind(), kind.count(), kind.per_s(),
                        kind.p50_ms(), kind.p99_ms());
  text += fmt::format("\n{:<24} {:>5} {:>12} {:>12} {:>12} {:>10}\n", "table", "dim", "rows", "memory", "inserted",
                      "expired");
  for (const auto& table : reply.tables())
    text += fmt::format("{:<24} {:>5} {:>12} {:>12} {:>12} {:>10}\n", table.name(), table.dim(), table.rows(),
                        Megabytes(table.memory_bytes()), table.inserted(), table.expired());
  text += fmt::format("\n{:<16} {:<24} {:>8} {:>8} {:>6} {:>10} {:>9}\n", "client", "address", "clock", "pushes",
                      "open", "handles", "silent s");
  for (const auto& client : reply.clients())
    text += fmt::format("{:<16} {:<24} {:>8} {:>8} {:>6} {:>10} {:>9.1f}\n",
                        client.name() + (client.worker() ? "" : " (reads)"), client.address(), client.clock(),
                        client.applied(), client.open_batches(), client.handles(), client.silent_s());
  return text;
}

}  // namespace

Result<std::string> InspectServer(const std::string& address, const ServiceConfig& config, bool json) {
  SLUICE_ASSIGN_OR_RETURN(const std::string token, ReadToken(config.token_file));
  SLUICE_ASSIGN_OR_RETURN(const auto channel, OpenChannel(address, config));
  const auto stub = proto::ParameterService::NewStub(channel);
  grpc::ClientContext context;
  context.set_deadline(DeadlineIn(config.connect_timeout_s));
  if (!token.empty()) context.AddMetadata(kTokenKey, "Bearer " + token);
  proto::InspectReply reply;
  SLUICE_RETURN_IF_ERROR(FromGrpc(stub->Inspect(&context, {}, &reply)).WithContext("parameter server " + address));
  return json ? ToJson(reply).dump(1) : ToText(reply);
}

}  // namespace sluice::service
