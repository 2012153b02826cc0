#include "train/serve_params.h"

#include <atomic>
#include <chrono>
#include <filesystem>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/kept_memory.h"
#include "base/log.h"
#include "checkpoint/checkpoint_folder.h"
#include "config/writer.h"
#include "data/features.h"
#include "placement/strategy.h"
#include "service/journal.h"
#include "service/parameter_server.h"
#include "service/statistics.h"
#include "train/api.h"
#include "train/checkpointing.h"
#include "train/model_state.h"
#include "train/run_folder.h"
#include "train/service_layout.h"
#include "train/warm_start.h"

namespace sluice::train {
namespace {

namespace fs = std::filesystem;

constexpr auto kTick = std::chrono::milliseconds(50);
constexpr double kGrace_s = 5;     // for requests under way at the end
constexpr double kLastCut_s = 20;  // other servers: until the first one has written its last checkpoint

Status ValidateForServing(const RunConfig& config, const ServeOptions& options) {
  const auto& strategy = config.strategy;
  if (!placement::UsesServers(strategy))
    return InvalidArgument("strategy.preset: {} trains without parameter servers; choose ps-async, ps-ssp or ps-sync",
                           strategy.preset);
  if (!strategy.servers.empty() && strategy.servers.size() != static_cast<size_t>(options.servers))
    return InvalidArgument("strategy.servers: {} addresses, and --shard says {} servers", strategy.servers.size(),
                           options.servers);
  if (options.servers > 1 && options.run_dir.empty())
    return InvalidArgument("--run-dir: several servers need one folder in common");
  if (!config.checkpoint.init_from.empty())
    return InvalidArgument(
        "checkpoint.init_from: a warm start is not offered by parameter servers; start with one process, and "
        "serve its checkpoint (checkpoint.resume)");
  for (const auto& [name, table] : config.tables)
    if (options.servers > 1 && table.admission.kind != "none" && table.on_missing == "default")
      return InvalidArgument(
          "tables.{}.on_missing: default (one learned row for all keys without one) is not offered with several "
          "servers and admission; use init or zero",
          name);
  return Status::Ok();
}

// The run's folder: the first server holds it; the others a folder of their own within.
Result<RunFolder> OpenServerFolder(const RunConfig& config, const ServeOptions& options) {
  if (options.server == 0) return OpenRunFolder(config, options.run_dir);
  RunFolder folder;
  folder.path = options.run_dir;
  const std::string mine = folder.File("servers/" + std::to_string(options.server));
  SLUICE_RETURN_IF_ERROR(MakeFolders(mine));
  SLUICE_ASSIGN_OR_RETURN(folder.lock, FolderLock::Take(mine));
  const std::string& resume = config.checkpoint.resume;
  if (resume == "never") return folder;
  if (resume != "auto") {
    SLUICE_ASSIGN_OR_RETURN(folder.resume_from, checkpoint::FindCheckpoint(resume));
    return folder;
  }
  if (fs::is_directory(folder.checkpoints())) {
    SLUICE_ASSIGN_OR_RETURN(const auto latest, checkpoint::LatestCheckpoint(folder.checkpoints()));
    if (latest) folder.resume_from = latest->path;
  }
  return folder;
}

template <class T>
class ModelServer {
 public:
  ModelServer(const RunConfig& config, const ServeOptions& options) : options_(options) { header_.config = config; }

  Status Run() {
    SLUICE_ASSIGN_OR_RETURN(folder_, OpenServerFolder(header_.config, options_));
    if (header_.config.checkpoint.resume != "auto") RemoveJournal();  // it belongs to this folder's checkpoints
    SLUICE_RETURN_IF_ERROR(Open());
    if (options_.on_listening) options_.on_listening(server_->address());
    for (Loop(); server_->going_back() != 0 && !InterruptFlag().load(); Loop()) SLUICE_RETURN_IF_ERROR(GoBack());
    const Status status = Finish();
    const bool nobody_left = server_->engine().Clients().empty();
    server_->Shutdown(kGrace_s);
    // What no checkpoint holds ends with this process, and nobody is there to send it again: the next start is from the
    // newest checkpoint alone, or from the beginning.
    if (status.ok() && nobody_left) RemoveJournal();
    return status;
  }

 private:
  using Part = service::CheckpointHooks::Part;

  std::string JournalPath() const { return folder_.File("servers/" + std::to_string(options_.server) + "/journal"); }

  void RemoveJournal() {
    std::error_code error;
    fs::remove(JournalPath(), error);
  }

