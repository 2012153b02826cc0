#include "train/model.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <variant>

#include "base/check.h"
#include "base/huge_pages.h"
#include "base/thread_pool.h"
#include "config/reader.h"
#include "config/writer.h"
#include "placement/strategy.h"
#include "train/api.h"
#include "train/checkpointing.h"
#include "train/model_state.h"
#include "train/peers.h"
#include "train/planning.h"
#include "train/worker.h"

namespace sluice::train {

struct Model::Impl {
  std::string path;
  std::unique_ptr<checkpoint::CheckpointReader> reader;  // while loading
  CheckpointHeader header;
  nn::LossKind loss = nn::LossKind::kBce;
  data::Schema schema;
  std::unique_ptr<ThreadPool> pool;
  std::variant<std::unique_ptr<ModelState<float>>, std::unique_ptr<ModelState<double>>> state;
  std::variant<std::unique_ptr<Worker<float>>, std::unique_ptr<Worker<double>>> worker;
  WorkingSet set;
  bool are_processes = false;
  RankContext context;  // ranks null: one process
  const RankContext* ranks() const { return context.ranks == nullptr ? nullptr : &context; }

  // Ok where all ranks are.
  Status Agree(const Status& mine) const { return context.ranks == nullptr ? mine : context.ranks->Agree(mine); }

  Status FindCheckpoint(const std::string& where) {
    Result<std::string> found = std::string();
    if (context.ranks == nullptr || context.ranks->leads()) found = FindModel(where);
    if (context.ranks != nullptr) found = context.ranks->Share(found);
    if (found.ok()) path = *found;
    return found.status();
  }

  Status ReadConfig(const std::vector<std::string>& overrides, const std::function<void(RunConfig*)>& adjust) {
    SLUICE_ASSIGN_OR_RETURN(reader, checkpoint::CheckpointReader::Open(path));
    SLUICE_ASSIGN_OR_RETURN(header, ReadHeader(*reader));
    RunConfig& config = header.config;
    if (!overrides.empty()) SLUICE_RETURN_IF_ERROR(config::ReadText(config::ToYaml(config), path, overrides, &config));
    if (adjust) adjust(&config);
    loss = config.model.loss == "mse" ? nn::LossKind::kMse : nn::LossKind::kBce;
    schema = header.features.MakeSchema();
    return Status::Ok();
  }

  // Ranks that are processes: whether they see the same program, settings, data and checkpoint, and how many threads
  // each takes.
  Status MeetPeers() {
    RunConfig seen = header.config;
    for (const auto* files : {&seen.data.train, &seen.data.eval})
      if (std::find(files->begin(), files->end(), "-") != files->end())
        return context.ranks->LeaveTogether(
            InvalidArgument("every rank reads the data, which standard input does not allow; name files"));
    if (!are_processes) return Status::Ok();
    if (!seen.data.eval.empty()) seen.data.train.clear();  // nobody reads those
    SLUICE_RETURN_IF_ERROR(CheckPeers(seen, context.ranks));
    const std::string manifest = checkpoint::SerialiseManifest(reader->manifest());
    SLUICE_ASSIGN_OR_RETURN(const std::string leaders, context.ranks->Share(manifest));
    SLUICE_RETURN_IF_ERROR(
        Agree(manifest == leaders ? Status::Ok() : InvalidArgument("{}: another checkpoint than rank 0's", path)));
    SLUICE_ASSIGN_OR_RETURN(header.config.threads, AgreeOnThreads(header.config, context.ranks));
    return Status::Ok();
  }

  template <class T>
  Status LoadAs() {
    SLUICE_ASSIGN_OR_RETURN(auto loaded, ModelState<T>::Make(header.config, schema));
    embedding::LoadOptions options;
    if (context.ranks != nullptr) {
      const bool sharded = context.strategy.sharded_input;
      context.strategy = placement::Uniform(placement::Placement::kRowsA2a, loaded->tables->ids().num_vocabularies());
      context.strategy.sharded_input = sharded;
      context.whole_bags = WholeBags(*loaded->net, schema);
      options.all_default_rows = true;
    }
    SLUICE_RETURN_IF_ERROR(LoadState(*reader, loaded.get(), ranks(), options));
    if (context.ranks == nullptr) worker = std::make_unique<Worker<T>>(loaded.get(), pool.get(), WorkerOptions<T>{});
    state = std::move(loaded);
    reader.reset();
    return Status::Ok();
  }

