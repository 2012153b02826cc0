#pragma once

#include <functional>
#include <string>

#include "base/status.h"
#include "train/config.h"

namespace sluice::train {

struct ServeOptions {
  int server = 0, servers = 1;         // which of how many
  std::string listen = "127.0.0.1:0";  // host:port; port 0: any
  std::string metrics;                 // host:port of the Prometheus endpoint; empty: none
  std::string tls_cert, tls_key;       // PEM files
  std::string run_dir;                 // shared by all servers of a run; empty with one: runs/<time>-<name>
  std::function<void(const std::string& address)> on_listening;
};

// One parameter server of a run, until InterruptFlag is set: serves the model that the configuration says, from the
// run folder's newest checkpoint where there is one. The first server writes checkpoints of all, as
// checkpoint.every_seconds and .every_steps say, when a worker asks, and at the end. docs/algorithms/parameter-
// service.md.
// Errors       kInvalidArgument for settings, addresses and certificates; kDataLoss for the checkpoint; kUnavailable
//              where the port is taken.
Status ServeParams(const RunConfig& config, const ServeOptions& options);

}  // namespace sluice::train
