#include "cli/rank_guard.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <fmt/format.h>

#include "cli/network.h"

namespace sluice::cli {
namespace {

constexpr std::string_view kPrefix = "\x1esluice-rank ";

volatile sig_atomic_t child = 0;
volatile sig_atomic_t asked_to_end = 0;

void HandOn(int) {
  asked_to_end = 1;
  if (child > 0) kill(static_cast<pid_t>(child), SIGTERM);
}

int Number(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? 0 : std::atoi(value);
}

}  // namespace

std::string FormatRankEnd(const RankEnd& end) {
  return fmt::format("{}{} {} {}\n", kPrefix, end.rank, end.signal != 0 ? "signal" : "exit",
                     end.signal != 0 ? end.signal : end.exit_code);
}

std::optional<RankEnd> ParseRankEnd(std::string_view line) {
  if (line.substr(0, kPrefix.size()) != kPrefix || line.size() > 100) return std::nullopt;
  RankEnd end;
  char how[8] = "";
  int value = 0;
  if (std::sscanf(std::string(line.substr(kPrefix.size())).c_str(), "%d %7s %d", &end.rank, how, &value) != 3)
    return std::nullopt;
  const bool by_signal = std::strcmp(how, "signal") == 0;
  if ((!by_signal && std::strcmp(how, "exit") != 0) || end.rank < 0 || value < 0 || (by_signal && value == 0))
    return std::nullopt;
  (by_signal ? end.signal : end.exit_code) = value;
  return end;
}

int GuardRank(char** argv) {
  struct sigaction action = {};
  action.sa_handler = HandOn;
  for (const int signal : {SIGUSR1, SIGTERM, SIGINT}) sigaction(signal, &action, nullptr);
  const pid_t guard = getpid();
  const pid_t pid = fork();
  if (pid == 0) {
    // Where the guard is killed, the rank is not to stay behind.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != guard) _exit(4);
    for (const int signal : {SIGTERM, SIGINT}) std::signal(signal, SIG_DFL);
    std::signal(SIGUSR1, SIG_IGN);  // mpirun may hand it to the whole group of processes; the guard's SIGTERM is meant
    const char* networks = std::getenv(kNetworksVariable);
    if (networks != nullptr && *networks != 0) {
      const Status entered = EnterNetwork(fmt::format("{}{}", networks, Number("OMPI_COMM_WORLD_RANK")));
      if (!entered.ok()) {
        std::fprintf(stderr, "sluice: %s\n", entered.message().c_str());
        _exit(3);
      }
    }
    execv(argv[0], argv);
    std::fprintf(stderr, "sluice: %s cannot be started: %s\n", argv[0], std::strerror(errno));
    _exit(3);
  }
  child = pid;
  if (asked_to_end && pid > 0) kill(pid, SIGTERM);
  int status = 0;
  while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  RankEnd end;
  end.rank = Number("OMPI_COMM_WORLD_RANK");
  if (pid < 0) end.exit_code = 3;
  if (pid > 0 && WIFSIGNALED(status)) end.signal = WTERMSIG(status);
  if (pid > 0 && WIFEXITED(status)) end.exit_code = WEXITSTATUS(status);
  const std::string line = FormatRankEnd(end);
  return write(STDERR_FILENO, line.data(), line.size()) == static_cast<ssize_t>(line.size()) ? 0 : 3;
}

}  // namespace sluice::cli
