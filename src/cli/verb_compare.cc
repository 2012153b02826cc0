#include <algorithm>
#include <charconv>
#include <cmath>
#include <memory>

#include "base/join.h"
#include "base/log.h"
#include "cli/compare_runs.h"
#include "cli/network.h"
#include "cli/output.h"
#include "cli/program_path.h"
#include "cli/verbs.h"
#include "config/text.h"

namespace sluice::cli {
namespace {

std::vector<std::string> Split(const std::string& text) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

Result<std::vector<std::string>> ParsePresets(const std::string& text) {
  std::vector<std::string> presets;
  for (const std::string& name : Split(text)) {
    const auto& known = ComparablePresets();
    if (std::find(known.begin(), known.end(), name) == known.end())
      return InvalidArgument("--presets: unknown preset \"{}\"; did you mean {}? There are {}", config::Shown(name),
                             config::Nearest(name, known), Join(known, ", "));
    if (std::find(presets.begin(), presets.end(), name) != presets.end())
      return InvalidArgument("--presets: {} is named twice", name);
    presets.push_back(name);
  }
  return presets;
}

// "5M", "20000": a count of at least 1.
Result<int64_t> ParseCount(const std::string& option, const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const std::string unit(end, text.data() + text.size());
  const double scale = unit.empty() ? 1 : unit == "K" || unit == "k" ? 1e3 : unit == "M" ? 1e6 : unit == "G" ? 1e9 : 0;
  const double count = value * scale;
  if (error != std::errc() || !(count >= 1) || count > 1e15 || count != std::floor(count))
    return InvalidArgument("{} {}: a whole number of at least 1 was expected, such as 20000, 500K or 5M", option, text);
  return static_cast<int64_t>(count);
}

Result<std::vector<int64_t>> ParseSeeds(const std::string& text) {
  std::vector<int64_t> seeds;
  for (const std::string& word : Split(text)) {
    int64_t seed = -1;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), seed);
    if (error != std::errc() || end != word.data() + word.size() || seed < 0)
      return InvalidArgument("--seeds {}: whole numbers separated by commas were expected", text);
    if (std::find(seeds.begin(), seeds.end(), seed) != seeds.end())
      return InvalidArgument("--seeds: {} is named twice", seed);
    seeds.push_back(seed);
  }
  return seeds;
}

struct Arguments {
  ComparePlan plan;
  std::string presets = "des,des_rs,field_a2a,rows_a2a,auto,ps-async";
  std::string ranks = "2", servers, link, samples, seeds = "1", worker_batch, json, chart;
  bool quiet = false;
};

Status Parse(Arguments* args) {
  ComparePlan& plan = args->plan;
  SLUICE_ASSIGN_OR_RETURN(plan.presets, ParsePresets(args->presets));
  SLUICE_ASSIGN_OR_RETURN(plan.seeds, ParseSeeds(args->seeds));
  SLUICE_ASSIGN_OR_RETURN(plan.ranks, ParseRanks("--ranks", args->ranks));
  if (!args->servers.empty()) {
    SLUICE_ASSIGN_OR_RETURN(plan.servers, ParseRanks("--servers", args->servers));
  }
  if (!args->samples.empty()) {
    SLUICE_ASSIGN_OR_RETURN(plan.samples, ParseCount("--samples", args->samples));
  }
  if (!args->worker_batch.empty()) {
    SLUICE_ASSIGN_OR_RETURN(plan.worker_batch, ParseCount("--worker-batch", args->worker_batch));
  }
  if (!args->link.empty()) {
    SLUICE_ASSIGN_OR_RETURN(plan.link_mbit_per_s, ParseRate(args->link));
  }
  SLUICE_ASSIGN_OR_RETURN(plan.program, ProgramPath());
  return Status::Ok();
}

}  // namespace

void AddCompare(Application* application) {
  auto args = std::make_shared<Arguments>();
  Verb* verb = application->Add("compare",
                                "Train the same data by several presets, one after another, and lay speed, bytes, "
                                "quality and memory side by side.");
  AddConfigInput(verb, &args->plan.input);
  verb->Option(
      "--presets", "LIST", &args->presets,
      "What is compared, separated by commas: one (one process), des, des_rs, field_a2a, rows_a2a, auto, ps-async, "
      "ps-ssp, ps-sync.");
  verb->Option("-n,--ranks", "N", &args->ranks, "Processes that train, in every preset but one.");
  verb->Option("--servers", "S", &args->servers,
               "Parameter servers of presets ps-*; one beside every worker where left out.");
  verb->Option("--worker-batch", "B", &args->worker_batch,
               "Batch of one worker of presets ps-*; train.batch_size / N where left out.");
  verb->Option(
      "--link", "RATE", &args->link,
      "Each process, or worker with its server, in a network namespace that sends so much at most: 100Mbit, 1Gbit. "
      "Needs root and iproute2; else loopback, and the table says so.");
  verb->Option("--samples", "COUNT", &args->samples,
               "Samples to train on, rounded up to whole batches: 500K, 5M; else all.");
  verb->Option("--seeds", "LIST", &args->seeds,
               "Seeds of the model, separated by commas; several give a mean and a spread.");
  verb->Option("--json", "FILE", &args->json, "Also write everything here as JSON.");
  verb->Option("--chart", "FILE", &args->chart, "Also write a chart here (SVG).");
  verb->Option("--run-dir", "DIR", &args->plan.keep, "Keep the run folders here; else they are removed.");
  verb->Option("--mpirun", "PATH", &args->plan.mpirun, "Open MPI's mpirun; the one in PATH where left out.");
  verb->Flag("-q,--quiet", &args->quiet, "Only the table, warnings and errors.");
  verb->Footer([] {
    return std::string(
        "\nA preset that the configuration or this build does not support says so in its row, and the others still "
        "run. The\n"
        "exit code is 0 where every preset ran or is not supported, 4 where one failed, 2 where none is supported, 130 "
        "after\n"
        "Ctrl-C; the table holds what was done (docs/compare.md).\n\nExample:\n"
        "  sluice compare config.yaml --presets des,rows_a2a,auto,ps-async --ranks 4 --link 1Gbit --samples 5M --seeds "
        "1,2,3 \\\n"
        "      --json compare.json --chart compare.svg\n");
  });
  verb->Action([args] {
    InitLogging(args->quiet);
    SLUICE_RETURN_IF_ERROR(Parse(args.get()));
    bool cancelled = false;
    auto comparison = RunComparison(args->plan, &cancelled);
    if (!comparison.ok()) return comparison.status();
    if (!args->json.empty()) SLUICE_RETURN_IF_ERROR(WriteOutput(args->json, ToJson(*comparison)));
    if (!args->chart.empty()) SLUICE_RETURN_IF_ERROR(WriteOutput(args->chart, ToSvg(*comparison)));
    SLUICE_RETURN_IF_ERROR(PrintLine(ToTable(*comparison)));
    if (cancelled) return Status(StatusCode::kCancelled, "interrupted");
    return Judge(*comparison);
  });
}

}  // namespace sluice::cli
