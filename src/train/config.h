#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "base/thread_pool.h"
#include "data/config.h"
#include "embedding/config.h"
#include "nn/config.h"
#include "optim/config.h"
#include "placement/config.h"
#include "service/config.h"

namespace sluice::config {
class Visitor;
}

namespace sluice::train {

struct EarlyStoppingConfig {
  std::string metric = "auc";
  int64_t patience = 0;
  double min_delta = 0.0;

  template <class V>
  void Visit(V& v) {
    v.Field("metric", metric,
            {.text = "Metric of the evaluations that decides which model is best.",
             .choices = {"auc", "gauc", "logloss", "normalized_entropy", "rmse"}});
    v.Field("patience", patience,
            {.text = "Evaluations without improvement after which training stops and the best model is restored; "
                     "0: train to the end and keep the last model.",
             .unit = "evaluations",
             .min = 0});
    v.Field("min_delta", min_delta, {.text = "Smallest change that counts as an improvement.", .min = 0});
  }
};

struct ProgressiveConfig {
  int64_t window = 0;

  template <class V>
  void Visit(V& v) {
    v.Field("window", window,
            {.text = "Score every sample before it is trained on, and report AUC, normalised entropy and calibration "
                     "over windows of this many samples; 0: off.",
             .unit = "samples",
             .min = 0});
  }
};

struct TrainConfig {
  int64_t batch_size = 2048;
  int64_t epochs = 1;
  int64_t max_steps = 0;
  std::string overlap = "auto";
  int64_t queue_depth = 2;
  int64_t eval_every_steps = 0;
  bool eval_every_epoch = true;
  double clip_norm = 0.0;
  bool check_finite = true;
  EarlyStoppingConfig early_stopping;
  ProgressiveConfig progressive;

  // Whether the host stage has threads of its own beside `num_threads` that compute. Text costs enough to read that
  // they pay even where no processor is free; keys that lie ready do not.
  bool Overlaps(int num_threads, bool reads_text) const {
    return overlap == "auto" ? reads_text || num_threads < NumUsableProcessors() : overlap == "true";
  }

  template <class V>
  void Visit(V& v) {
    v.Field("batch_size", batch_size, {.text = "Samples of one step.", .unit = "samples", .min = 1, .max = 1 << 22});
    v.Field("epochs", epochs, {.text = "Passes over the training data.", .min = 1});
    v.Field("max_steps", max_steps, {.text = "Stop after this many steps; 0: at the end of the data.", .min = 0});
    v.Field(
        "overlap", overlap,
        {.text = "Read and resolve rows on threads of their own while others compute. Auto: where the data is text, or "
                 "`threads` leaves a processor free; else the threads that compute do it between steps. Results are "
                 "the same either way.",
         .choices = {"auto", "true", "false"},
         .performance_only = true});
    v.Field("queue_depth", queue_depth,
            {.text = "Batches that may wait between two stages.", .min = 1, .max = 4, .performance_only = true});
    v.Field("eval_every_steps", eval_every_steps,
            {.text = "Evaluate on the held-out part every so many steps; 0: see eval_every_epoch.", .min = 0});
    v.Field("eval_every_epoch", eval_every_epoch,
            {.text = "Evaluate at the end of every epoch; where false, once at the end."});
    v.Field("clip_norm", clip_norm,
            {.text = "Scale all gradients of a step down to this norm over dense parameters and rows together; 0: off. "
                     "Costs a second pass over the row gradients.",
             .min = 0});
    v.Field("check_finite", check_finite,
            {.text = "Stop at the first NaN or infinite logit, gradient or row, naming step, layer, field and key."});
    v.Struct("early_stopping", early_stopping, {.text = "When to stop before the data ends."});
    v.Struct("progressive", progressive, {.text = "Evaluation of one-pass training: score first, then train."});
  }
};

struct RenameConfig {
  std::string from;

  template <class V>
  void Visit(V& v) {
    v.Field("from", from, {.text = "Name of the field in the other checkpoint.", .required = true});
  }
};

struct WarmStartConfig {
  std::string slots = "keep";
  std::string counts = "keep";
  std::string learning_rate = "reset";
  std::string dense = "keep";
  std::vector<std::pair<std::string, RenameConfig>> rename;
  std::vector<std::string> drop;
  bool allow_misfit = false;

  template <class V>
  void Visit(V& v) {
    const std::vector<std::string> keep_reset = {"keep", "reset"};
    v.Field("slots", slots, {.text = "Optimizer state of rows and dense parameters.", .choices = keep_reset});
    v.Field("counts", counts, {.text = "Counts and last use of rows.", .choices = keep_reset});
    v.Field(
        "learning_rate", learning_rate,
        {.text = "Keep: schedules go on from the other run's step. Reset: they start anew.", .choices = keep_reset});
    v.Field("dense", dense, {.text = "Parameters of the dense net.", .choices = keep_reset});
    v.Map("rename", rename, {.text = "Fields of this run that take the rows of a field of another name."});
    v.Field(
        "drop", drop,
        {.text =
             "Tables or dense parameters of the other checkpoint that are left behind. Fields that this run does not "
             "have are in any case; their rows stay in a table that other fields use too, until they expire."});
    v.Field("allow_misfit", allow_misfit,
            {.text = "Start what does not fit (another width or shape) anew with a warning, in place of an error."});
  }
};

struct CheckpointConfig {
  int64_t every_steps = 0;
  double every_seconds = 0.0;
  int64_t keep = 3;
  bool at_end = true;
  std::string resume = "auto";
  std::string init_from;
  WarmStartConfig warm_start;

