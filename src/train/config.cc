#include "train/config.h"

#include <algorithm>

#include "placement/strategy.h"

namespace sluice::train {

Status Validate(const RunConfig& config) {
  if (config.data.train.empty() && config.bench.data != "memory")
    return InvalidArgument("data.train: no training files");
  if (config.train.early_stopping.patience > 0 && config.data.eval.empty() && config.data.split.kind == "none")
    return InvalidArgument("train.early_stopping.patience: needs held-out data; set data.eval or data.split.kind");
  if (config.model.loss == "bce" && (config.data.label_min < 0 || config.data.label_max > 1))
    return InvalidArgument("model.loss: bce needs labels in [0, 1], and data.label_min to data.label_max is [{}, {}]; use mse",
                           config.data.label_min, config.data.label_max);
  if (config.checkpoint.resume.empty())
    return InvalidArgument("checkpoint.resume: auto, never, or the path of a checkpoint");
  return placement::Validate(config.strategy);
}

Status ValidateForRanks(const RunConfig& config) {
  if (config.strategy.placement == "local")
    return InvalidArgument("strategy.placement: local is one process; with several ranks choose another placement, or auto");
  const placement::WireConfig& wire = config.strategy.wire;
  if (config.deterministic && (wire.partials != "fp32" || wire.rows != "fp32" || wire.dense_gradients != "fp32"))
    return InvalidArgument("strategy.wire: bf16 does not go with deterministic: true, since one rank sends nothing and so "
                           "rounds nothing");
  if (config.precision == "fp64" && (wire.partials != "fp32" || wire.rows != "fp32" || wire.dense_gradients != "fp32"))
    return InvalidArgument("strategy.wire: bf16 does not go with precision fp64");
  for (const std::string& path : config.data.train)
    if (path == "-") return InvalidArgument("data.train: every rank reads the data, which standard input does not allow");
  if (!config.checkpoint.init_from.empty())
    return InvalidArgument("checkpoint.init_from: a warm start is not offered with several ranks; start with one process, "
                           "and go on from its checkpoint with more");
  for (const auto& [name, table] : config.tables)
    if (table.admission.kind != "none" && table.on_missing == "default")
      return InvalidArgument("tables.{}.on_missing: default (one learned row for all keys without one) is not offered with "
                             "several ranks and admission; use init or zero",
                             name);
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