  Status Open() {
    service::ServiceState service;
    SLUICE_RETURN_IF_ERROR(OpenModel(&service));
    SLUICE_RETURN_IF_ERROR(OpenJournal(&service));
    newest_step_ = service.step;
    return Start(std::move(service));
  }

  // To the newest checkpoint, with all other servers: what happened since counts no more. The generation is noted
  // first, so that a server that is killed now does the same when it is started again.
  Status GoBack() {
    const int64_t generation = server_->going_back();
    SLUICE_RETURN_IF_ERROR(service::Journal::Begin(JournalPath(), generation));
    options_.listen = server_->address();
    server_.reset();
    journal_.reset();
    writer_.reset();
    state_.reset();
    SLUICE_ASSIGN_OR_RETURN(const auto latest, checkpoint::LatestCheckpoint(folder_.checkpoints()));
    if (latest) folder_.resume_from = latest->path;
    SLUICE_RETURN_IF_ERROR(Open());
    SLUICE_INFO("server {} of {}: generation {}, from step {} on", options_.server, options_.servers, generation,
                server_->engine().step());
    return Status::Ok();
  }

  Status OpenModel(service::ServiceState* service) {
    KeepFreedMemory();
    const RunConfig& config = header_.config;
    header_.fp64 = sizeof(T) == 8;
    std::unique_ptr<checkpoint::CheckpointReader> reader;
    if (folder_.resume_from.empty()) {
      SLUICE_ASSIGN_OR_RETURN(header_.features,
                              data::FitFeatures(config.data, config.features, WantsDenseInput(config.model)));
    } else {
      SLUICE_ASSIGN_OR_RETURN(reader, checkpoint::CheckpointReader::Open(folder_.resume_from));
      SLUICE_ASSIGN_OR_RETURN(CheckpointHeader old, ReadHeader(*reader));
      header_.features = std::move(old.features);
      header_.progress = std::move(old.progress);
    }
    SLUICE_ASSIGN_OR_RETURN(state_, ModelState<T>::Make(config, header_.features.MakeSchema()));
    if (reader != nullptr) {
      SLUICE_RETURN_IF_ERROR(LoadServerState(*reader, state_.get(), options_.server, options_.servers));
      RestoreSchedules(header_.progress, state_.get());
      SLUICE_ASSIGN_OR_RETURN(const std::string text, ReadServiceState(*reader));
      if (!text.empty()) {
        SLUICE_ASSIGN_OR_RETURN(*service, service::ServiceState::FromJson(text));
      } else {  // of a run without parameter servers: its model, and its input anew
        service->step = header_.progress.step;
        service->samples = header_.progress.samples;
      }
      SLUICE_INFO("server {} of {}: from {}: step {}, {} clients known", options_.server, options_.servers,
                  folder_.resume_from, service->step, service->clients.size());
    }
    if (options_.server == 0) return WriteFileAtomically(folder_.File("config.yaml"), config::ToYaml(config));
    return Status::Ok();
  }

  Status OpenJournal(service::ServiceState* service) {
    SLUICE_RETURN_IF_ERROR(MakeFolders(fs::path(JournalPath()).parent_path().string()));
    SLUICE_RETURN_IF_ERROR(service::RecoverFromJournal(JournalPath(), service));
    SLUICE_ASSIGN_OR_RETURN(journal_, service::Journal::Open(JournalPath()));
    return Status::Ok();
  }

  service::ServedModel<T> Served() {
    service::ServedModel<T> served;
    served.layout = LayoutOf(*state_);
    served.server = options_.server;
    served.servers = options_.servers;
    for (int t = 0; t < state_->tables->size(); ++t) {
      served.tables.push_back(&state_->tables->table(t));
      const embedding::TableConfig settings = TableSettings(header_.config, state_->tables->need(t).name);
      served.shares_rows =
          served.shares_rows || (settings.admission.kind != "none" && settings.on_missing == "default");
    }
    served.table_rule = [this](int t, int64_t step) {
      optim::Rule rule = state_->tables->rule(t);
      rule.learning_rate = state_->tables->schedule(t).LearningRate(step);
      return rule;
    };
    served.dense_rule = [this](int64_t step) {
      optim::Rule rule = state_->rule;
      rule.learning_rate = state_->schedule.LearningRate(step);
      return rule;
    };
    if (state_->tables->expires()) served.expire = [this](int64_t step) { state_->tables->Expire(step); };
    served.params = state_->params.data();
    served.slots = state_->slots.data();
    served.buffers = state_->buffers.data();
    return served;
  }

