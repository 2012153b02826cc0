#include "train/peers.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <sstream>

#include "base/simd.h"
#include "base/thread_pool.h"
#include "base/version.h"
#include "config/reader.h"
#include "config/writer.h"
#include "data/fingerprint.h"
#include "train/run_folder.h"

namespace sluice::train {
namespace {

// The first rank whose text is not rank 0's, or 0.
int FirstOther(const std::vector<std::string>& texts) {
  for (size_t r = 1; r < texts.size(); ++r)
    if (texts[r] != texts[0]) return static_cast<int>(r);
  return 0;
}

Status CheckPrograms(const RunConfig& config, placement::Ranks* ranks) {
  SLUICE_ASSIGN_OR_RETURN(const auto versions, ranks->Collect(kVersion));
  if (const int r = FirstOther(versions); r > 0) {
    return ranks->LeaveTogether(
        InvalidArgument("rank {}: runs sluice {}, rank 0 runs {}; install one version everywhere", r,
                        versions[static_cast<size_t>(r)], versions[0]));
  }
  // Before the settings are compared it is not known whether all ask for it, so all say what they run on.
  SLUICE_ASSIGN_OR_RETURN(const auto processors,
                          ranks->Collect(fmt::format("{} ({}{})", ProcessorName(), IsaName(BestIsa()),
                                                     Bf16ProductsPay() ? ", bf16 products" : "")));
  if (const int r = FirstOther(processors); r > 0 && config.deterministic) {
    return ranks->LeaveTogether(
        InvalidArgument("rank {}: runs on {}, rank 0 on {}; deterministic: true needs one kind of processor", r,
                        processors[static_cast<size_t>(r)], processors[0]));
  }
  return Status::Ok();
}

Status CheckConfigs(const RunConfig& config, placement::Ranks* ranks) {
  SLUICE_ASSIGN_OR_RETURN(const std::string leaders, ranks->Share(config::ToYaml(config)));
  Status status;
  if (leaders != config::ToYaml(config)) {
    RunConfig other;
    status = config::ReadText(leaders, "rank 0's configuration", {}, &other);
    if (status.ok()) {
      const std::string difference = FirstDifference(config, other);
      status = InvalidArgument("its configuration is not that of rank 0: {}",
                               difference.empty() ? "threads, logs or checkpoints differ" : difference);
    }
  }
  return ranks->Agree(status);
}

Status CheckFiles(const RunConfig& config, placement::Ranks* ranks) {
  const auto files = data::FingerprintFiles(config.data);
  SLUICE_RETURN_IF_ERROR(ranks->Agree(files.status()));
  SLUICE_ASSIGN_OR_RETURN(const std::string leaders, ranks->Share(data::FormatFingerprints(files.value())));
  const auto there = data::ParseFingerprints(leaders);
  Status status = there.status();
  if (status.ok()) {
    const std::string difference = data::DifferenceOfFiles(files.value(), there.value());
    if (!difference.empty()) status = InvalidArgument("its data is not that of rank 0: {}", difference);
  }
  return ranks->Agree(status);
}

std::string Format(const Host& host) {
  std::string text = fmt::format("{} {}", host.usable, host.name);
  for (const int processor : host.processors) text += fmt::format(" {}", processor);
  return text;
}

Result<Host> Parse(const std::string& text) {
  std::istringstream in(text);
  Host host;
  in >> host.usable >> host.name;
  if (!in || host.usable < 1) return DataLoss("another rank's description of its machine is malformed");
  for (int processor; in >> processor;) host.processors.push_back(processor);
  return host;
}

}  // namespace

Status CheckPeers(const RunConfig& config, placement::Ranks* ranks) {
  SLUICE_RETURN_IF_ERROR(CheckPrograms(config, ranks));
  SLUICE_RETURN_IF_ERROR(CheckConfigs(config, ranks));
  return CheckFiles(config, ranks);
}

Host ThisHost() {
  Host host;
  char name[256] = "";
  gethostname(name, sizeof name - 1);
  host.name = name[0] == '\0' ? "localhost" : name;
  std::replace_if(
      host.name.begin(), host.name.end(), [](unsigned char c) { return c <= ' '; }, '_');
  host.usable = NumUsableProcessors();
  cpu_set_t mask;
  CPU_ZERO(&mask);
  if (sched_getaffinity(0, sizeof mask, &mask) == 0)
    for (int i = 0; i < CPU_SETSIZE; ++i)
      if (CPU_ISSET(i, &mask)) host.processors.push_back(i);
  return host;
}

int ThreadsPerRank(const std::vector<Host>& hosts, int64_t threads) {
  int64_t least = std::max<int64_t>(1, threads > 0 ? threads : hosts.front().usable);
  for (const Host& mine : hosts) {
    // The share of its processors that this rank would have if every rank on each of them had an equal part.
    double share = 0;
    int64_t neighbours = 0;
    for (const Host& other : hosts) neighbours += other.name == mine.name;
    for (const int processor : mine.processors) {
      int64_t users = 0;
      for (const Host& other : hosts)
        users +=
            other.name == mine.name && std::binary_search(other.processors.begin(), other.processors.end(), processor);
      share += 1.0 / static_cast<double>(std::max<int64_t>(1, users));
    }
    const double fraction = mine.processors.empty() ? 1.0 / static_cast<double>(neighbours)
                                                    : share / static_cast<double>(mine.processors.size());
    const double wanted = static_cast<double>(threads > 0 ? threads : mine.usable);
    least = std::min(least, std::max<int64_t>(1, static_cast<int64_t>(wanted * fraction + 1e-6)));
  }
  return static_cast<int>(least);
}

Result<int> AgreeOnThreads(const RunConfig& config, placement::Ranks* ranks) {
  SLUICE_ASSIGN_OR_RETURN(const auto texts, ranks->Collect(Format(ThisHost())));
  std::vector<Host> hosts;
  for (const std::string& text : texts) {
    SLUICE_ASSIGN_OR_RETURN(Host host, Parse(text));
    hosts.push_back(std::move(host));
  }
  return ThreadsPerRank(hosts, config.threads);
}

}  // namespace sluice::train
