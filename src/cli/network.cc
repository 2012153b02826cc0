#include "cli/network.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/join.h"
#include "cli/child_process.h"
#include "cli/output.h"

namespace sluice::cli {
namespace {

constexpr char kFolder[] = "/run/netns";
constexpr char kPrefix[] = "sluice-cmp-";

Result<std::string> Run(const std::vector<std::string>& command) {
  SLUICE_ASSIGN_OR_RETURN(const ChildEnd end, RunChild(command));
  if (end.ok()) return end.output;
  return IoError("{}: {}", Join(command, " "), OneLine(end.errors.empty() ? end.output : end.errors));
}

Status Ip(const std::string& network, const std::string& arguments) {
  std::vector<std::string> command = {"ip", "-n", network};
  for (size_t begin = 0; begin < arguments.size();) {
    const size_t end = std::min(arguments.find(' ', begin), arguments.size());
    command.push_back(arguments.substr(begin, end - begin));
    begin = end + 1;
  }
  return Run(command).status();
}

void TurnOffloadsOff(const char* interface) {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  for (const uint32_t command : {ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO}) {
    ethtool_value value = {command, 0};
    ifreq request = {};
    std::snprintf(request.ifr_name, sizeof request.ifr_name, "%s", interface);
    request.ifr_data = reinterpret_cast<char*>(&value);
    (void)ioctl(fd, SIOCETHTOOL, &request);  // an offload that the kernel does not have is off
  }
  close(fd);
}

// Runs a function in a child that is in the namespace.
template <class F>
void Inside(const std::string& network, F function) {
  const pid_t pid = fork();
  if (pid == 0) {
    if (EnterNetwork(network).ok()) function();
    _exit(0);
  }
  int status = 0;
  while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
}

void Write(const char* path, const char* text) {
  const int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  (void)!write(fd, text, std::strlen(text));
  close(fd);
}

Status AddNamespace(const std::string& name) {
  SLUICE_RETURN_IF_ERROR(Run({"ip", "netns", "add", name}).status());
  // Without IPv6 an interface that comes up says nothing of its own.
  Inside(name, [] {
    Write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
    Write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
  });
  return Ip(name, "link set lo up");
}

// Names of namespaces that start like this.
std::vector<std::string> Namespaces(const std::string& prefix) {
  std::vector<std::string> names;
  DIR* folder = opendir(kFolder);
  if (folder == nullptr) return names;
  while (const dirent* entry = readdir(folder))
    if (std::string_view(entry->d_name).starts_with(prefix)) names.emplace_back(entry->d_name);
  closedir(folder);
  return names;
}

// An interrupt that ended a run must not end its clearing away.
void Remove(const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    auto pids = RunChild({"ip", "netns", "pids", name});
    const std::string text = pids.ok() ? pids->output : "";
    for (const char* at = text.c_str(); *at != 0;) {
      char* end = nullptr;
      const long pid = std::strtol(at, &end, 10);
      if (end == at) break;
      if (pid > 1) kill(static_cast<pid_t>(pid), SIGKILL);
      at = end;
    }
  }
  for (const std::string& name : names) (void)RunChild({"ip", "netns", "del", name});
}

void RemoveStale() {
  std::vector<std::string> stale;
  for (const std::string& name : Namespaces(kPrefix)) {
    const int pid = std::atoi(name.c_str() + std::strlen(kPrefix));
    if (pid > 0 && kill(pid, 0) != 0 && errno == ESRCH) stale.push_back(name);
  }
  Remove(stale);
}

}  // namespace

Status FindNetwork(const std::string& name) {
  if (name.find('/') == std::string::npos && access((std::string(kFolder) + "/" + name).c_str(), F_OK) == 0)
    return Status::Ok();
  return NotFound("there is no network namespace {}", name);
}

Status EnterNetwork(const std::string& name) {
  SLUICE_RETURN_IF_ERROR(FindNetwork(name));
  const int fd = open((std::string(kFolder) + "/" + name).c_str(), O_RDONLY | O_CLOEXEC);
  const bool entered = fd >= 0 && setns(fd, CLONE_NEWNET) == 0;
  const int error = errno;
  if (fd >= 0) close(fd);
  return entered ? Status::Ok() : IoError("network namespace {}: {}", name, std::strerror(error));
}

