#include "cli/launcher.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>

#include "base/join.h"
#include "cli/network.h"

namespace sluice::cli {
namespace {

using Clock = std::chrono::steady_clock;

volatile sig_atomic_t interrupts = 0;
void OnInterrupt(int) { interrupts = interrupts + 1; }

Result<std::string> FindMpirun(const std::string& wanted) {
  if (wanted.find('/') != std::string::npos) {
    if (access(wanted.c_str(), X_OK) == 0) return wanted;
    return NotFound("--mpirun {}: {}", wanted, std::strerror(errno));
  }
  const std::string name = wanted.empty() ? "mpirun" : wanted;
  const char* path = std::getenv("PATH");
  std::string folders = path == nullptr ? "" : path;
  for (size_t begin = 0; begin <= folders.size();) {
    const size_t end = std::min(folders.find(':', begin), folders.size());
    const std::string file = folders.substr(begin, end - begin) + "/" + name;
    if (access(file.c_str(), X_OK) == 0) return file;
    begin = end + 1;
  }
  return NotFound("{} is not in PATH; install Open MPI 4.1, or say where it is with --mpirun", name);
}

// Whether a batch system says where ranks run.
bool Allotted() {
  for (const char* name : {"SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID"})
    if (std::getenv(name) != nullptr) return true;
  return false;
}

// Lines of the ranks on their way to standard error: reports are taken out, and a failure that every rank reports in
// the same words is shown once.
class Words {
 public:
  explicit Words(std::vector<RankEnd>* ends) : ends_(ends) {}

  void Add(std::string_view bytes) {
    text_ += bytes;
    size_t begin = 0;
    for (size_t end; (end = text_.find('\n', begin)) != std::string::npos; begin = end + 1)
      Line(std::string_view(text_).substr(begin, end + 1 - begin));
    text_.erase(0, begin);
    if (text_.size() > (1 << 16)) Flush();
  }
  // What is not a whole line yet.
  void Flush() {
    if (text_.find(kReportMark) != std::string::npos && text_.size() < 100) return;  // the rest is on its way
    Show(text_);
    text_.clear();
  }

 private:
  void Line(std::string_view line) {
    if (const size_t mark = line.find(kReportMark); mark != std::string_view::npos) {
      if (const auto end = ParseRankEnd(line.substr(mark))) {
        Show(line.substr(0, mark));
        ends_->push_back(*end);
        return;
      }
    }
    // mpirun's own, when a rank leaves without having said goodbye to it, and when an interrupt is handed on.
    for (const char* noise : {"PMIX ERROR: BAD-PARAM in file", "mpirun: Forwarding signal"})
      if (line.find(noise) != std::string_view::npos) return;
    if (line.starts_with("sluice: ") && !shown_.insert(std::string(line)).second) return;
    Show(line);
  }
  static void Show(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = write(STDERR_FILENO, bytes.data(), bytes.size());
      if (n <= 0 && errno != EINTR) return;
      if (n > 0) bytes.remove_prefix(static_cast<size_t>(n));
    }
  }

  std::vector<RankEnd>* ends_;
  std::string text_;
  std::set<std::string> shown_;
};

// In the child: mpirun is reached by the ranks of other namespaces through its own interface there.
bool EnterLaunchersNetwork(const std::string& networks) {
  if (networks.empty()) return true;
  setenv("PMIX_MCA_ptl_tcp_if_include", "ctl,ctl0", 1);
  setenv("PMIX_MCA_ptl_tcp_remote_connections", "1", 1);
  return EnterNetwork(networks + "host").ok();
}

Result<pid_t> Start(const std::vector<std::string>& arguments, const std::string& networks, int* errors) {
  if (!networks.empty()) SLUICE_RETURN_IF_ERROR(FindNetwork(networks + "host"));
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return IoError("pipe: {}", std::strerror(errno));
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const pid_t pid = fork();
  if (pid < 0) return IoError("fork: {}", std::strerror(errno));
  if (pid == 0) {
    setpgid(0, 0);  // Ctrl-C at the terminal is ours to hand on
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    const int nothing = open("/dev/null", O_RDONLY);
    dup2(nothing, STDIN_FILENO);
    dup2(ends[1], STDERR_FILENO);
    if (!EnterLaunchersNetwork(networks)) _exit(127);
    execv(argv[0], argv.data());
    _exit(127);
  }
  close(ends[1]);
  *errors = ends[0];
  return pid;
}

std::string Described(const RankEnd& end) {
  if (end.signal != 0) return fmt::format("killed by signal {} ({})", end.signal, strsignal(end.signal));
  return fmt::format("left with code {}", end.exit_code);
}

}  // namespace

StatusCode CodeOfExit(int exit_code) {
  switch (exit_code) {
    case 2:
      return StatusCode::kInvalidArgument;
    case 3:
      return StatusCode::kIo;
    case 4:
      return StatusCode::kUnavailable;
    case 130:
      return StatusCode::kCancelled;
    default:
      return StatusCode::kInternal;
  }
}