  template <class T>
  ScoreOptions<T> Options() const {
    ScoreOptions<T> options;
    options.overlap = header.config.train.Overlaps(pool->num_threads(), header.features.format != "packed");
    options.queue_depth = header.config.train.queue_depth;
    options.logit_correction = data::LogitCorrection(header.config.data);
    options.stop = &InterruptFlag();
    options.ranks = ranks();
    return options;
  }
};

Result<RunConfig> Model::ConfigOf(const std::string& path, const std::vector<std::string>& overrides) {
  Impl impl;
  SLUICE_RETURN_IF_ERROR(impl.FindCheckpoint(path));
  SLUICE_RETURN_IF_ERROR(impl.ReadConfig(overrides, nullptr));
  return impl.header.config;
}

Model::Model(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Model::~Model() = default;

const std::string& Model::path() const { return impl_->path; }
const RunConfig& Model::config() const { return impl_->header.config; }
const data::FittedFeatures& Model::features() const { return impl_->header.features; }
const data::Schema& Model::schema() const { return impl_->schema; }

Result<std::unique_ptr<Model>> Model::Load(const std::string& path, const std::vector<std::string>& overrides,
                                           const std::function<void(RunConfig*)>& adjust, const ModelRanks& ranks) {
  auto impl = std::make_unique<Impl>();
  impl->are_processes = ranks.are_processes;
  impl->context.ranks = ranks.ranks;
  impl->context.strategy.sharded_input = ranks.sharded_input;
  try {
    SLUICE_RETURN_IF_ERROR(impl->FindCheckpoint(path));
    SLUICE_RETURN_IF_ERROR(impl->Agree(impl->ReadConfig(overrides, adjust)));
    if (ranks.ranks != nullptr) SLUICE_RETURN_IF_ERROR(impl->MeetPeers());
    const RunConfig& config = impl->header.config;
    if (!config.huge_pages) RefuseHugePages();
    impl->pool = std::make_unique<ThreadPool>(static_cast<int>(config.threads));
    SLUICE_RETURN_IF_ERROR(impl->Agree(config.precision == "fp64" ? impl->LoadAs<double>() : impl->LoadAs<float>()));
  } catch (const StatusError& error) {
    return error.status();
  }
  return std::unique_ptr<Model>(new Model(std::move(impl)));
}

Result<std::unique_ptr<data::BatchSource>> Model::Open(data::Purpose purpose) const {
  data::OpenOptions open;
  open.purpose = purpose;
  open.batch_size = impl_->header.config.train.batch_size;
  open.seed = static_cast<uint64_t>(impl_->header.config.seed);
  open.num_reader_threads = static_cast<int>(impl_->header.config.data.reader_threads);
  if (impl_->context.strategy.sharded_input) open.slice = {impl_->context.ranks->rank(), impl_->context.ranks->size()};
  return data::OpenSource(impl_->header.config.data, impl_->header.features, open);
}

Status Model::Predict(data::Batch* batch, std::vector<float>* predictions) {
  SLUICE_CHECK(impl_->context.ranks == nullptr, "a batch of one rank's own, of {}", impl_->context.ranks->size());
  const size_t num_labels = impl_->schema.labels.size();
  const double correction = data::LogitCorrection(impl_->header.config.data);
  predictions->resize(static_cast<size_t>(batch->size) * num_labels);
  WorkingSet& set = impl_->set;
  try {
    std::swap(set.batch, *batch);
    std::visit(
        [&](auto& state) {
          state->tables->ids().Build(set.batch, impl_->pool.get(), &set.ids);
          state->tables->Resolve(&set, embedding::ResolveMode::kLookup, 1, impl_->pool.get());
          using Scalar = std::remove_cvref_t<decltype(state->params[0])>;
          auto& worker = std::get<std::unique_ptr<Worker<Scalar>>>(impl_->worker);
          worker->Predict(set);
          state->tables->Release(set);
          for (size_t i = 0; i < predictions->size(); ++i) {
            const double logit = static_cast<double>(worker->logits()[i]);
            (*predictions)[i] = static_cast<float>(
                impl_->loss == nn::LossKind::kBce ? 1.0 / (1.0 + std::exp(-(logit + correction))) : logit);
          }
        },
        impl_->state);
    std::swap(set.batch, *batch);
  } catch (const StatusError& error) {
    std::swap(set.batch, *batch);
    return error.status();
  }
  return Status::Ok();
}

Status Model::Score(data::BatchSource* source, const ScoreVisitor& visit) {
  return std::visit(
      [&]<class T>(std::unique_ptr<ModelState<T>>& state) {
        return ScoreSource<T>(state.get(), source, impl_->pool.get(), impl_->Options<T>(), visit);
      },
      impl_->state);
}

Result<metric::Metrics> Model::Evaluate(data::BatchSource* source) {
  return std::visit(
      [&]<class T>(std::unique_ptr<ModelState<T>>& state) {
        return EvaluateSource<T>(state.get(), impl_->loss, source, impl_->pool.get(), impl_->Options<T>());
      },
      impl_->state);
}

}  // namespace sluice::train
