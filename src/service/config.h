#pragma once

#include <cstdint>
#include <string>

#include "config/schema.h"

namespace sluice::service {

// The parameter service as configured: what servers bear, and how clients reach them.
struct ServiceConfig {
  std::string token_file;
  std::string tls_ca;
  std::string tls_name;
  double connect_timeout_s = 10;
  double retry_s = 120;
  double heartbeat_s = 2;
  double worker_timeout_s = 30;
  int64_t max_message_bytes = int64_t{64} << 20;
  int64_t max_request_rows = int64_t{1} << 20;
  int64_t max_clients = 256;
  int64_t max_open_batches = 16;
  int64_t max_handles = int64_t{1} << 23;
  int64_t max_memory_bytes = 0;
  int64_t replay_bytes = int64_t{256} << 20;
  int64_t max_lost_pushes = 16;
  int64_t threads = 0;

  template <class V>
  void Visit(V& v) {
    v.Field("token_file", token_file,
            {.text = "File with the token that clients show and servers ask for; empty: none, which servers accept on "
                     "loopback addresses only.",
             .performance_only = true});
    v.Field("tls_ca", tls_ca,
            {.text = "Clients: PEM file with the certificate that vouches for the servers; empty: no encryption.",
             .performance_only = true});
    v.Field("tls_name", tls_name,
            {.text = "Clients: the name that a server's certificate must hold; empty: the host of its address.",
             .performance_only = true});
    v.Field("connect_timeout_s", connect_timeout_s,
            {.text = "Time for one attempt to connect.", .unit = "seconds", .min = 0.05, .performance_only = true});
    v.Field("retry_s", retry_s,
            {.text = "Clients: a server that is away or silent for longer ends the run; until then they try again.",
             .unit = "seconds",
             .min = 0,
             .performance_only = true});
    v.Field("heartbeat_s", heartbeat_s,
            {.text = "Time between two signs of life of a worker.",
             .unit = "seconds",
             .min = 0.05,
             .performance_only = true});
    v.Field(
        "worker_timeout_s", worker_timeout_s,
        {.text = "A worker that was silent for so long is lost: others stop waiting for it and take over its input.",
         .unit = "seconds",
         .min = 0.1,
         .performance_only = true});
    v.Field("max_message_bytes", max_message_bytes,
            {.text = "Longest message that a server or client takes.",
             .unit = "bytes",
             .min = 4096,
             .max = 2147483647.0,
             .performance_only = true});
    v.Field("max_request_rows", max_request_rows,
            {.text = "Most keys of one request.", .unit = "rows", .min = 1, .max = 1 << 26, .performance_only = true});
    v.Field("max_clients", max_clients,
            {.text = "Clients that a server serves at a time.", .min = 1, .max = 1 << 16, .performance_only = true});
    v.Field("max_open_batches", max_open_batches,
            {.text = "Batches that a client may have pulled and not yet pushed.",
             .unit = "batches",
             .min = 1,
             .max = 1024,
             .performance_only = true});
    v.Field(
        "max_handles", max_handles,
        {.text = "Keys of one client that a server remembers, 8 bytes each, so that they travel as 4 bytes the next "
                 "time; 0: keys always travel whole.",
         .unit = "keys",
         .min = 0,
         .max = 2147483647.0,
         .performance_only = true});
    v.Field("max_memory_bytes", max_memory_bytes,
            {.text = "Memory of a server's tables beyond which pulls in training are refused; 0: no bound.",
             .unit = "bytes",
             .min = 0,
             .performance_only = true});
    v.Field(
        "replay_bytes", replay_bytes,
        {.text = "Clients: pushes that no checkpoint holds yet are kept up to this size, to send them again after a "
                 "server's restart; older ones count as lost then.",
         .unit = "bytes",
         .min = 0,
         .performance_only = true});
    v.Field(
        "max_lost_pushes", max_lost_pushes,
        {.text =
             "Servers: where a failure loses more pushes than this since the last checkpoint, all of them go back to "
             "it, and the input since is trained on again; up to this number losses are counted; 0: none is lost; "
             "-1: never go back.",
         .unit = "pushes",
         .min = -1});
    v.Field("threads", threads,
            {.text = "Threads of a server; 0: as many as this process may use.",
             .min = 0,
             .max = 1024,
             .performance_only = true});
  }
};

}  // namespace sluice::service
