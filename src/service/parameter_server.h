#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "service/engine.h"

namespace sluice::service {

struct ServerOptions {
  std::string listen = "127.0.0.1:0";  // host:port; port 0: any
  std::string metrics;                 // host:port of the Prometheus endpoint; empty: none
  std::string tls_cert, tls_key;       // PEM files; empty: no encryption
  std::string token;                   // empty: none, on loopback addresses only
  std::vector<std::string> servers;    // all of them, in the order of shards; the first one talks to the others
  double cut_timeout_s = 10;           // for pushes on their way to reach every server
};

// What of a checkpoint a server does itself; the first one leads. Called by one thread at a time.
struct CheckpointHooks {
  struct Part {
    std::string sections;       // of the files written, as text
    std::vector<int64_t> rows;  // [tables]
  };
  // The first server: a checkpoint to be written, and its temporary folder.
  std::function<Result<std::string>(int64_t step)> create;
  // This server's shards and spans; the first server's comes last and knows the others'. `folder` comes over the
  // network for all but the first: the hook refuses any but one of the run's own.
  std::function<Result<Part>(const std::string& folder, int64_t step, const ServiceState& state,
                             const std::vector<Part>& others)>
      write;
  // The first server: makes the checkpoint the newest. Its path.
  std::function<Result<std::string>(const std::vector<Part>& others)> commit;
};

// One parameter server on the network: gRPC in front of an Engine. docs/algorithms/parameter-service.md.
// Threads      requests are worked on by config.threads threads; control and health checks have their own.
// Errors       kInvalidArgument for addresses, certificates, or a missing token; kUnavailable where the port is taken.
class ParameterServer {
 public:
  // `engine.executor` is the server's.
  static Result<std::unique_ptr<ParameterServer>> Start(std::unique_ptr<Backend> backend, ModelLayout layout,
                                                        EngineOptions engine, ServiceState state, ServerOptions options,
                                                        CheckpointHooks hooks);
  // As Shutdown.
  virtual ~ParameterServer() = default;

  virtual std::string address() const = 0;  // with the port in use
  virtual Engine& engine() = 0;
  // One cut over all servers, by the first of them. Its path.
  virtual Result<std::string> Checkpoint() = 0;
  // Whether the first server has said that it leaves, its last checkpoint being written if it writes one. It says so in
  // Shutdown, and takes it back where it is started again.
  virtual bool first_leaves() const = 0;
  // Not 0: a failure lost too much, and this server is to go back to the newest checkpoint, as this generation.
  virtual int64_t going_back() const = 0;
  // Health checks say no, clients that ask are told to come back, requests under way come to their end, then the port
  // closes. At most `grace_s`.
  virtual void Shutdown(double grace_s) = 0;
};

// The text of `sluice inspect host:port`, or JSON.
Result<std::string> InspectServer(const std::string& address, const ServiceConfig& config, bool json);

// host:port that names this machine's own loopback interface.
bool IsLoopback(const std::string& address);
// What a token's file holds, without the line's end; empty where no file is named.
Result<std::string> ReadToken(const std::string& file);
// Whether a text has the form host:port.
bool IsAddress(const std::string& text);

}  // namespace sluice::service
