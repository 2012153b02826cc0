// Bench and BenchAsRank of train/api.h.
#include "train/bench_ranks.h"

#include <algorithm>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/check.h"
#include "base/file.h"
#include "placement/strategy.h"
#include "train/run_ranks.h"

namespace sluice::train {
namespace {

using Reports = std::vector<BenchReport>;

Result<Reports> OnThreads(std::vector<RunConfig> configs, int num_ranks) {
  for (RunConfig& config : configs) config.threads = ShareOfThreads(config.threads, num_ranks);
  return RunOnThreads<Reports>(num_ranks, Timeout(configs[0].strategy),
                               [&](placement::Ranks* ranks) { return RunBench(configs, ranks); });
}

// Errors: kInvalidArgument naming the setting.
Status Check(const std::vector<RunConfig>& configs, int num_ranks) {
  SLUICE_CHECK(!configs.empty(), "a bench of nothing");
  if (configs[0].precision == "fp64") return InvalidArgument("precision: fp64 is for tests; bench fp32 or bf16");
  if (num_ranks == 1 && configs.size() > 1)
    return InvalidArgument("--placements: one rank has nothing to place; give --ranks, or start several with mpirun");
  if (num_ranks == 1) return Status::Ok();
  if (configs[0].bench.data == "text")
    return InvalidArgument("bench.data: text is for one rank; several take samples from memory");
  for (const RunConfig& config : configs) SLUICE_RETURN_IF_ERROR(placement::Validate(config.strategy));
  return Status::Ok();
}

Result<Reports> Write(Result<Reports> reports, const BenchOptions& options) {
  if (!reports.ok() || options.json.empty()) return reports;
  SLUICE_RETURN_IF_ERROR(WriteFileAtomically(options.json, ToJson(*reports)));
  return reports;
}

}  // namespace

Result<std::vector<BenchRank>> CollectRanks(const BenchRank& mine, placement::Ranks* ranks) {
  nlohmann::ordered_json json = {{"sent_bytes", mine.sent_bytes},
                                 {"exchange_s", mine.exchange_s},
                                 {"messages", mine.messages},
                                 {"sent_bytes_in_all", mine.sent_bytes_in_all},
                                 {"process", mine.process},
                                 {"cpu_s", mine.cpu_s},
                                 {"peak_rss_bytes", mine.peak_rss_bytes}};
  for (const auto& [part, seconds] : mine.time_by_part_s) json["parts"].push_back({{"part", part}, {"s", seconds}});
  SLUICE_ASSIGN_OR_RETURN(const auto texts, ranks->Collect(json.dump()));
  std::vector<BenchRank> all;
  try {
    for (const std::string& text : texts) {
      const auto other = nlohmann::ordered_json::parse(text);
      BenchRank rank;
      other.at("sent_bytes").get_to(rank.sent_bytes);
      other.at("exchange_s").get_to(rank.exchange_s);
      other.at("messages").get_to(rank.messages);
      other.at("sent_bytes_in_all").get_to(rank.sent_bytes_in_all);
      other.at("process").get_to(rank.process);
      other.at("cpu_s").get_to(rank.cpu_s);
      other.at("peak_rss_bytes").get_to(rank.peak_rss_bytes);
      for (const auto& part : other.at("parts"))
        rank.time_by_part_s.emplace_back(part.at("part").get<std::string>(), part.at("s").get<double>());
      all.push_back(std::move(rank));
    }
  } catch (const nlohmann::json::exception& error) {
    return DataLoss("the report of rank {} cannot be read: {}", all.size(), error.what());
  }
  return all;
}

Result<Reports> Bench(const std::vector<RunConfig>& configs, const BenchOptions& options) {
  SLUICE_RETURN_IF_ERROR(Check(configs, options.ranks));
  return Write(options.ranks > 1 ? OnThreads(configs, options.ranks) : RunBench(configs, nullptr), options);
}

Result<std::optional<Reports>> BenchAsRank(const std::vector<RunConfig>& configs, const BenchOptions& options) {
  using Leaders = std::optional<Reports>;
  return RunAsProcess<Leaders>(Timeout(configs.at(0).strategy), nullptr,
                               [&](placement::Ranks* ranks) -> Result<Leaders> {
                                 SLUICE_RETURN_IF_ERROR(ranks->LeaveTogether(Check(configs, ranks->size())));
                                 SLUICE_ASSIGN_OR_RETURN(Reports reports, RunBench(configs, ranks));
                                 if (!ranks->leads()) return Leaders();
                                 SLUICE_ASSIGN_OR_RETURN(reports, Write(std::move(reports), options));
                                 return Leaders(std::move(reports));
                               });
}

}  // namespace sluice::train
