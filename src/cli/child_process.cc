#include "cli/child_process.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <thread>

namespace sluice::cli {
namespace {

using Clock = std::chrono::steady_clock;

volatile sig_atomic_t interrupts = 0;
void OnInterrupt(int) { interrupts = interrupts + 1; }

// A file in memory that a child writes to and that is read when it has ended.
class Captured {
 public:
  Captured() : fd_(memfd_create("child", MFD_CLOEXEC)) {}
  ~Captured() {
    if (fd_ >= 0) close(fd_);
  }
  Captured(const Captured&) = delete;
  Captured& operator=(const Captured&) = delete;
  int fd() const { return fd_; }

  std::string Read() const {
    constexpr off_t kMost = 1 << 20;
    const off_t size = lseek(fd_, 0, SEEK_END);
    const off_t begin = std::max<off_t>(0, size - kMost);
    std::string text(static_cast<size_t>(std::max<off_t>(0, size - begin)), '\0');
    const ssize_t n = pread(fd_, text.data(), text.size(), begin);
    text.resize(static_cast<size_t>(std::max<ssize_t>(0, n)));
    return text;
  }

 private:
  int fd_;
};

double Seconds(const timeval& t) { return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec); }

}  // namespace

void CountInterrupts() {
  struct sigaction action = {};
  action.sa_handler = OnInterrupt;
  for (const int signal : {SIGINT, SIGTERM}) sigaction(signal, &action, nullptr);
}

int Interrupts() { return interrupts; }

Result<ChildEnd> RunChild(const std::vector<std::string>& command) {
  const Captured output, errors;
  if (output.fd() < 0 || errors.fd() < 0) return IoError("a file in memory: {}", std::strerror(errno));
  std::vector<char*> argv;
  for (const std::string& argument : command) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const int interrupts_before = interrupts;
  const auto begin = Clock::now();
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) return IoError("fork: {}", std::strerror(errno));
  if (pid == 0) {
    setpgid(0, 0);  // Ctrl-C at the terminal is ours to hand on
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _exit(4);
    for (const int signal : {SIGINT, SIGTERM}) std::signal(signal, SIG_DFL);
    dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
    dup2(output.fd(), STDOUT_FILENO);
    dup2(errors.fd(), STDERR_FILENO);
    execvp(argv[0], argv.data());
    _exit(127);
  }
  int status = 0;
  rusage usage = {};
  int told = 0;
  auto deadline = Clock::time_point::max();
  for (auto nap = std::chrono::milliseconds(1);; nap = std::min(2 * nap, std::chrono::milliseconds(20))) {
    if (wait4(pid, &status, WNOHANG, &usage) == pid) break;
    const int asked = interrupts - interrupts_before;
    if (asked > 0 && told == 0) {
      kill(pid, SIGTERM);
      told = 1;
      deadline = Clock::now() + std::chrono::seconds(15);
    }
    if (told > 0 && (asked > 1 || Clock::now() > deadline)) kill(-pid, SIGKILL);
    std::this_thread::sleep_for(nap);
  }
  ChildEnd end;
  end.wall_s = std::chrono::duration<double>(Clock::now() - begin).count();
  if (WIFSIGNALED(status)) end.signal = WTERMSIG(status);
  if (WIFEXITED(status)) end.exit_code = WEXITSTATUS(status);
  end.cpu_s = Seconds(usage.ru_utime) + Seconds(usage.ru_stime);
  end.peak_rss_bytes = int64_t{usage.ru_maxrss} * 1024;
  end.output = output.Read();
  end.errors = errors.Read();
  if (end.exit_code == 127 && end.output.empty() && end.errors.empty())
    return IoError("{} cannot be started", command.front());
  return end;
}

}  // namespace sluice::cli
