#include "train/service_worker.h"

#include <algorithm>
#include <utility>

#include "base/file.h"
#include "base/kept_memory.h"
#include "base/log.h"
#include "config/writer.h"
#include "placement/strategy.h"
#include "telemetry/metrics_file.h"
#include "telemetry/resource.h"
#include "train/run_metrics.h"
#include "train/service_layout.h"

namespace sluice::train {
namespace {

service::ClientOptions OptionsOf(const RunConfig& config) {
  const auto wire = [](const std::string& format) {
    return format == "bf16" ? service::Wire::kBf16 : service::Wire::kNative;
  };
  service::ClientOptions options;
  options.servers = config.strategy.servers;
  // Servers add gradients up in the order of names.
  options.name = fmt::format("worker-{:04}", config.strategy.worker);
  options.rows = options.row_gradients = wire(config.strategy.wire.rows);
  options.dense = wire(config.strategy.wire.dense);
  options.dense_gradients = wire(config.strategy.wire.dense_gradients);
  if (config.strategy.wire.packed && config.precision != "fp64") {
    if (options.dense == service::Wire::kNative) options.dense = service::Wire::kPacked;
    if (options.dense_gradients == service::Wire::kNative) options.dense_gradients = service::Wire::kPacked;
  }
  options.config = config.service;
  return options;
}

}  // namespace

template <class T>
ServiceWorker<T>::ServiceWorker(const RunConfig& config, const RunFolder& folder, const TrainOptions& options)
    : config_(config), folder_(folder), options_(options), start_s_(telemetry::WallSeconds()) {}

template <class T>
ServiceWorker<T>::~ServiceWorker() {
  StopStages();
}

template <class T>
Result<std::unique_ptr<ServiceWorker<T>>> ServiceWorker<T>::Make(const RunConfig& config, const RunFolder& folder,
                                                                 const TrainOptions& options,
                                                                 const Connector& connect) {
  std::unique_ptr<ServiceWorker> worker(new ServiceWorker(config, folder, options));
  worker->connect_ = connect ? connect : Connector(&service::ParameterClient<T>::Connect);
  try {
    SLUICE_RETURN_IF_ERROR(worker->Open());
  } catch (const StatusError& error) {
    return error.status();
  }
  return worker;
}

template <class T>
Status ServiceWorker<T>::Open() {
  KeepFreedMemory();
  SLUICE_ASSIGN_OR_RETURN(features_, data::FitFeatures(config_.data, config_.features, WantsDenseInput(config_.model)));
  loss_ = config_.model.loss == "mse" ? nn::LossKind::kMse : nn::LossKind::kBce;
  pool_ = std::make_unique<ThreadPool>(static_cast<int>(config_.threads));
  SLUICE_ASSIGN_OR_RETURN(state_, ModelState<T>::Make(config_, features_.MakeSchema()));
  if (config_.strategy.preset == "ps-sync" && config_.strategy.workers > 1 && state_->buffers.size() > 0)
    return InvalidArgument(
        "batch normalisation is not offered with ps-sync and several workers: each would normalise by its "
        "own part of the batch");
  progressive_ = std::make_unique<ProgressiveEvaluation>(
      config_, state_->schema.num_labels(), [this](const char* event, ProgressiveEvaluation::Values values) {
        return log_.Write({event, step_, report_.samples, std::move(values)});
      });
  SLUICE_RETURN_IF_ERROR(OpenSession());

  SLUICE_RETURN_IF_ERROR(WriteFileAtomically(folder_.File("config.yaml"), config::ToYaml(config_)));
  SLUICE_RETURN_IF_ERROR(log_.Open(folder_.File("train.jsonl"), -1));
  if (config_.log.tensorboard) SLUICE_RETURN_IF_ERROR(log_.AddEventFile(folder_.path, -1));
  telemetry::ProgressOptions progress;
  progress.quiet = options_.quiet || !leads();
  progress.log_interval_s = config_.log.every_seconds;
  progress_ = std::make_unique<telemetry::Progress>(progress);
  if (!options_.quiet) {
    SLUICE_INFO("worker {} of {}, {} parameter servers, preset {}, from clock {} on", config_.strategy.worker,
                config_.strategy.workers, config_.strategy.servers.size(), config_.strategy.preset, step_ + 1);
    SLUICE_INFO("the batch size of {} is that of one worker", config_.train.batch_size);
  }
  return Status::Ok();
}

// Joins the servers, also where they go back to a checkpoint meanwhile.
template <class T>
Status ServiceWorker<T>::OpenSession() {
  Status status;
  do {
    StopStages();
    status = JoinServers();
  } while (!status.ok() && client_ != nullptr && client_->outlived());
  return status;
}

// The client and what hangs on it.
template <class T>
Status ServiceWorker<T>::JoinServers() {
  SLUICE_ASSIGN_OR_RETURN(source_, LeasedSource::Make(config_, features_));
  SLUICE_ASSIGN_OR_RETURN(client_, connect_(OptionsOf(config_), LayoutOf(*state_)));
  SLUICE_RETURN_IF_ERROR(client_->OfferInput(source_->plan()));
  source_->set_calls({[this](std::span<const int64_t> held) { return client_->AcquireLease(held); },
                      [this](const service::Lease& lease) { return client_->FinishLease(lease); }});
  const service::JoinInfo& info = client_->info();
  step_ = info.last_clock;
  remote_ = std::make_unique<RemoteStep<T>>(client_.get(), state_.get(), config_.strategy.pull_ahead);
  WorkerOptions<T> options;
  options.remote = remote_.get();
  options.clip_norm = config_.train.clip_norm;
  options.clip_norm_dense = config_.optimizer.clip_norm;
  options.check_finite = config_.train.check_finite;
  options.seed = static_cast<uint64_t>(config_.seed);
  worker_ = std::make_unique<Worker<T>>(state_.get(), pool_.get(), options);
  return Status::Ok();
}

template <class T>
Result<TrainReport> ServiceWorker<T>::Run() {
  Status status;
  try {
    status = RunSession();
    // What this worker had under way is void, and its input is lent again.
    while (!status.ok() && client_ != nullptr && client_->outlived() && !interrupted_) {
      SLUICE_WARN("worker {}: {}; joining anew", config_.strategy.worker, status.message());
      status = OpenSession();
      if (status.ok()) status = RunSession();
    }
  } catch (const StatusError& error) {
    status = error.status();
  }
  progress_->Clear();
  StopStages();
  (void)log_.Close();
  if (!status.ok()) return status;
  if (interrupted_)
    return Status(StatusCode::kCancelled, "interrupted; the rest of this worker's input goes to others");
  return report_;
}

template <class T>
Status ServiceWorker<T>::RunSession() {
  HostStageOptions<T> host;
  // Threads of its own even where no processor is free: what it waits for are the servers.
  host.overlap = config_.train.overlap != "false";
  host.queue_depth = config_.train.queue_depth;
  host.last_step = step_;
  host.max_steps = config_.train.max_steps > 0 ? step_ + config_.train.max_steps - report_.steps : 0;
  host.remote = remote_.get();
  host.leases = source_.get();
  host_ = std::make_unique<HostStage<T>>(source_.get(), state_->tables.get(), pool_.get(), host);
  last_log_s_ = telemetry::WallSeconds();
  Status status;
  try {
    // After a session that failed nothing may be left to do but to finish.
    const bool enough = config_.train.max_steps > 0 && report_.steps >= config_.train.max_steps;
    if (!enough) status = Loop();
    // Whoever asks for input after this client has left would ask until retry_s is over.
    StopReading();
    if (status.ok()) status = Finish();
  } catch (const StatusError& error) {
    status = error.status();
  } catch (const std::bad_alloc&) {
    status = ResourceExhausted("out of memory at step {}", step_);
  }
  return status;
}

template <class T>
void ServiceWorker<T>::StopReading() {
  if (remote_ != nullptr) remote_->Stop();
  if (source_ != nullptr) source_->Stop();
  if (host_ != nullptr) host_->Stop();
}

// Nothing may write into a batch that is no more: first whoever asks, then the client, then the batches.
template <class T>
void ServiceWorker<T>::StopStages() {
  StopReading();
  client_.reset();
  host_.reset();
}

template <class T>
Status ServiceWorker<T>::Loop() {
  const double begin_s = telemetry::WallSeconds();
  while (!interrupted_) {
    SLUICE_ASSIGN_OR_RETURN(const auto item, host_->Next());
    if (item.event == HostStage<T>::Event::kEnd) break;
    worker_->Train(*item.set);
    for (const LeasedPart& part : item.set->leases)
      if (part.ends) SLUICE_RETURN_IF_ERROR(source_->Finish(part.lease));
    const Status status = AfterStep(*item.set);
    host_->Recycle(item.set);
    SLUICE_RETURN_IF_ERROR(status);
  }
  SLUICE_RETURN_IF_ERROR(client_->Flush());
  train_s_ = telemetry::WallSeconds() - begin_s;
  traffic_ = client_->stats();
  return Status::Ok();
}

template <class T>
Status ServiceWorker<T>::AfterStep(const WorkingSet& set) {
  step_ = set.step;
  interrupted_ = InterruptFlag().load(std::memory_order_relaxed);
  report_.skipped_lines = set.stats.skipped_lines;
  if (set.batch.size == 0) return Status::Ok();
  report_.samples += set.batch.size;
  ++report_.steps;
  // The logits of a step are those of the rows and parameters that were pulled for it.
  if (progressive_->evaluator() != nullptr) SLUICE_RETURN_IF_ERROR(progressive_->Add(set.batch, worker_->logits()));
  const nn::LossSums loss = worker_->loss();
  stretch_.loss += loss.loss;
  stretch_.weight += loss.weight;
  stretch_samples_ += set.batch.size;
  const double now = telemetry::WallSeconds();
  const LogConfig& log = config_.log;
  if (now - last_log_s_ >= log.every_seconds || (log.every_steps > 0 && report_.steps % log.every_steps == 0))
    SLUICE_RETURN_IF_ERROR(LogStretch());
  if (progress_->Due()) {
    telemetry::ProgressState shown;
    shown.step = step_;
    shown.samples = report_.samples;
    shown.loss = stretch_.weight > 0 ? stretch_.loss / stretch_.weight : report_.loss;
    progress_->Update(shown);
  }
  return Status::Ok();
}

template <class T>
Status ServiceWorker<T>::LogStretch() {
  const double now = telemetry::WallSeconds();
  if (stretch_.weight > 0) report_.loss = stretch_.loss / stretch_.weight;
  const service::ClientStats stats = client_->stats();
  const Status status = log_.Write(
      {"step",
       step_,
       report_.samples,
       {{"loss", report_.loss},
        {"samples_per_s", static_cast<double>(stretch_samples_) / std::max(1e-9, now - last_log_s_)},
        {"staleness_mean",
         stats.pushes > 0 ? static_cast<double>(stats.staleness_sum) / static_cast<double>(stats.pushes) : 0},
        {"staleness_max", static_cast<double>(stats.staleness_max)},
        {"wait_s", stats.wait_s},
        {"pull_p50_ms", stats.latency_p50_ms},
        {"pull_p99_ms", stats.latency_p99_ms},
        {"rss_bytes", static_cast<double>(telemetry::RssBytes())}}});
  stretch_ = {};
  stretch_samples_ = 0;
  last_log_s_ = now;
  return status;
}

template <class T>
Status ServiceWorker<T>::Evaluate() {
  remote_->PullDense();
  data::OpenOptions open;
  open.purpose = data::Purpose::kEval;
  open.batch_size = config_.train.batch_size;
  open.seed = static_cast<uint64_t>(config_.seed);
  open.num_reader_threads = static_cast<int>(config_.data.reader_threads);
  SLUICE_ASSIGN_OR_RETURN(const auto source, data::OpenSource(config_.data, features_, open));
  ScoreOptions<T> options;
  options.remote = remote_.get();
  options.overlap = config_.train.overlap != "false";
  options.queue_depth = config_.train.queue_depth;
  options.logit_correction = data::LogitCorrection(config_.data);
  SLUICE_ASSIGN_OR_RETURN(report_.eval, EvaluateSource<T>(state_.get(), loss_, source.get(), pool_.get(), options));
  report_.evaluated = true;
  const auto values = ByName(report_.eval);
  return log_.Write({"eval", step_, report_.samples, {values.begin(), values.end()}});
}

template <class T>
Status ServiceWorker<T>::Finish() {
  if (stretch_samples_ > 0) SLUICE_RETURN_IF_ERROR(LogStretch());
  SLUICE_ASSIGN_OR_RETURN(report_.progressive, progressive_->Finish());
  // All input is done now, by all workers. Whoever stays until the checkpoint can send again what a server forgets
  // before.
  if (config_.checkpoint.at_end && !interrupted_) {
    if (leads()) {
      SLUICE_ASSIGN_OR_RETURN(report_.checkpoint, client_->Checkpoint());
      SLUICE_RETURN_IF_ERROR(log_.Write({"checkpoint", step_, report_.samples, {}}));
    } else if (const Status status = client_->AwaitCheckpoint(config_.service.retry_s); !status.ok()) {
      SLUICE_WARN("worker {} leaves without the last checkpoint, which worker 0 asks for: {}", config_.strategy.worker,
                  status.message());
    }
  }
  if (leads() && !interrupted_ && data::HasEvaluation(config_.data)) SLUICE_RETURN_IF_ERROR(Evaluate());
  SLUICE_RETURN_IF_ERROR(client_->Leave());
  return FillReport();
}

template <class T>
Status ServiceWorker<T>::FillReport() {
  report_.run_dir = folder_.path;
  report_.servers = static_cast<int>(config_.strategy.servers.size());
  report_.wall_s = telemetry::WallSeconds() - start_s_;
  report_.train_s = train_s_;
  report_.samples_per_s = train_s_ > 0 ? static_cast<double>(report_.samples) / train_s_ : 0;
  report_.cpu_s = telemetry::CpuSeconds();
  report_.peak_rss_bytes = telemetry::PeakRssBytes();
  report_.replayed_pushes = traffic_.replayed_pushes;
  report_.lost_pushes = traffic_.lost_pushes;
  report_.staleness_max = traffic_.staleness_max;
  if (traffic_.pushes > 0)
    report_.staleness_mean = static_cast<double>(traffic_.staleness_sum) / static_cast<double>(traffic_.pushes);
  if (report_.samples > 0) {
    const auto per_sample = [&](int64_t bytes) {
      return static_cast<double>(bytes) / static_cast<double>(report_.samples);
    };
    for (const auto& [kind, bytes] : traffic_.bytes_by_kind) report_.bytes_per_sample[kind] = per_sample(bytes);
    report_.bytes_per_sample["sent"] = per_sample(traffic_.bytes_sent);
    report_.bytes_per_sample["received"] = per_sample(traffic_.bytes_received);
  }
  telemetry::RunMetrics metrics = MetricsOf(report_);
  const service::ClientStats all = client_->stats();
  metrics.others = {{"steps", static_cast<double>(report_.steps)},
                    {"train_s", report_.train_s},
                    {"train_loss", report_.loss},
                    {"skipped_lines", static_cast<double>(report_.skipped_lines)},
                    {"staleness_mean", report_.staleness_mean},
                    {"staleness_max", static_cast<double>(report_.staleness_max)},
                    {"replayed_pushes", static_cast<double>(report_.replayed_pushes)},
                    {"lost_pushes", static_cast<double>(report_.lost_pushes)},
                    {"wait_s", traffic_.wait_s},
                    {"evaluation_bytes", static_cast<double>(all.bytes_sent - traffic_.bytes_sent + all.bytes_received -
                                                             traffic_.bytes_received)},
                    {"pull_p50_ms", traffic_.latency_p50_ms},
                    {"pull_p99_ms", traffic_.latency_p99_ms}};
  if (report_.progressive.samples > 0)
    for (const auto& [name, value] : ByName(report_.progressive))
      metrics.others.emplace_back("progressive_" + name, value);
  return telemetry::WriteMetricsFile(folder_.File("metrics.json"), metrics);
}

template class ServiceWorker<float>;
template class ServiceWorker<double>;

}  // namespace sluice::train
