#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/thread_pool.h"
#include "checkpoint/checkpoint_reader.h"
#include "data/open.h"
#include "metric/histogram_auc.h"
#include "metric/metrics.h"
#include "telemetry/metrics_file.h"
#include "telemetry/progress.h"
#include "telemetry/run_log.h"
#include "train/api.h"
#include "train/checkpointing.h"
#include "train/evaluation.h"
#include "train/host_stage.h"
#include "train/model_state.h"
#include "train/planning.h"
#include "train/progress.h"
#include "train/progressive_evaluation.h"
#include "train/run_folder.h"
#include "train/worker.h"

namespace sluice::train {

// One run: the three stages, evaluation, early stopping, checkpoints and logs. docs/architecture.md.
// Threads      Run from one thread; uses a pool, one thread of the host stage and those of the source.
// Errors       as train::Train.
template <class T>
class Trainer {
 public:
  // Opens data, builds the model and, where the folder says so, takes up its checkpoint. `config.features` empty: by
  // the data's format.
  static Result<std::unique_ptr<Trainer>> Make(const RunConfig& config, const RunFolder& folder,
                                               const TrainOptions& options, placement::Ranks* ranks = nullptr);

  // `ranks`: the peers of a run on several ranks, else null; Make and Run are then collective.
  Result<TrainReport> Run();

  ModelState<T>& state() { return *state_; }
  const RunConfig& config() const { return header_.config; }

 private:
  Trainer(const RunFolder& folder, const TrainOptions& options, placement::Ranks* ranks);
  // Each rank by itself: data and an empty model.
  Status OpenData(const RunConfig& config);
  // All ranks together: the strategy, a checkpoint's state, logs.
  Status OpenModel();
  Status OpenLog();
  // Rank 0: the strategy, and what it should send.
  Result<placement::Strategy> Plan(const placement::Machine& link);
  Status PredictTraffic();
  data::Slice InputSlice() const;  // all of it until the strategy says otherwise
  Status OpenTrainingData();
  Status Log(telemetry::StepRecord record);  // rank 0 alone writes
  Result<std::vector<telemetry::ProcessUse>> Processes();
  Status CountTraffic();
  Status CompareRanks(int64_t sent_bytes);
  Result<int64_t> SumOverRanks(int64_t value);
  bool leads() const { return context_.ranks == nullptr || context_.ranks->leads(); }
  const RankContext* ranks() const { return context_.ranks == nullptr ? nullptr : &context_; }
  Status Loop();
  Status ScoreBeforeTraining(const WorkingSet& set);
  Status FinishProgressive();
  Status AfterStep(const WorkingSet& set);
  Status AtRest();
  Status AtEpochEnd();
  Status Finish();
  Status Measure();      // the metrics of the model as it stands
  Status EvaluateNow();  // that, and what early stopping and schedules make of it; once per step
  Status RestoreBest();
  Status WriteCheckpoint(const std::string& to);
  Status LogStretch(double lr);
  bool RestAfter(int64_t step) const;
  bool EvaluationDue(int64_t step) const;
  Status FillReport();
  double Fraction(const WorkingSet& set) const;
  ScoreOptions<T> ScoringOptions() const;

  RankContext context_;  // ranks null: one process
  RunFolder folder_;
  TrainOptions options_;
  CheckpointHeader header_;
  nn::LossKind loss_ = nn::LossKind::kBce;
  std::unique_ptr<ThreadPool> pool_;
  std::unique_ptr<ModelState<T>> state_;
  std::unique_ptr<PlannedRun> planned_;                       // rank 0, while opening
  std::unique_ptr<checkpoint::CheckpointReader> checkpoint_;  // to resume from, while opening
  std::unique_ptr<data::BatchSource> source_;
  std::unique_ptr<Worker<T>> worker_;
  std::unique_ptr<ProgressiveEvaluation> progressive_;
  metric::HistogramAuc live_auc_{0.999995};
  std::unique_ptr<HostStage<T>> host_;
  std::unique_ptr<telemetry::Progress> progress_;
  telemetry::RunLog log_;
  TrainReport report_;

  HostTimes host_times_;
  int64_t total_bytes_ = 0;  // of the plain training files; 0: unknown
  bool stop_ = false;        // early stopping or an interrupt
  bool interrupted_ = false;
  bool data_ended_ = false;
  bool rest_asked_ = false;  // a checkpoint by time, or an interrupt, waits for a rest
  double start_s_ = 0;       // clock readings
  double last_checkpoint_s_ = 0, last_log_s_ = 0;
  double train_s_ = 0, eval_s_ = 0;
  comm::TrafficTotals eval_traffic_;  // of evaluations, which bytes per training sample leave out
  // Since the last line of the log.
  nn::LossSums stretch_;
  int64_t stretch_samples_ = 0, stretch_steps_ = 0;
  double stretch_begin_s_ = 0;
};

}  // namespace sluice::train
