#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "base/status.h"
#include "cli/train_input.h"

namespace sluice::cli {

// Parameter servers and workers as processes of this machine, on loopback ports that are free.
struct ServiceLaunch {
  int servers = 1;
  int workers = 1;
  int restarts = 0;     // processes that may be started again after they were killed, in all
  std::string program;  // absolute path
  // Not empty: server s and worker w enter the network namespaces networks + s and networks + w (cli/network.h).
  std::string networks;
  TrainInput input;  // run_dir, needed: worker w has RUN/worker-w, the servers share RUN/servers
  int threads = 0;   // of all workers together; 0: as many as there are processors
  // For processes that were told to end, from the last time on that any were: servers are told when workers have ended.
  std::chrono::milliseconds patience{30000};
};

// Starts them, passes their words on, and waits for the workers; then ends the servers. Ctrl-C and SIGTERM end all:
// workers give their input back, servers write a checkpoint. The first process that fails ends the others.
// Errors       as the first that failed; kUnavailable where one was killed and not started again; kCancelled after an
//              interrupt. The message names process and end.
Status LaunchService(const ServiceLaunch& launch);

// The command line of one server or worker. `addresses` [servers].
std::vector<std::string> ServerCommand(const ServiceLaunch& launch, const std::vector<std::string>& addresses,
                                       int server);
std::vector<std::string> WorkerCommand(const ServiceLaunch& launch, const std::vector<std::string>& addresses,
                                       int worker);

}  // namespace sluice::cli
