#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "metric/metrics.h"
#include "train/config.h"

// What the verbs of the command line call, and what a C++ program may call in their place. Every function returns a
// Status that names file, line, key or option; none throws.
namespace sluice::train {

// Set (by a signal handler, say) to make a running Train write a checkpoint and leave with kCancelled, and a running
// Predict, Evaluate or Bench leave without one. Lock-free.
std::atomic<bool>& InterruptFlag();

// ---- train

struct TrainOptions {
  std::string run_dir;  // empty: runs/<time>-<name>
  bool quiet = false;   // no progress line
  int ranks = 1;        // threads of this process as ranks; each gets its share of `threads`
};

// What one of several ranks ended with.
struct RankShare {
  int64_t rows = 0;
  int64_t table_bytes = 0;  // memory of its tables
  int64_t sent_bytes = 0;   // payload; evaluations left out
};
// The largest of the ranks' numbers over their mean; 1 is even.
double Skew(const std::vector<RankShare>& shares, int64_t RankShare::*number);

struct TrainReport {
  std::string run_dir;
  std::string checkpoint;  // path of the last checkpoint written, or empty
  int64_t steps = 0;
  int64_t samples = 0;  // trained on in this process
  int64_t skipped_lines = 0;
  double loss = 0;           // mean training loss of the last logged stretch
  double wall_s = 0;         // from the start of the process's work to the end
  double train_s = 0;        // of that, inside training steps
  double samples_per_s = 0;  // samples / train_s
  double cpu_s = 0;
  int64_t peak_rss_bytes = 0;
  bool evaluated = false;
  metric::Metrics eval;         // of the model that was kept
  metric::Metrics progressive;  // of every sample before it was trained on, with train.progressive; else no samples
  int64_t best_step = 0;        // where early stopping took the model from; 0: the last step
  bool stopped_early = false;
  int ranks = 1;
  // A worker of a parameter service reports for itself.
  int servers = 0;
  double staleness_mean = 0;  // pushes of others between a pull and its push
  int64_t staleness_max = 0;
  int64_t replayed_pushes = 0, lost_pushes = 0;  // after a server's restart
  // Payload by kind of traffic, summed over ranks; one process sends nothing.
  std::map<std::string, double> bytes_per_sample;
  std::map<std::string, double> predicted_bytes_per_sample;  // by the planner, without control; empty: one process
  std::vector<RankShare> shares;                             // [ranks]; empty: one process
  std::string ToText() const;                                // the lines at the end of a run
};

// Trains, evaluates and writes the run folder: config.yaml, train.jsonl, metrics.json, checkpoints/.
// Errors       kInvalidArgument for settings; kDataLoss and kIo for input; kNumeric for NaN; kCancelled after a
//              checkpoint when InterruptFlag was set.
Result<TrainReport> Train(const RunConfig& config, const TrainOptions& options);
// This process as one rank of those that an MPI launcher started; collective. Rank 0 alone has the report.
// Errors       also kInvalidArgument where ranks differ in version, configuration, data files or, in deterministic
//              mode, processor, naming what; kUnavailable naming a rank that was lost; what another rank failed with,
//              naming it. `on_lost`: called once, on another thread, when another rank was silent for the timeout or
//              failed; it should end the process, whose own thread may wait for that rank.
Result<std::optional<TrainReport>> TrainAsRank(const RunConfig& config, const TrainOptions& options,
                                               std::function<void(int rank, const Status& why)> on_lost);

// ---- plan

struct PlanRequest {
  int ranks = 2;
  std::string link, latency, memory;  // over strategy.planner where given
  std::string sample;                 // a number of samples, or a file to sample in place of data.train
  std::string json;                   // also write the plan here
};
// What the planner would choose for so many ranks, as text to print: docs/algorithms/planner.md. Trains nothing.
// Errors       kInvalidArgument naming the option or setting; those of the data.
Result<std::string> PlanRun(const RunConfig& config, const PlanRequest& request);

// The metrics as one line of text, and as the members of metrics.json (undefined ones left out).
std::string ToText(const metric::Metrics& metrics);
std::map<std::string, double> ByName(const metric::Metrics& metrics);

// ---- eval, predict

// `checkpoint` below: a checkpoint folder, a run folder (its best or newest checkpoint), or its checkpoints/ folder.
struct EvaluateOptions {
  std::string checkpoint;
  std::vector<std::string> inputs;     // files; empty: the held-out part of the run's own configuration
  std::vector<std::string> overrides;  // "key.path=value" over the checkpoint's configuration
  std::string json;                    // also write the metrics here
  int ranks = 1;                       // threads of this process as ranks; each gets its share of `threads`
};
Result<metric::Metrics> Evaluate(const EvaluateOptions& options);
// This process as one rank of those that an MPI launcher started, as TrainAsRank; collective. Rank 0 alone has metrics.
Result<std::optional<metric::Metrics>> EvaluateAsRank(const EvaluateOptions& options,
                                                      std::function<void(int rank, const Status& why)> on_lost);

struct PredictOptions {
  std::string checkpoint;
  std::vector<std::string> inputs = {"-"};
  std::string output = "-";          // a file is written aside and renamed when complete
  std::vector<std::string> columns;  // of the input, copied in front of the score
  std::vector<std::string> overrides;
  bool header = true;
  int ranks = 1;  // threads of this process as ranks; each gets its share of `threads`
};
struct PredictReport {
  int64_t samples = 0;
  int64_t skipped_lines = 0;
  double wall_s = 0;
};
Result<PredictReport> Predict(const PredictOptions& options);
// This process as one rank, as EvaluateAsRank. Rank 0 writes the output, in the order of the input, and has the report.
Result<std::optional<PredictReport>> PredictAsRank(const PredictOptions& options,
                                                   std::function<void(int rank, const Status& why)> on_lost);

// ---- export, inspect

struct ExportOptions {
  std::string checkpoint;
  std::string output;  // FILE.safetensors
  bool tables = true;
  bool slots = false;
};
struct ExportReport {
  int64_t tensors = 0;
  int64_t rows = 0;
  int64_t bytes = 0;
};
Result<ExportReport> Export(const ExportOptions& options);

struct InspectOptions {
  std::string checkpoint;
  std::string field;  // with value: show this key's row
  std::string value;  // as written in the data
  std::string key;    // or the 64-bit key itself (decimal or 0x...), in table `table`
  std::string table;
  bool digest = false;  // one hash of every row, slot and dense parameter
  bool json = false;
};
// The text (or JSON) to print. With digest: 16 hexadecimal digits.
Result<std::string> Inspect(const InspectOptions& options);

// ---- bench

struct BenchOptions {
  std::string json;  // also write the report here
  int ranks = 1;     // ranks that are threads of this process
};
// What one of several ranks did in the timed rounds.
struct BenchRank {
  std::map<std::string, double> sent_bytes;  // by kind of traffic
  std::map<std::string, double>
      exchange_s;                // by kind; keys on the host stage's thread, dense gradients beside backward
  double messages = 0;           // sent
  double sent_bytes_in_all = 0;  // since the process began: what an interface's counter is compared with
  std::string process;           // that it runs in: host:number
  double cpu_s = 0;              // of that process
  double peak_rss_bytes = 0;
  std::vector<std::pair<std::string, double>> time_by_part_s;  // per step
};
struct BenchReport {
  std::string workload;
  std::string precision;
  bool bf16_products = false;  // false with precision bf16 where products of float are faster
  std::string processor;
  int threads = 0;               // of all ranks together
  std::string placement;         // as the configuration has it; empty with one rank
  std::string strategy;          // what it came to
  double predicted_step_s = 0;   // by the planner; 0 where it does not know the link
  std::vector<BenchRank> ranks;  // empty with one rank
  int64_t batch_size = 0;        // of all ranks together
  int64_t steps = 0, samples = 0;
  double samples_per_s = 0;    // median of the rounds
  std::vector<double> rounds;  // samples/s of each
  double samples_per_s_per_core = 0;
  double cpu_use = 0;                 // cores busy on average
  double roofline_samples_per_s = 0;  // 0 where not measured
  double roofline_share = 0;
  std::vector<std::pair<std::string, double>> roofline_s_per_sample;  // by part: gemm, rows, optimizer
  std::vector<std::pair<std::string, double>> machine;                // gemm_gflops, random_rows_per_s, stream_gb_per_s
  std::vector<std::pair<std::string, double>> time_by_part_s;         // per step, of the worker stage and the others
  double unique_share = 0;                                            // unique rows over occurrences
  double unique_rows_per_sample = 0;
  double bytes_per_row = 0;
  int64_t rows = 0;
  double flops_per_sample = 0;
  double first_step_s = 0;      // from the start (data generation excluded) to the end of step 1
  double auc = 0, logloss = 0;  // of the samples trained on, scored before the step
  int64_t peak_rss_bytes = 0;
  std::string ToText() const;
};
// One report is an object, several are an array.
std::string ToJson(const std::vector<BenchReport>& reports);
// A report of each configuration; several, which several ranks alone can bench, differ in their strategy only and have
// their rounds in turn.
Result<std::vector<BenchReport>> Bench(const std::vector<RunConfig>& configs, const BenchOptions& options);
// The same as one rank of those that mpirun or srun started; collective, every rank with the same configurations. Rank
// 0 alone has the reports.
Result<std::optional<std::vector<BenchReport>>> BenchAsRank(const std::vector<RunConfig>& configs,
                                                            const BenchOptions& options);

}  // namespace sluice::train