  Status Start(service::ServiceState service) {
    const RunConfig& config = header_.config;
    service::EngineOptions engine;
    engine.server = options_.server;
    engine.servers = options_.servers;
    engine.staleness = placement::StalenessBound(config.strategy);
    engine.workers = config.strategy.workers;
    engine.config = config.service;
    engine.journal = journal_.get();
    engine.threads = static_cast<int>(config.service.threads > 0 ? config.service.threads : NumUsableProcessors());
    service::ServerOptions server;
    server.listen = options_.listen;
    server.metrics = options_.metrics;
    server.tls_cert = options_.tls_cert;
    server.tls_key = options_.tls_key;
    server.servers = config.strategy.servers;
    if (!config.service.token_file.empty()) {
      SLUICE_ASSIGN_OR_RETURN(server.token, service::ReadToken(config.service.token_file));
    }
    service::CheckpointHooks hooks;
    if (options_.server == 0) {
      hooks.create = [this](int64_t step) { return Create(step); };
      hooks.commit = [this](const std::vector<Part>& others) { return Commit(others); };
    }
    hooks.write = [this](const std::string& folder, int64_t step, const service::ServiceState& cut,
                         const std::vector<Part>& others) {
      return options_.server == 0 ? WriteFirst(cut, step, others) : WriteOther(folder, step);
    };
    service::ServedModel<T> served = Served();
    service::ModelLayout layout = served.layout;
    SLUICE_ASSIGN_OR_RETURN(
        server_, service::ParameterServer::Start(service::MakeBackend(std::move(served)), std::move(layout), engine,
                                                 std::move(service), server, hooks));
    return Status::Ok();
  }

  // ---- checkpoints

  std::string SpansFile(const std::string& folder, int server) const {
    return fmt::format("{}/dense-{}.part", folder, server);
  }

  Result<std::string> Create(int64_t step) {
    SLUICE_ASSIGN_OR_RETURN(writer_, checkpoint::CheckpointWriter::Create(folder_.checkpoints(), step));
    return writer_->temporary_path();
  }

  std::vector<int64_t> Rows() const {
    std::vector<int64_t> rows;
    for (int t = 0; t < state_->tables->size(); ++t) rows.push_back(state_->tables->table(t).stats().rows);
    return rows;
  }

  Result<Part> WriteOther(const std::string& folder, int64_t step) {
    std::error_code error;
    if (!fs::equivalent(fs::path(folder).parent_path(), folder_.checkpoints(), error) ||
        fs::is_symlink(folder, error) || !fs::is_directory(folder, error))
      return InvalidArgument(
          "{} is no checkpoint of this server's run folder {}; all servers of a run need one folder in common", folder,
          folder_.path);
    const auto writer = checkpoint::CheckpointWriter::Join(folder, step);
    SLUICE_RETURN_IF_ERROR(WriteServerTables(writer.get(), *state_, options_.server, Rows()));
    Part part;
    part.rows = Rows();
    SLUICE_ASSIGN_OR_RETURN(part.sections, writer->FinishFiles());
    // The dense arrays are one section; the first server puts the spans together.
    FileWriter spans;
    SLUICE_RETURN_IF_ERROR(spans.Open(SpansFile(folder, options_.server)));
    Status status;
    ForEachSpan(options_.server, [&](T* span, int64_t size) {
      if (status.ok()) status = spans.Write(std::as_bytes(std::span(span, static_cast<size_t>(size))));
    });
    SLUICE_RETURN_IF_ERROR(status);
    SLUICE_RETURN_IF_ERROR(spans.Finish(false));
    return part;
  }

  // body(first scalar, number) for the spans that a server holds: parameters, their slots, buffers.
  template <class Body>
  void ForEachSpan(int server, const Body& body) {
    const Range params = service::SpanOfServer(state_->params.size(), server, options_.servers);
    const Range buffers = service::SpanOfServer(state_->buffers.size(), server, options_.servers);
    body(state_->params.data() + params.begin, params.size());
    for (int64_t slot = 0; slot + state_->params.size() <= state_->slots.size() && state_->params.size() > 0;
         slot += state_->params.size())
      body(state_->slots.data() + slot + params.begin, params.size());
    body(state_->buffers.data() + buffers.begin, buffers.size());
  }

  // Nothing reads the other servers' spans here, so theirs may be filled in.
  Status ReadSpans(const std::string& folder, int server) {
    const std::string path = SpansFile(folder, server);
    SLUICE_ASSIGN_OR_RETURN(const FileReader file, FileReader::Open(path));
    int64_t offset = 0;
    Status status;
    ForEachSpan(server, [&](T* span, int64_t size) {
      if (status.ok()) status = file.ReadAt(offset, std::as_writable_bytes(std::span(span, static_cast<size_t>(size))));
      offset += size * static_cast<int64_t>(sizeof(T));
    });
    if (status.ok() && offset != file.size()) status = DataLoss("{}: {} bytes, not {}", path, file.size(), offset);
    std::error_code error;
    fs::remove(path, error);
    return status;
  }

