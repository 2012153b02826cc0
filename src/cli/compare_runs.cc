#include "cli/compare_runs.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <random>

#include "base/file.h"
#include "base/join.h"
#include "base/log.h"
#include "base/thread_pool.h"
#include "cli/child_process.h"
#include "cli/network.h"
#include "cli/output.h"
#include "data/open.h"
#include "telemetry/progress.h"
#include "train/config.h"

namespace sluice::cli {
namespace {

bool WithServers(const std::string& preset) { return preset.starts_with("ps-"); }

int64_t Steps(int64_t samples, int64_t per_step) { return (samples + per_step - 1) / per_step; }

// A folder of temporary files that goes with its object.
class Scratch {
 public:
  static Result<std::unique_ptr<Scratch>> Make() {
    const char* base = std::getenv("TMPDIR");
    std::string path = fmt::format("{}/sluice-compare-XXXXXX", base != nullptr && *base != 0 ? base : "/tmp");
    if (mkdtemp(path.data()) == nullptr) return IoError("a temporary folder {}: it cannot be made", path);
    return std::unique_ptr<Scratch>(new Scratch(path));
  }
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  const std::string& path() const { return path_; }

 private:
  explicit Scratch(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

// The first failure that a process told, in one line.
std::string Reason(const ChildEnd& end) {
  constexpr std::string_view kMark = "sluice: ";
  for (size_t begin = 0; begin < end.errors.size();) {
    const size_t stop = std::min(end.errors.find('\n', begin), end.errors.size());
    const std::string_view line = std::string_view(end.errors).substr(begin, stop - begin);
    if (line.starts_with(kMark)) return OneLine(std::string(line.substr(kMark.size())));
    begin = stop + 1;
  }
  return end.signal != 0 ? fmt::format("killed by signal {}", end.signal)
                         : fmt::format("left with code {}", end.exit_code);
}

class Runs {
 public:
  Runs(const ComparePlan& plan, Comparison* comparison) : plan_(plan), comparison_(*comparison) {}

  Status Prepare() {
    train::RunConfig config;
    SLUICE_ASSIGN_OR_RETURN(config, LoadConfig(plan_.input));
    if (std::find(config.data.train.begin(), config.data.train.end(), "-") != config.data.train.end())
      return InvalidArgument("standard input can be read once; compare needs files");
    comparison_.config = Join(plan_.input.inputs, " ");
    comparison_.ranks = plan_.ranks;
    comparison_.cores = NumUsableProcessors();
    comparison_.batch_size = config.train.batch_size;
    comparison_.worker_batch_size =
        plan_.worker_batch > 0 ? plan_.worker_batch : std::max<int64_t>(1, config.train.batch_size / plan_.ranks);
    comparison_.samples = plan_.samples;
    comparison_.seeds = plan_.seeds;
    if (std::any_of(plan_.presets.begin(), plan_.presets.end(), WithServers))
      comparison_.servers = plan_.servers > 0 ? plan_.servers : plan_.ranks;
    comparison_.evaluated = "held-out samples, after training";
    if (!data::HasEvaluation(config.data) && config.train.progressive.window > 0) {
      comparison_.evaluated = "every sample, scored before it was trained on";
    } else if (!data::HasEvaluation(config.data)) {
      comparison_.evaluated = "the last tenth of the data, held out because the configuration holds out nothing";
      holds_out_ = true;
    }
    comparison_.network = "over loopback and shared memory";
    if (plan_.link_mbit_per_s > 0) {
      // As many machines as there are workers; a server stands on the machine of a worker.
      auto network = Network::Make(std::max(plan_.ranks, comparison_.servers), plan_.link_mbit_per_s);
      if (network.ok()) {
        network_ = std::move(network).value();
        comparison_.link_mbit_per_s = plan_.link_mbit_per_s;
        comparison_.network =
            fmt::format("each in a network namespace that sends {:g} Mbit/s at most", plan_.link_mbit_per_s);
      } else if (network.status().code() == StatusCode::kUnavailable) {
        comparison_.network =
            fmt::format("over loopback and shared memory, not shaped ({})", network.status().message());
        SLUICE_WARN("--link: no link is shaped: {}", network.status().message());
      } else {
        return network.status();
      }
    }
    SLUICE_ASSIGN_OR_RETURN(scratch_, Scratch::Make());
    // Servers that listen beyond loopback ask for one.
    std::random_device random;
    SLUICE_RETURN_IF_ERROR(
        WriteFileAtomically(scratch_->path() + "/token",
                            fmt::format("{:08x}{:08x}{:08x}{:08x}\n", random(), random(), random(), random())));
    if (!plan_.keep.empty()) SLUICE_RETURN_IF_ERROR(MakeFolders(plan_.keep));
    return Status::Ok();
  }

  Result<ComparedRun> Run(const std::string& preset, int64_t seed) {
    ComparedRun run;
    run.preset = preset;
    run.seed = seed;
    const std::string folder =
        fmt::format("{}/{}-seed{}", plan_.keep.empty() ? scratch_->path() : plan_.keep, preset, seed);
    std::vector<std::string> command = {plan_.program};
    ComparePlan plan = plan_;
    if (network_ != nullptr && WithServers(preset))
      plan.input.set.push_back("service.token_file=" + scratch_->path() + "/token");
    if (holds_out_) plan.input.set.push_back("data.split={kind: tail, fraction: 0.1}");
    const auto arguments =
        CompareArguments(plan, comparison_, preset, seed, network_ == nullptr ? "" : network_->prefix(), folder);
    command.insert(command.end(), arguments.begin(), arguments.end());
    int64_t sent = 0;
    if (network_ != nullptr) {
      SLUICE_ASSIGN_OR_RETURN(sent, network_->SentBytes());
    }
    SLUICE_ASSIGN_OR_RETURN(const ChildEnd end, RunChild(command));
    if (end.ok()) {
      const Status read = Read(folder, preset, &run);
      if (read.ok()) {
        run.largest_rss_bytes = std::max(run.largest_rss_bytes, end.peak_rss_bytes);
        run.cpu_us_per_sample = 1e6 * end.cpu_s / static_cast<double>(run.samples);
        run.cores = end.cpu_s / end.wall_s;
        if (network_ != nullptr && preset != "one") {
          SLUICE_ASSIGN_OR_RETURN(const int64_t now, network_->SentBytes());
          run.wire_per_sample = static_cast<double>(now - sent) / static_cast<double>(run.samples);
        }
      } else {
        run.state = ComparedRun::State::kFailed;
        run.why = read.message();
      }
    } else {
      run.state = end.exit_code == 2 ? ComparedRun::State::kNotSupported : ComparedRun::State::kFailed;
      run.why = Reason(end);
    }
    std::error_code ignored;
    if (plan_.keep.empty()) std::filesystem::remove_all(folder, ignored);
    return run;
  }

 private:
  Status Read(const std::string& folder, const std::string& preset, ComparedRun* run) {
    std::vector<std::string> texts;
    const int reports = WithServers(preset) ? plan_.ranks : 1;
    for (int r = 0; r < reports; ++r) {
      const std::string file =
          (WithServers(preset) ? fmt::format("{}/worker-{}", folder, r) : folder) + "/metrics.json";
      SLUICE_ASSIGN_OR_RETURN(std::string text, ReadWholeFile(file));
      texts.push_back(std::move(text));
    }
    return ReadReports(texts, run);
  }

  const ComparePlan& plan_;
  Comparison& comparison_;
  bool holds_out_ = false;
  std::unique_ptr<Scratch> scratch_;
  std::unique_ptr<Network> network_;
};

}  // namespace

const std::vector<std::string>& ComparablePresets() {
  static const std::vector<std::string> presets = {"one",  "des",      "des_rs", "field_a2a", "rows_a2a",
                                                   "auto", "ps-async", "ps-ssp", "ps-sync"};
  return presets;
}

std::vector<std::string> CompareArguments(const ComparePlan& plan, const Comparison& comparison,
                                          const std::string& preset, int64_t seed, const std::string& networks,
                                          const std::string& folder) {
  TrainInput input;
  input.config = plan.input;
  input.run_dir = folder;
  input.quiet = true;
  auto& set = input.config.set;
  const bool servers = WithServers(preset);
  set.push_back(fmt::format("seed={}", seed));
  set.push_back("checkpoint.at_end=false");
  set.push_back("strategy.dense.mode=auto");
  set.push_back("strategy.fields={}");
  set.push_back("strategy.preset=" + std::string(servers || preset == "des" ? preset : "none"));
  set.push_back("strategy.placement=" +
                std::string(servers || preset == "des" || preset == "auto" || preset == "one" ? "auto" : preset));
  if (servers) set.push_back(fmt::format("train.batch_size={}", comparison.worker_batch_size));
  if (plan.samples > 0) {
    const int64_t per_step = servers ? comparison.worker_batch_size * plan.ranks : comparison.batch_size;
    set.push_back(fmt::format("train.max_steps={}", Steps(plan.samples, per_step)));
  }
  const auto train = TrainArguments(input);
  if (preset == "one") return train;
  std::vector<std::string> arguments = {"launch"};
  const auto add = [&](const char* option, const std::string& value) {
    arguments.push_back(option);
    arguments.push_back(value);
  };
  if (servers) {
    add("--servers", std::to_string(comparison.servers));
    add("--workers", std::to_string(plan.ranks));
  } else {
    add("--ranks", std::to_string(plan.ranks));
    if (!plan.mpirun.empty()) add("--mpirun", plan.mpirun);
  }
  if (!networks.empty()) add("--networks", networks);
  arguments.insert(arguments.end(), train.begin() + 1, train.end());
  return arguments;
}

Result<Comparison> RunComparison(const ComparePlan& plan, bool* cancelled) {
  CountInterrupts();
  Comparison comparison;
  Runs runs(plan, &comparison);
  SLUICE_RETURN_IF_ERROR(runs.Prepare());
  *cancelled = false;
  for (const int64_t seed : plan.seeds) {
    for (const std::string& preset : plan.presets) {
      SLUICE_ASSIGN_OR_RETURN(ComparedRun run, runs.Run(preset, seed));
      if (Interrupts() > 0) {
        *cancelled = true;
        return comparison;
      }
      SLUICE_INFO(
          "{}, seed {}: {}", preset, seed,
          run.state == ComparedRun::State::kDone ? telemetry::HumanCount(run.samples_per_s) + " samples/s" : run.why);
      comparison.runs.push_back(std::move(run));
    }
  }
  return comparison;
}

Status Judge(const Comparison& comparison) {
  bool any = false;
  for (const ComparedRun& run : comparison.runs) {
    if (run.state == ComparedRun::State::kFailed)
      return Status(StatusCode::kUnavailable, fmt::format("{}, seed {}: {}", run.preset, run.seed, run.why));
    any = any || run.state == ComparedRun::State::kDone;
  }
  if (any || comparison.runs.empty()) return Status::Ok();
  return InvalidArgument("none of the presets is supported with this configuration; {}: {}", comparison.runs[0].preset,
                         comparison.runs[0].why);
}

}  // namespace sluice::cli
