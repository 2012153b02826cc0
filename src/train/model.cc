#include "train/model.h"

#include <cmath>
#include <utility>
#include <variant>

#include "base/thread_pool.h"
#include "config/reader.h"
#include "config/writer.h"
#include "train/api.h"
#include "train/checkpointing.h"
#include "train/model_state.h"
#include "train/worker.h"

namespace sluice::train {

struct Model::Impl {
  std::string path;
  CheckpointHeader header;
  nn::LossKind loss = nn::LossKind::kBce;
  data::Schema schema;
  std::unique_ptr<ThreadPool> pool;
  std::variant<std::unique_ptr<ModelState<float>>, std::unique_ptr<ModelState<double>>> state;
  std::variant<std::unique_ptr<Worker<float>>, std::unique_ptr<Worker<double>>> worker;
  WorkingSet set;

  template <class T>
  Status LoadAs(const checkpoint::CheckpointReader& reader) {
    SLUICE_ASSIGN_OR_RETURN(auto loaded, ModelState<T>::Make(header.config, schema));
    SLUICE_RETURN_IF_ERROR(LoadState(reader, loaded.get()));
    worker = std::make_unique<Worker<T>>(loaded.get(), pool.get(), WorkerOptions<T>{});
    state = std::move(loaded);
    return Status::Ok();
  }

  template <class T>
  ScoreOptions<T> Options() const {
    ScoreOptions<T> options;
    options.overlap = header.config.train.Overlaps(pool->num_threads(), header.features.format != "packed");
    options.queue_depth = header.config.train.queue_depth;
    options.logit_correction = data::LogitCorrection(header.config.data);
    options.stop = &InterruptFlag();
    return options;
  }
};

Model::Model(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Model::~Model() = default;

const std::string& Model::path() const { return impl_->path; }
const RunConfig& Model::config() const { return impl_->header.config; }
const data::FittedFeatures& Model::features() const { return impl_->header.features; }
const data::Schema& Model::schema() const { return impl_->schema; }

Result<std::unique_ptr<Model>> Model::Load(const std::string& path, const std::vector<std::string>& overrides,
                                           const std::function<void(RunConfig*)>& adjust) {
  auto impl = std::make_unique<Impl>();
  try {
    SLUICE_ASSIGN_OR_RETURN(impl->path, FindModel(path));
    SLUICE_ASSIGN_OR_RETURN(const auto reader, checkpoint::CheckpointReader::Open(impl->path));
    SLUICE_ASSIGN_OR_RETURN(impl->header, ReadHeader(*reader));
    RunConfig& config = impl->header.config;
    if (!overrides.empty())
      SLUICE_RETURN_IF_ERROR(config::ReadText(config::ToYaml(config), impl->path, overrides, &config));
    if (adjust) adjust(&config);
    impl->loss = config.model.loss == "mse" ? nn::LossKind::kMse : nn::LossKind::kBce;
    impl->schema = impl->header.features.MakeSchema();
    impl->pool = std::make_unique<ThreadPool>(static_cast<int>(config.threads));
    SLUICE_RETURN_IF_ERROR(config.precision == "fp64" ? impl->LoadAs<double>(*reader) : impl->LoadAs<float>(*reader));
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
  return data::OpenSource(impl_->header.config.data, impl_->header.features, open);
}

Status Model::Predict(data::Batch* batch, std::vector<float>* predictions) {
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
