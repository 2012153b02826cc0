#include "train/config.h"

#include <algorithm>

#include "config/schema.h"
#include "placement/strategy.h"

namespace sluice::train {

RunConfig::RunConfig() = default;
RunConfig::RunConfig(const RunConfig&) = default;
RunConfig::RunConfig(RunConfig&&) noexcept = default;
RunConfig& RunConfig::operator=(const RunConfig&) = default;
RunConfig& RunConfig::operator=(RunConfig&&) noexcept = default;
RunConfig::~RunConfig() = default;

void RunConfig::Visit(config::Visitor& v) {
  v.Field("name", name, {.text = "Name of the run, part of its folder's default name; the model's where empty."});
  v.Field("seed", seed, {.text = "Seed of everything random: rows, parameters, dropout, shuffling.", .min = 0});
  v.Field("deterministic", deterministic,
          {.text = "Give the same bits for any number of threads; see docs/determinism.md for its cost."});
  v.Field("precision", precision,
          {.text = "Arithmetic of the dense net: bf16 products with fp32 masters and sums (where the processor "
                   "multiplies bf16 faster), fp32, or fp64 (plain loops, for tests).",
           .choices = {"fp32", "bf16", "fp64"}});
  v.Field("threads", threads,
          {.text = "Threads that compute; 0: as many as this process may use.",
           .min = 0,
           .max = 1024,
           .performance_only = true});
  v.Field("huge_pages", huge_pages,
          {.text = "Large tables and buffers ask the kernel for huge pages. Lookups in them are faster; but where a "
                   "hypervisor takes freed memory back, tables may grow faster without (docs/performance.md).",
           .performance_only = true});
  v.Struct("data", data, {.text = "Where samples come from and how they are read."});
  v.Map("features", features,
        {.text = "Columns that the model reads, in order; C{1..26} stands for 26 names. Follows from the data's format "
                 "where left out."});
  v.Map("tables", tables, {.text = "Embedding tables by name; `default` holds for every table that is not named."});
  v.Struct("model", model, {.text = "The net."});
  v.Struct("optimizer", optimizer, {.text = "Optimizer of the dense parameters; tables choose their own."});
  v.Struct("train", train, {.text = "The training loop."});
  v.Struct("strategy", strategy, {.text = "How several ranks share the work; see docs/algorithms/des.md."});
  v.Struct("service", service,
           {.text = "Parameter servers and their clients; see docs/algorithms/parameter-service.md."});
  v.Struct("checkpoint", checkpoint, {.text = "Checkpoints, resuming and warm start."});
  v.Struct("log", log, {.text = "What a run reports while it goes."});
  v.Struct("bench", bench, {.text = "Workload of `sluice bench`."});
}

Status Validate(const RunConfig& config) {
  if (config.data.train.empty() && config.bench.data != "memory")
    return InvalidArgument("data.train: no training files");
  if (config.train.early_stopping.patience > 0 && config.data.eval.empty() && config.data.split.kind == "none")
    return InvalidArgument("train.early_stopping.patience: needs held-out data; set data.eval or data.split.kind");
  if (config.model.loss == "bce" && (config.data.label_min < 0 || config.data.label_max > 1))
    return InvalidArgument(
        "model.loss: bce needs labels in [0, 1], and data.label_min to data.label_max is [{}, {}]; use mse",
        config.data.label_min, config.data.label_max);
  if (config.checkpoint.resume.empty())
    return InvalidArgument("checkpoint.resume: auto, never, or the path of a checkpoint");
  return placement::Validate(config.strategy);
}

Status ValidateForRanks(const RunConfig& config) {
  if (config.strategy.placement == "local")
    return InvalidArgument(
        "strategy.placement: local is one process; with several ranks choose another placement, or auto");
  const placement::WireConfig& wire = config.strategy.wire;
  if (config.deterministic && (wire.partials != "fp32" || wire.rows != "fp32" || wire.dense_gradients != "fp32"))
    return InvalidArgument(
        "strategy.wire: bf16 does not go with deterministic: true, since one rank sends nothing and so "
        "rounds nothing");
  if (config.precision == "fp64" && (wire.partials != "fp32" || wire.rows != "fp32" || wire.dense_gradients != "fp32"))
    return InvalidArgument("strategy.wire: bf16 does not go with precision fp64");
  for (const std::string& path : config.data.train)
    if (path == "-")
      return InvalidArgument("data.train: every rank reads the data, which standard input does not allow");
  for (const auto& [name, table] : config.tables)
    if (table.admission.kind != "none" && table.on_missing == "default")
      return InvalidArgument(
          "tables.{}.on_missing: default (one learned row for all keys without one) is not offered with "
          "several ranks and admission; use init or zero",
          name);
  return Status::Ok();
}

Status ValidateForServers(const RunConfig& config) {
  const placement::StrategyConfig& strategy = config.strategy;
  if (strategy.servers.empty())
    return InvalidArgument(
        "strategy.servers: preset {} needs the addresses of the parameter servers; sluice launch starts "
        "servers and workers on one machine",
        strategy.preset);
  if (strategy.worker >= strategy.workers && strategy.preset == "ps-sync")
    return InvalidArgument("strategy.worker: {} of {} workers; they are numbered from 0", strategy.worker,
                           strategy.workers);
  const auto refuse = [&](const char* setting, const char* instead) {
    return InvalidArgument("{} is not offered with strategy.preset {}; {}", setting, strategy.preset, instead);
  };
  if (config.train.eval_every_steps > 0) return refuse("train.eval_every_steps", "worker 0 evaluates at the end");
  if (config.train.early_stopping.patience > 0)
    return refuse("train.early_stopping", "a run goes to the end of its data");
  const auto plateau = [](const optim::OptimizerConfig& optimizer) { return optimizer.schedule.kind == "plateau"; };
  if (plateau(config.optimizer) || std::any_of(config.tables.begin(), config.tables.end(),
                                               [&](const auto& t) { return plateau(t.second.optimizer); }))
    return refuse("schedule kind plateau", "it heeds evaluations, which servers do not see");
  for (const std::string& path : config.data.train)
    if (path == "-") return refuse("standard input", "name files that every worker can read");
  if (config.precision == "fp64" &&
      (strategy.wire.rows != "fp32" || strategy.wire.dense != "fp32" || strategy.wire.dense_gradients != "fp32"))
    return InvalidArgument("strategy.wire: bf16 does not go with precision fp64");
  if (strategy.preset != "ps-sync" || strategy.workers == 1) return Status::Ok();
  if (config.train.clip_norm > 0 || config.optimizer.clip_norm > 0)
    return refuse("clipping by norm with several workers",
                  "no worker knows the norm of the joined batch; use clip_value");
  if (config.deterministic)
    return refuse("deterministic: true with several workers", "one worker gives the bits of one process");
  if (config.model.batch_norm)
    return refuse("batch normalisation with several workers", "each would normalise by its own part of the batch");
  return Status::Ok();
}

embedding::TableConfig TableSettings(const RunConfig& config, const std::string& name) {
  const auto find = [&](const std::string& wanted) {
    return std::find_if(config.tables.begin(), config.tables.end(), [&](const auto& t) { return t.first == wanted; });
  };
  auto found = find(name);
  if (found == config.tables.end()) found = find("default");
  return found == config.tables.end() ? embedding::TableConfig{} : found->second;
}

RunConfig ConfigForFiles(const std::vector<std::string>& train_files, const std::vector<std::string>& eval_files,
                         const std::string& preset) {
  RunConfig config;
  config.data.train = train_files;
  config.data.eval = eval_files;
  if (!preset.empty()) config.model.preset = preset;
  return config;
}

}  // namespace sluice::train
