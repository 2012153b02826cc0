#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <grpcpp/generic/generic_stub.h>

#include "embedding/row_init.h"
#include "parameter_service.grpc.pb.h"
#include "service/grpc/transport.h"
#include "service/parameter_client.h"

namespace sluice::service {

struct LinkOptions {
  std::string address;
  int server = 0, servers = 1;
  std::string name, layout, token;
  bool worker = true;
  ServiceConfig config;
};

// What a client says of its own state when it joins a server; layout, name and the rest come from its options.
struct JoinAs {
  uint64_t client_id = 0;  // 0: as a new client
  int64_t generation = 0;
  int64_t clock = 0;            // no batch up to this one will be pushed (again)
  uint64_t first_sequence = 0;  // of the pushes that it can still send
  bool begins = false;          // has pushed nothing: its clocks begin at the latest of all servers
};

// Pauses between attempts to reach a server: the first, and what they grow to.
inline constexpr double kFirstPause_s = 0.05, kLongestPause_s = 1.0;

// Failures after which another attempt may do.
inline bool MayPass(const Status& status) { return status.code() == StatusCode::kUnavailable; }

// What the rows of the layout's tables are before they are trained, as a server said when it was joined.
// Errors: kDataLoss where that is not of these tables.
Result<std::vector<embedding::RowInit>> RowInitsFrom(const proto::JoinReply& reply, const ModelLayout& layout);

// A client's channel to one server, how it joins, and its control calls: every call with the token and a deadline.
// Threads      Open first; from then on all from any number at once.
// Errors       those of the server's answer; kUnavailable where it did not answer in time. Calls that are tried again
//              name the server's address.
class ServerChannel {
 public:
  using Stub = proto::ParameterService::Stub;
  using Call = std::function<grpc::Status(Stub*, grpc::ClientContext*)>;

  explicit ServerChannel(const LinkOptions& options) : options_(options) {}

  // Makes the channel; no byte travels yet. kInvalidArgument: a file of the configuration.
  Status Open();

  // One attempt. kCancelled: the servers went back to a checkpoint since as.generation.
  Status Join(const JoinAs& as, proto::JoinReply* reply);
  // Tries until `retry_s` is over.
  Status JoinPatiently(const JoinAs& as, proto::JoinReply* reply);
  // Until the channel stands, at most so long.
  void AwaitServer(double seconds);

  // One attempt at a control call, of timeout_s; 0: connect_timeout_s.
  Status Try(const Call& call, double timeout_s = 0);
  // A sign of life.
  Status Heartbeat(uint64_t client_id, proto::HeartbeatReply* reply);

  // A stream of requests, not started; it must not outlive `context` or `queue`.
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> PrepareRows(uint64_t client_id, uint64_t session,
                                                                    grpc::ClientContext* context,
                                                                    grpc::CompletionQueue* queue);

 private:
  const LinkOptions& options_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<Stub> control_;
  std::unique_ptr<grpc::GenericStub> rows_;
};

}  // namespace sluice::service