Result<double> ParseRate(const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const std::string unit(end, text.data() + text.size());
  const double scale = unit == "Gbit" ? 1000 : unit == "Mbit" ? 1 : unit == "Kbit" ? 0.001 : 0;
  if (error != std::errc() || !(value * scale >= 0.1 && value * scale <= 1e6))
    return InvalidArgument("--link {}: a rate such as 100Mbit or 1Gbit was expected, from 0.1Mbit to 1000Gbit", text);
  return value * scale;
}

Status Network::Possible() {
  if (geteuid() != 0) return {StatusCode::kUnavailable, "network namespaces need root"};
  for (const char* program : {"ip", "tc"})
    if (auto found = RunChild({program, "-V"}); !found.ok() || !found->ok())
      return {StatusCode::kUnavailable, fmt::format("{} is not there (package iproute2)", program)};
  RemoveStale();
  const std::string probe = fmt::format("{}{}-probe", kPrefix, getpid());
  const auto made = Run({"ip", "netns", "add", probe});
  if (!made.ok())
    return {StatusCode::kUnavailable, "no network namespace can be made here: " + made.status().message()};
  return Run({"ip", "netns", "del", probe}).status();
}

Result<std::unique_ptr<Network>> Network::Make(int machines, double mbit_per_s) {
  SLUICE_RETURN_IF_ERROR(Possible());
  std::unique_ptr<Network> network(new Network(fmt::format("{}{}-", kPrefix, getpid()), machines));
  SLUICE_RETURN_IF_ERROR(network->Build(mbit_per_s));
  return network;
}

// Twice: an interrupt may end a command of the first time.
Network::~Network() {
  for (int i = 0; i < 2; ++i) Remove(Namespaces(prefix_));
}

Status Network::Build(double mbit_per_s) {
  const std::string host = prefix_ + "host";
  SLUICE_RETURN_IF_ERROR(AddNamespace(host));
  for (const char* bridge : {"data", "ctl"}) {
    SLUICE_RETURN_IF_ERROR(Ip(host, fmt::format("link add {} type bridge", bridge)));
    SLUICE_RETURN_IF_ERROR(Ip(host, fmt::format("link set {} up", bridge)));
  }
  SLUICE_RETURN_IF_ERROR(Ip(host, "address add 10.232.0.254/24 dev ctl"));
  // A bucket of a millisecond, but of several frames at least.
  const auto burst = static_cast<int64_t>(std::max(16384.0, mbit_per_s * 1e6 / 8 * 1e-3));
  for (int m = 0; m < machines_; ++m) {
    const std::string machine = fmt::format("{}{}", prefix_, m);
    SLUICE_RETURN_IF_ERROR(AddNamespace(machine));
    for (const std::string kind : {"data", "ctl"}) {
      SLUICE_RETURN_IF_ERROR(
          Ip(host, fmt::format("link add {0}-{1} type veth peer name {0}0 netns {2}", kind, m, machine)));
      SLUICE_RETURN_IF_ERROR(Ip(host, fmt::format("link set {0}-{1} master {0} up", kind, m)));
      SLUICE_RETURN_IF_ERROR(
          Ip(machine, fmt::format("address add 10.{}.0.{}/24 dev {}0", kind == "data" ? 231 : 232, m + 1, kind)));
      SLUICE_RETURN_IF_ERROR(Ip(machine, fmt::format("link set {}0 up", kind)));
    }
    Inside(host, [port = fmt::format("data-{}", m)] { TurnOffloadsOff(port.c_str()); });
    Inside(machine, [] { TurnOffloadsOff(kDataInterface); });
    SLUICE_RETURN_IF_ERROR(
        Run({"tc", "-n", machine, "qdisc", "add", "dev", kDataInterface, "root", "tbf", "rate",
             fmt::format("{:.0f}kbit", mbit_per_s * 1000), "burst", std::to_string(burst), "latency", "20ms"})
            .status());
  }
  return Status::Ok();
}

Result<int64_t> Network::SentBytes() const {
  int64_t bytes = 0;
  for (int m = 0; m < machines_; ++m) {
    SLUICE_ASSIGN_OR_RETURN(const std::string text, Run({"ip", "-n", fmt::format("{}{}", prefix_, m), "-s", "-j",
                                                         "link", "show", "dev", kDataInterface}));
    const auto json = nlohmann::json::parse(text, nullptr, false);
    const auto at = nlohmann::json::json_pointer("/0/stats64/tx/bytes");
    if (json.is_discarded() || !json.contains(at) || !json[at].is_number_integer())
      return IoError("ip -s -j link: no counters in its answer");
    bytes += json[at].get<int64_t>();
  }
  return bytes;
}

}  // namespace sluice::cli
