#include "cli/service_launcher.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <thread>

#include <fmt/format.h>

#include "base/join.h"
#include "base/log.h"
#include "base/thread_pool.h"
#include "cli/launcher.h"
#include "cli/network.h"

namespace sluice::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kServerPort = 7070;  // in a network namespace, where nobody else listens

volatile sig_atomic_t interrupts = 0;
void OnInterrupt(int) { interrupts = interrupts + 1; }

// Ports that are free now. Sockets are held until all are found, so that they differ.
Result<std::vector<std::string>> FreeAddresses(int count) {
  std::vector<std::string> addresses;
  std::vector<int> sockets;
  Status status;
  for (int i = 0; i < count && status.ok(); ++i) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (fd < 0 || bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
        getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0)
      status = IoError("finding a free port: {}", std::strerror(errno));
    if (fd >= 0) sockets.push_back(fd);
    addresses.push_back(fmt::format("127.0.0.1:{}", ntohs(address.sin_port)));
  }
  for (const int fd : sockets) close(fd);
  if (!status.ok()) return status;
  return addresses;
}

struct Process {
  std::string name;
  std::vector<std::string> command;
  bool server = false;
  std::string network;  // namespace; empty: this one's
  pid_t pid = -1;       // -1: not running
  bool ended = false;   // and is not to be started again
};

Status Start(Process* process) {
  std::vector<char*> argv;
  for (const std::string& argument : process->command) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) return IoError("fork: {}", std::strerror(errno));
  if (pid == 0) {
    setpgid(0, 0);  // Ctrl-C at the terminal is the launcher's to hand on
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _exit(4);
    const int nothing = open("/dev/null", O_RDONLY);
    dup2(nothing, STDIN_FILENO);
    if (!process->network.empty() && !EnterNetwork(process->network).ok()) _exit(3);
    execv(argv[0], argv.data());
    _exit(127);
  }
  process->pid = pid;
  return Status::Ok();
}

Status EndOf(const Process& process, int status) {
  if (WIFSIGNALED(status)) {
    const int signal = WTERMSIG(status);
    const bool crashed =
        signal == SIGSEGV || signal == SIGABRT || signal == SIGBUS || signal == SIGFPE || signal == SIGILL;
    return {crashed ? StatusCode::kInternal : StatusCode::kUnavailable,
            fmt::format("{} was killed by signal {} ({})", process.name, signal, strsignal(signal))};
  }
  if (WEXITSTATUS(status) == 0) return Status::Ok();
  return {CodeOfExit(WEXITSTATUS(status)), fmt::format("{} left with code {}", process.name, WEXITSTATUS(status))};
}

// The processes of one launch.
class Crew {
 public:
  explicit Crew(const ServiceLaunch& launch) : launch_(launch), restarts_(launch.restarts) {}

  Status Run(const std::vector<std::string>& addresses) {
    for (int s = 0; s < launch_.servers; ++s)
      processes_.push_back({fmt::format("server {}", s), ServerCommand(launch_, addresses, s), true, NetworkOf(s)});
    for (int w = 0; w < launch_.workers; ++w)
      processes_.push_back({fmt::format("worker {}", w), WorkerCommand(launch_, addresses, w), false, NetworkOf(w)});
    for (Process& process : processes_) {
      failure_ = Start(&process);
      if (!failure_.ok()) break;
    }
    if (!failure_.ok()) Tell(SIGTERM, true, true);
    Wait();
    return failure_;
  }

 private:
  std::string NetworkOf(int machine) const {
    return launch_.networks.empty() ? "" : fmt::format("{}{}", launch_.networks, machine);
  }