  Result<Part> WriteFirst(const service::ServiceState& cut, int64_t step, const std::vector<Part>& others) {
    std::vector<int64_t> total_rows = Rows();
    for (size_t s = 0; s < others.size(); ++s) {
      if (others[s].rows.size() != total_rows.size())
        return DataLoss("server {} wrote {} tables", s + 1, others[s].rows.size());
      for (size_t t = 0; t < total_rows.size(); ++t) total_rows[t] += others[s].rows[t];
      SLUICE_RETURN_IF_ERROR(ReadSpans(writer_->temporary_path(), static_cast<int>(s) + 1));
    }
    header_.progress.step = step;
    header_.progress.samples = cut.samples;
    CaptureSchedules(*state_, &header_.progress);
    SLUICE_RETURN_IF_ERROR(WriteServerModel(writer_.get(), header_, *state_, cut.ToJson()));
    SLUICE_RETURN_IF_ERROR(WriteServerTables(writer_.get(), *state_, 0, total_rows));
    return Part{};
  }

  Result<std::string> Commit(const std::vector<Part>& others) {
    std::vector<std::string> sections;
    for (const Part& part : others) sections.push_back(part.sections);
    auto path = CommitServerCheckpoint(writer_.get(), header_.progress, sections);
    writer_.reset();
    if (!path.ok()) return path;
    newest_step_ = header_.progress.step;
    SLUICE_RETURN_IF_ERROR(checkpoint::KeepLast(folder_.checkpoints(), header_.config.checkpoint.keep));
    return path;
  }

  // ---- the run

  void Loop() {
    const CheckpointConfig& when = header_.config.checkpoint;
    auto last = service::Clock::now();
    int64_t last_step = server_->engine().step();
    while (!InterruptFlag().load() && server_->going_back() == 0) {
      std::this_thread::sleep_for(kTick);
      if (options_.server != 0) continue;
      const int64_t step = server_->engine().step();
      const bool by_time = when.every_seconds > 0 && service::SecondsSince(last) >= when.every_seconds;
      const bool by_steps = when.every_steps > 0 && step - last_step >= when.every_steps;
      if (step == last_step || !(by_time || by_steps)) continue;
      last = service::Clock::now();
      last_step = step;
      const auto path = server_->Checkpoint();
      if (path.ok())
        SLUICE_INFO("checkpoint {}", path.value());
      else
        SLUICE_WARN("no checkpoint was written: {}", path.status().message());
    }
  }

  // The last checkpoint: by the first server, while the others still answer.
  Status Finish() {
    if (options_.server == 0) {
      const int64_t step = server_->engine().step();
      const bool unchanged = step == newest_step_.load();
      if (!header_.config.checkpoint.at_end || unchanged) return Status::Ok();
      const auto path = server_->Checkpoint();
      if (path.ok()) SLUICE_INFO("checkpoint {}", path.value());
      return path.status();
    }
    const auto begin = service::Clock::now();
    while (header_.config.checkpoint.at_end && !server_->first_leaves() && service::SecondsSince(begin) < kLastCut_s)
      std::this_thread::sleep_for(kTick);
    return Status::Ok();
  }

  ServeOptions options_;
  CheckpointHeader header_;
  RunFolder folder_;
  std::unique_ptr<ModelState<T>> state_;
  std::unique_ptr<checkpoint::CheckpointWriter> writer_;  // of the checkpoint being written
  std::unique_ptr<service::Journal> journal_;
  std::atomic<int64_t> newest_step_{0};               // of the newest checkpoint
  std::unique_ptr<service::ParameterServer> server_;  // after what its threads use
};

}  // namespace

Status ServeParams(const RunConfig& configured, const ServeOptions& options) {
  RunConfig config = configured;
  try {
    SLUICE_RETURN_IF_ERROR(Validate(config));
    SLUICE_RETURN_IF_ERROR(ValidateForServing(config, options));
    SLUICE_RETURN_IF_ERROR(RenameFields(&config));
    return config.precision == "fp64" ? ModelServer<double>(config, options).Run()
                                      : ModelServer<float>(config, options).Run();
  } catch (const StatusError& error) {
    return error.status();
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("out of memory");
  }
}

}  // namespace sluice::train