std::vector<std::string> MpirunArguments(const LaunchPlan& plan, const std::string& mpirun) {
  std::vector<std::string> arguments = {mpirun, "-n", std::to_string(plan.ranks), "--oversubscribe"};
  const auto set = [&](const char* name, const char* value) {
    arguments.insert(arguments.end(), {"--mca", name, value});
  };
  if (geteuid() == 0) arguments.push_back("--allow-run-as-root");
  if (plan.bind) {
    arguments.insert(arguments.end(), {"--map-by", "slot", "--bind-to", "core"});
  } else {
    arguments.insert(arguments.end(), {"--bind-to", "none"});
  }
  // Survivors leave by themselves, each with its word and its code.
  set("orte_enable_recovery", "1");
  set("orte_abort_on_non_zero_status", "0");
  set("btl_base_warn_component_unused", "0");
  if (!plan.networks.empty()) {
    set("pml", "ob1");
    set("btl", "self,tcp");
    set("btl_tcp_if_include", kDataInterface);
    arguments.insert(arguments.end(), {"-x", std::string(kNetworksVariable) + "=" + plan.networks});
  } else if (!plan.hosts.empty()) {
    arguments.insert(arguments.end(), {"--hostfile", plan.hosts});
  } else if (!Allotted()) {
    set("btl_tcp_if_include", "lo");
    set("oob_tcp_if_include", "lo");
  }
  arguments.push_back(plan.command.front());
  arguments.emplace_back(kGuardOption);
  arguments.insert(arguments.end(), plan.command.begin(), plan.command.end());
  return arguments;
}

Status JudgeEnds(const std::vector<RankEnd>& ends, int ranks) {
  const auto crashed = [](const RankEnd& end) {
    return end.signal == SIGSEGV || end.signal == SIGABRT || end.signal == SIGBUS || end.signal == SIGFPE ||
           end.signal == SIGILL;
  };
  int code = 0;
  std::map<std::string, std::vector<int>> ranks_by_end;
  std::set<int> silent;
  for (int r = 0; r < ranks; ++r) silent.insert(r);
  for (const RankEnd& end : ends) {
    silent.erase(end.rank);
    if (end.signal == 0 && end.exit_code == 0) continue;
    ranks_by_end[Described(end)].push_back(end.rank);
    const int this_code = crashed(end) ? 70 : end.signal != 0 ? 4 : end.exit_code;
    // A failure of its own explains the losses that others see, and a loss explains more than an interrupt.
    const auto weight = [](int c) { return c == 0 ? 0 : c == 130 ? 1 : c == 4 ? 2 : 3; };
    if (weight(this_code) > weight(code)) code = this_code;
  }
  for (const int rank : silent) ranks_by_end["ended without a word"].push_back(rank);
  if (!silent.empty() && (code == 0 || code == 130)) code = 4;
  if (code == 0) return Status::Ok();
  std::vector<std::string> parts;
  for (auto& [how, which] : ranks_by_end) {
    std::sort(which.begin(), which.end());
    std::vector<std::string> names;
    for (const int rank : which) names.push_back(std::to_string(rank));
    parts.push_back(static_cast<int>(which.size()) == ranks && ranks > 1
                        ? fmt::format("all {} ranks {}", ranks, how)
                        : fmt::format("rank{} {} {}", which.size() > 1 ? "s" : "", Join(names, ", "), how));
  }
  return {CodeOfExit(code), Join(parts, "; ")};
}

Status Launch(const LaunchPlan& plan) {
  SLUICE_ASSIGN_OR_RETURN(const std::string mpirun, FindMpirun(plan.mpirun));
  struct sigaction action = {};
  action.sa_handler = OnInterrupt;
  for (const int signal : {SIGINT, SIGTERM}) sigaction(signal, &action, nullptr);
  int errors = -1;
  SLUICE_ASSIGN_OR_RETURN(const pid_t pid, Start(MpirunArguments(plan, mpirun), plan.networks, &errors));

  std::vector<RankEnd> ends;
  Words words(&ends);
  Clock::time_point deadline = Clock::time_point::max();
  int interrupts_passed = 0;
  bool killed = false;
  for (;;) {
    pollfd waiting = {errors, POLLIN, 0};
    const int ready = poll(&waiting, 1, 100);
    if (ready > 0) {
      char bytes[4096];
      const ssize_t n = read(errors, bytes, sizeof bytes);
      if (n == 0) break;
      if (n > 0) words.Add({bytes, static_cast<size_t>(n)});
    } else {
      words.Flush();
    }
    const auto now = Clock::now();
    if (interrupts > interrupts_passed) {
      kill(pid, interrupts == 1 ? SIGUSR1 : SIGTERM);
      if (interrupts > 1) deadline = now + std::chrono::seconds(5);
      interrupts_passed = interrupts;
    }
    const bool failed =
        std::any_of(ends.begin(), ends.end(), [](const RankEnd& end) { return end.signal + end.exit_code != 0; });
    if (failed) deadline = std::min(deadline, now + plan.patience);
    if (now >= deadline) {
      kill(killed ? -pid : pid, killed ? SIGKILL : SIGTERM);
      killed = true;
      deadline = now + std::chrono::seconds(5);
    }
  }
  words.Flush();
  close(errors);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (interrupts > 1) return {StatusCode::kCancelled, "interrupted"};
  if (ends.empty()) {
    return {StatusCode::kUnavailable,
            WIFEXITED(status)
                ? fmt::format("mpirun left with code {} and no rank said how it ended", WEXITSTATUS(status))
                : fmt::format("mpirun was killed by signal {}", WTERMSIG(status))};
  }
  return JudgeEnds(ends, plan.ranks);
}

}  // namespace sluice::cli