  void Wait() {
    while (Running(true) + Running(false) > 0) {
      Reap();
      const auto now = Clock::now();
      if (interrupts > interrupts_seen_) {
        interrupts_seen_ = interrupts;
        if (failure_.ok()) failure_ = Status(StatusCode::kCancelled, "interrupted");
        Tell(interrupts > 1 ? SIGKILL : SIGTERM, true, interrupts > 1);
      }
      // Servers outlive the workers, which leave them in good order.
      if (Running(false) == 0 && !servers_told_) {
        Tell(SIGTERM, false, true);
        servers_told_ = true;
      }
      if (now > deadline_) {
        Tell(SIGKILL, true, true);
        deadline_ = now + launch_.patience;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }

  void Reap() {
    for (Process& process : processes_) {
      int status = 0;
      if (process.pid < 0 || waitpid(process.pid, &status, WNOHANG) != process.pid) continue;
      process.pid = -1;
      const Status end = EndOf(process, status);
      const bool ending = !failure_.ok() || servers_told_;
      if (!ending && WIFSIGNALED(status) && end.code() == StatusCode::kUnavailable && restarts_ > 0) {
        --restarts_;
        SLUICE_WARN("{}; starting it again", end.message());
        failure_ = Start(&process);
        if (!failure_.ok()) Tell(SIGTERM, true, true);
        continue;
      }
      process.ended = true;
      // A server that leaves by itself leaves the workers alone.
      if (ending && (process.server || end.ok())) continue;
      if (end.ok() && !process.server) continue;
      if (failure_.ok()) {
        failure_ = end.ok() ? Status(StatusCode::kUnavailable, process.name + " left before the workers") : end;
        Tell(SIGTERM, true, false);
      }
    }
  }

  int Running(bool servers) const {
    return static_cast<int>(std::count_if(processes_.begin(), processes_.end(), [&](const Process& process) {
      return process.server == servers && process.pid >= 0;
    }));
  }

  void Tell(int signal, bool workers, bool servers) {
    for (const Process& process : processes_)
      if (process.pid >= 0 && (process.server ? servers : workers)) kill(process.pid, signal);
    deadline_ = Clock::now() + launch_.patience;
    if (servers && signal == SIGTERM) servers_told_ = true;
  }

  const ServiceLaunch& launch_;
  int restarts_;
  std::vector<Process> processes_;
  Status failure_;
  bool servers_told_ = false;
  int interrupts_seen_ = 0;
  Clock::time_point deadline_ = Clock::time_point::max();
};

// The input of one process: the user's, with what the launch says.
TrainInput InputOf(const ServiceLaunch& launch, const std::vector<std::string>& addresses, const std::string& folder) {
  TrainInput input = launch.input;
  input.config.set.push_back(fmt::format("strategy.servers=[{}]", Join(addresses, ", ")));
  input.config.set.push_back(fmt::format("strategy.workers={}", launch.workers));
  input.run_dir += "/" + folder;
  return input;
}

}  // namespace

std::vector<std::string> ServerCommand(const ServiceLaunch& launch, const std::vector<std::string>& addresses,
                                       int server) {
  std::vector<std::string> command = {launch.program, "serve-params",
                                      "--shard",      fmt::format("{}/{}", server, launch.servers),
                                      "--listen",     addresses[static_cast<size_t>(server)]};
  const auto arguments = TrainArguments(InputOf(launch, addresses, "servers"));
  command.insert(command.end(), arguments.begin() + 1, arguments.end());
  return command;
}

std::vector<std::string> WorkerCommand(const ServiceLaunch& launch, const std::vector<std::string>& addresses,
                                       int worker) {
  TrainInput input = InputOf(launch, addresses, fmt::format("worker-{}", worker));
  const int threads = launch.threads > 0 ? launch.threads : NumUsableProcessors();
  input.config.set.push_back(fmt::format("strategy.worker={}", worker));
  input.config.set.push_back(fmt::format("threads={}", std::max(1, threads / launch.workers)));
  input.quiet = input.quiet || worker > 0;
  std::vector<std::string> command = {launch.program};
  const auto arguments = TrainArguments(input);
  command.insert(command.end(), arguments.begin(), arguments.end());
  return command;
}

Status LaunchService(const ServiceLaunch& launch) {
  struct sigaction action = {};
  action.sa_handler = OnInterrupt;
  for (const int signal : {SIGINT, SIGTERM}) sigaction(signal, &action, nullptr);
  std::vector<std::string> addresses;
  if (launch.networks.empty()) {
    SLUICE_ASSIGN_OR_RETURN(addresses, FreeAddresses(launch.servers));
  } else {
    for (int m = 0; m < std::max(launch.servers, launch.workers); ++m)
      SLUICE_RETURN_IF_ERROR(FindNetwork(fmt::format("{}{}", launch.networks, m)));
    for (int s = 0; s < launch.servers; ++s)
      addresses.push_back(fmt::format("{}:{}", Network::Address(s), kServerPort));
  }
  return Crew(launch).Run(addresses);
}

}  // namespace sluice::cli