  template <class V>
  void Visit(V& v) {
    v.Field("every_steps", every_steps, {.text = "Write a checkpoint every so many steps; 0: off.", .min = 0});
    v.Field("every_seconds", every_seconds,
            {.text = "Write a checkpoint when so much time passed since the last one; 0: off.",
             .unit = "seconds",
             .min = 0});
    v.Field("keep", keep, {.text = "Checkpoints that are kept; the oldest is removed first.", .min = 1});
    v.Field("at_end", at_end, {.text = "Write a checkpoint when training ends."});
    v.Field("resume", resume,
            {.text = "auto: go on from the newest checkpoint of the run folder where there is one; never: refuse a "
                     "folder that holds a run; or the path of a checkpoint."});
    v.Field("init_from", init_from,
            {.text = "Checkpoint or run folder of another model whose rows and parameters this run starts from."});
    v.Struct("warm_start", warm_start, {.text = "What is taken over from init_from."});
  }
};

struct LogConfig {
  double every_seconds = 10.0;
  int64_t every_steps = 0;
  bool tensorboard = false;

  template <class V>
  void Visit(V& v) {
    v.Field("every_seconds", every_seconds,
            {.text = "Time between two lines of train.jsonl and, off a terminal, of the log.",
             .unit = "seconds",
             .min = 0.1,
             .performance_only = true});
    v.Field("every_steps", every_steps,
            {.text = "Steps between two lines of train.jsonl, beside every_seconds; 0: off.",
             .min = 0,
             .performance_only = true});
    v.Field("tensorboard", tensorboard,
            {.text = "Also write TensorBoard event files into the run folder.", .performance_only = true});
  }
};

struct BenchConfig {
  std::string data = "memory";
  int64_t dense = 13;
  int64_t fields = 26;
  int64_t rows_per_field = 1000000;
  double keys_per_field = 1.0;
  double skew = 4.0;
  bool fill_tables = true;
  int64_t batches = 64;
  int64_t warmup_steps = 10;
  double seconds = 10.0;
  int64_t rounds = 1;
  int64_t text_samples = 1000000;
  bool roofline = true;

  template <class V>
  void Visit(V& v) {
    v.Field("data", data,
            {.text = "memory: batches made in memory beforehand; text: one pass over the files of data.train, or over "
                     "Criteo text that is written first where there are none.",
             .choices = {"memory", "text"}});
    v.Field("dense", dense, {.text = "Numeric features of a sample.", .min = 0});
    v.Field("fields", fields, {.text = "Sparse fields of a sample.", .min = 0});
    v.Field("rows_per_field", rows_per_field, {.text = "Distinct keys of a field.", .unit = "rows", .min = 1});
    v.Field("keys_per_field", keys_per_field,
            {.text = "Keys of a field in a sample, on average; 1: one-hot.", .unit = "keys", .min = 1});
    v.Field("skew", skew, {.text = "Power law of the keys: index = u^skew * rows_per_field.", .min = 0});
    v.Field("fill_tables", fill_tables, {.text = "Put every key into the tables before time is taken."});
    v.Field("batches", batches, {.text = "Distinct batches in memory, used round after round.", .min = 1});
    v.Field("warmup_steps", warmup_steps, {.text = "Steps before time is taken.", .min = 0});
    v.Field("seconds", seconds,
            {.text = "Length of a timed round over batches in memory.", .unit = "seconds", .min = 0});
    v.Field("rounds", rounds, {.text = "Timed rounds; the report holds the median and the spread.", .min = 1});
    v.Field("text_samples", text_samples, {.text = "Lines written where data is text without files.", .min = 1});
    v.Field("roofline", roofline, {.text = "Measure the machine and report the model's share of what it can do."});
  }
};

// Everything that a run is made from, as one YAML file holds it; docs/reference/config.md is generated from this.
struct RunConfig {
  std::string name;
  int64_t seed = 1;
  bool deterministic = false;
  std::string precision = "fp32";
  int64_t threads = 0;
  bool huge_pages = true;
  data::DataConfig data;
  std::vector<std::pair<std::string, data::FeatureConfig>> features;
  std::vector<std::pair<std::string, embedding::TableConfig>> tables;
  nn::ModelConfig model;
  optim::OptimizerConfig optimizer;
  TrainConfig train;
  placement::StrategyConfig strategy;
  service::ServiceConfig service;
  CheckpointConfig checkpoint;
  LogConfig log;
  BenchConfig bench;

  // Out of line, all of them: they would be a large part of every file that names a run's configuration.
  RunConfig();
  RunConfig(const RunConfig&);
  RunConfig(RunConfig&&) noexcept;
  RunConfig& operator=(const RunConfig&);
  RunConfig& operator=(RunConfig&&) noexcept;
  ~RunConfig();
  void Visit(config::Visitor& v);
};

// Settings that contradict one another are named here, before anything is opened.
Status Validate(const RunConfig& config);
// Also those that several ranks do not offer.
Status ValidateForRanks(const RunConfig& config);
// Also those that workers of a parameter service do not offer.
Status ValidateForServers(const RunConfig& config);

// The settings of table `name`: its own where it is named, else `default`'s, else the built-in ones.
embedding::TableConfig TableSettings(const RunConfig& config, const std::string& name);

// The start without a YAML file: files of training and evaluation data, a preset of the model, everything else as
// defaults. The data's format follows from the file's name and first line.
RunConfig ConfigForFiles(const std::vector<std::string>& train_files, const std::vector<std::string>& eval_files,
                         const std::string& preset);

}  // namespace sluice::train
