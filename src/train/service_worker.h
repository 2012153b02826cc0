#pragma once

#include <memory>
#include <string>

#include "base/status.h"
#include "base/thread_pool.h"
#include "service/parameter_client.h"
#include "telemetry/progress.h"
#include "telemetry/run_log.h"
#include "train/api.h"
#include "train/evaluation.h"
#include "train/host_stage.h"
#include "train/leased_source.h"
#include "train/model_state.h"
#include "train/progressive_evaluation.h"
#include "train/remote_step.h"
#include "train/run_folder.h"
#include "train/worker.h"

namespace sluice::train {

// One worker of a run on a parameter service: it trains on what input the coordinator lends it, with rows and dense
// parameters that live on the servers. docs/algorithms/parameter-service.md.
// Semantics    the batch size is that of one worker. Worker 0 evaluates at the end and asks the servers for a
//              checkpoint; a worker that was stopped or lost is started again with the same settings and goes on.
//              Servers that went back to a checkpoint, or took this worker for lost, are joined anew.
// Threads      Run from one thread; uses a pool, the threads of the host stage, the source and the client.
// Errors       as train::Train, and kUnavailable where a server was away for service.retry_s.
template <class T>
class ServiceWorker {
 public:
  using Connector = std::function<Result<std::unique_ptr<service::ParameterClient<T>>>(const service::ClientOptions&,
                                                                                       const service::ModelLayout&)>;
  // `connect` null: over the network.
  static Result<std::unique_ptr<ServiceWorker>> Make(const RunConfig& config, const RunFolder& folder,
                                                     const TrainOptions& options, const Connector& connect = nullptr);
  ~ServiceWorker();

  Result<TrainReport> Run();

 private:
  ServiceWorker(const RunConfig& config, const RunFolder& folder, const TrainOptions& options);
  Status Open();
  Status OpenSession();
  Status JoinServers();
  Status RunSession();
  Status Loop();
  Status AfterStep(const WorkingSet& set);
  Status LogStretch();
  Status Evaluate();
  Status Finish();
  Status FillReport();
  void StopReading();
  void StopStages();
  bool leads() const { return config_.strategy.worker == 0; }

  RunConfig config_;
  RunFolder folder_;
  TrainOptions options_;
  Connector connect_;
  data::FittedFeatures features_;
  nn::LossKind loss_ = nn::LossKind::kBce;
  std::unique_ptr<ThreadPool> pool_;
  std::unique_ptr<ModelState<T>> state_;
  std::unique_ptr<LeasedSource> source_;
  std::unique_ptr<service::ParameterClient<T>> client_;
  std::unique_ptr<RemoteStep<T>> remote_;
  std::unique_ptr<Worker<T>> worker_;
  std::unique_ptr<HostStage<T>> host_;
  std::unique_ptr<telemetry::Progress> progress_;
  std::unique_ptr<ProgressiveEvaluation> progressive_;  // of the samples that this worker trains on
  telemetry::RunLog log_;
  TrainReport report_;
  service::ClientStats traffic_;  // of training
  int64_t step_ = 0;
  bool interrupted_ = false;
  double start_s_, train_s_ = 0, last_log_s_ = 0;
  nn::LossSums stretch_;  // since the last line of the log
  int64_t stretch_samples_ = 0;
};

}  // namespace sluice::train
