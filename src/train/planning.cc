#include "train/planning.h"

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "base/aligned_buffer.h"
#include "data/open.h"
#include "embedding/make_table.h"
#include "optim/update_rule.h"
#include "placement/data_sample.h"
#include "placement/owner_ids.h"
#include "train/roofline.h"
#include "train/stopwatch.h"

namespace sluice::train {
namespace {

// Key, metadata, and a share of the index at its mean load.
constexpr int64_t kRowOverhead = 16 + 8;
constexpr int64_t kMeasuredRows = 1 << 16;
constexpr int64_t kSummedFloats = 1 << 22;

int64_t FileBytes(const data::DataConfig& data) {
  int64_t total = 0;
  for (const std::string& path : data.train) {
    std::error_code error;
    if (!std::filesystem::is_regular_file(path, error) || path.ends_with(".gz") || path.ends_with(".zst")) return 0;
    total += static_cast<int64_t>(std::filesystem::file_size(path, error));
    if (error) return 0;
  }
  return total;
}

// Statistics of the first batches, and how long they took to read.
struct Sampled {
  std::vector<placement::VocabularyCost> vocabularies;
  int64_t batch_size = 0;
  double read_s = 0;
  double keys = 0;
};

Result<Sampled> Sample(const RunConfig& config, data::BatchSource* source, int64_t bytes, const data::Schema& schema,
                       const std::vector<uint8_t>& whole_bags, int num_ranks) {
  placement::DataSample sample(schema, num_ranks, whole_bags);
  data::Batch batch;
  Sampled sampled;
  while (sample.samples() < config.strategy.planner.samples) {
    Stopwatch watch;
    SLUICE_ASSIGN_OR_RETURN(const bool more, source->Next(&batch));
    // A last batch that is smaller says little of the others.
    if (!more || (sample.batches() > 0 && batch.size < sampled.batch_size)) break;
    sampled.read_s += watch.Lap();
    sampled.batch_size = batch.size;
    for (const auto& column : batch.fields) sampled.keys += static_cast<double>(column.nnz());
    sample.Add(batch);
  }
  if (sample.batches() == 0) return DataLoss("data.train: no samples to plan by");
  const data::SourceStats stats = source->stats();
  const int64_t total = stats.bytes > 0
                            ? static_cast<int64_t>(static_cast<double>(bytes) / static_cast<double>(stats.bytes) *
                                                   static_cast<double>(sample.samples()))
                            : 0;
  sampled.vocabularies = sample.Vocabularies(total);
  return sampled;
}

// What the net sends in its form: columns of partials, and layers that owners of rows multiply with.
template <class T>
void TakeForm(const nn::Net<T>& net, const embedding::VirtualIdBuilder& ids, placement::PlanInput* input) {
  input->shared.clear();
  for (placement::VocabularyCost& vocabulary : input->vocabularies) {
    vocabulary.sum_columns = vocabulary.max_columns = vocabulary.layer_params = vocabulary.home_params = 0;
    vocabulary.shared.clear();
  }
  const auto of_field = [&](int field) -> placement::VocabularyCost& {
    return input->vocabularies[static_cast<size_t>(ids.vocabulary_of_field(field))];
  };
  for (const nn::OperatorColumns& columns : net.operator_columns()) {
    const bool max = columns.reduction == nn::Reduction::kMax;
    const auto shared = static_cast<int>(input->shared.size());
    if (columns.per_field == 0) input->shared.push_back({columns.name, columns.width});
    for (const int field : columns.fields) {
      placement::VocabularyCost& vocabulary = of_field(field);
      if (columns.per_field > 0)
        (max ? vocabulary.max_columns : vocabulary.sum_columns) += columns.per_field;
      else if (vocabulary.shared.empty() || vocabulary.shared.back() != shared)
        vocabulary.shared.push_back(shared);
    }
  }
  for (const nn::OwnedWeights& weights : net.owned_weights()) {
    of_field(weights.field).layer_params += weights.params.size();
    if (!weights.read_elsewhere) of_field(weights.field).home_params += weights.params.size();
  }
  input->batch_sums = net.num_batch_sums();
}

// Keys of one field made unique by a rank that holds it, and by the owner of half its shards.
void MeasureKeys(int threads, placement::Machine* machine) {
  data::Schema schema;
  schema.fields.push_back({.name = "measured", .vocabulary = "measured"});
  data::Batch batch;
  batch.size = kMeasuredRows;
  batch.fields.resize(1);
  for (int64_t i = 0; i < kMeasuredRows; ++i)
    batch.fields[0].keys.push_back(MixPair(1, static_cast<uint64_t>(i % (kMeasuredRows / 2))));
  const auto seconds_per_key = [&](placement::Placement placement) {
    placement::Strategy strategy = placement::Uniform(placement, 1);
    if (placement == placement::Placement::kFieldA2a) strategy.home[0] = 0;
    const placement::Ownership ownership(strategy, 0, 2);
    placement::OwnerIds owner(schema, strategy, ownership);
    embedding::VirtualIds ids;
    double fastest = 1;
    for (int i = 0; i < 3; ++i) {
      Stopwatch watch;
      owner.Build(batch, nullptr, nullptr, &ids, nullptr);
      if (i > 0) fastest = std::min(fastest, watch.Lap());
    }
    return fastest / static_cast<double>(kMeasuredRows) / threads;
  };
  machine->id_s = seconds_per_key(placement::Placement::kFieldA2a);
  machine->pass_s = std::max(0.0, seconds_per_key(placement::Placement::kDesRs) - machine->id_s / 2);
}

}  // namespace

template <class T>
std::vector<uint8_t> WholeBags(const nn::Net<T>& net, const data::Schema& schema) {
  std::vector<uint8_t> whole(schema.fields.size(), 0);
  for (const nn::OperatorColumns& columns : net.operator_columns())
    for (const int field : columns.divided) whole[static_cast<size_t>(field)] = 1;
  return whole;
}

template <class T>
Result<PlannedRun> PlanForms(const RunConfig& config, const placement::PlanInput& input, const ModelState<T>& state) {
  const std::string& wish = config.strategy.first_layer;
  const bool split = wish == "by_rows" || wish == "by_hash";
  SLUICE_ASSIGN_OR_RETURN(const placement::PlanOptions options, MakePlanOptions(config, state.schema));
  const embedding::VirtualIdBuilder ids(state.schema);
  std::optional<PlannedRun> best;
  for (const nn::PartialForm form : {nn::PartialForm::kWhole, nn::PartialForm::kPooled, nn::PartialForm::kProducts}) {
    // Deterministic mode has the graph as written, every other one of its forms for several ranks.
    if (config.deterministic != (form == nn::PartialForm::kWhole)) continue;
    if (form == nn::PartialForm::kProducts && wish == "pooled") continue;
    SLUICE_ASSIGN_OR_RETURN(const auto net, nn::Net<T>::Build(state.spec, state.schema, form));
    if (form == nn::PartialForm::kProducts && net->owned_weights().empty()) continue;
    PlannedRun planned{.form = form, .input = input, .plan = {}};
    TakeForm(*net, ids, &planned.input);
    placement::PlanOptions asked = options;
    for (const nn::OwnedWeights& weights : net->owned_weights()) {
      const auto v = static_cast<size_t>(ids.vocabulary_of_field(weights.field));
      if (!split || asked.fixed[v]) continue;
      asked.fixed[v] = wish == "by_rows" ? placement::Placement::kFieldA2a : placement::Placement::kDesRs;
    }
    // Whoever checks the strategy says what is wrong with a home that the configuration names.
    for (size_t v = 0; v < asked.fixed.size(); ++v)
      if (asked.fixed[v]) planned.input.vocabularies[v].no_home.clear();
    SLUICE_ASSIGN_OR_RETURN(planned.plan, placement::MakePlan(planned.input, asked));
    const auto price = [](const PlannedRun& run) { return placement::ObjectiveOf(run.input, run.plan.cost); };
    if (!best || split || price(planned) < price(*best)) best = std::move(planned);
  }
  SLUICE_CHECK(best.has_value(), "no form of the model for several ranks");
  return std::move(*best);
}

template <class T>
Result<placement::StepCost> CostAs(nn::PartialForm form, const placement::Strategy& strategy,
                                   const ModelState<T>& state, PlannedRun* planned) {
  if (planned->form != form) {
    SLUICE_ASSIGN_OR_RETURN(const auto net, nn::Net<T>::Build(state.spec, state.schema, form));
    TakeForm(*net, embedding::VirtualIdBuilder(state.schema), &planned->input);
    planned->form = form;
  }
  return placement::CostOf(planned->input, strategy);
}

Result<placement::Machine> LinkOf(const placement::PlannerConfig& config) {
  placement::Machine machine;
  if (config.link.empty() || config.link == "measure") return machine;
  SLUICE_ASSIGN_OR_RETURN(machine.bandwidth_bytes_per_s,
                          placement::ParseBandwidth("strategy.planner.link", config.link));
  SLUICE_ASSIGN_OR_RETURN(machine.latency_s, placement::ParseDuration("strategy.planner.latency", config.latency));
  return machine;
}

Result<placement::PlanOptions> MakePlanOptions(const RunConfig& config, const data::Schema& schema) {
  placement::PlanOptions options;
  const placement::StrategyConfig& strategy = config.strategy;
  SLUICE_ASSIGN_OR_RETURN(options.fixed, placement::NamedPlacements(strategy, schema));
  if (strategy.input == "sharded") options.input = placement::InputMode::kSharded;
  if (strategy.input == "replicated") options.input = placement::InputMode::kReplicated;
  options.may_divide = strategy.dense.mode != "replicated";
  options.may_replicate = strategy.dense.mode != "sharded_batch";
  return options;
}

Status MeasureComputing(bool bf16, ThreadPool* pool, placement::Machine* machine) {
  const int threads = pool->num_threads();
  MeasureKeys(threads, machine);
  machine->flops_per_s = MeasureGemm({{256, 256}}, 256 * threads, bf16, *pool);
  AlignedBuffer<float> a(kSummedFloats), b(kSummedFloats);
  const auto add = [&] {
    pool->ForParts(kSummedFloats, [&](Range part, int) {
      for (int64_t i = part.begin; i < part.end; ++i) a.data()[i] += b.data()[i];
    });
  };
  a.Zero();
  b.Zero();
  add();
  Stopwatch watch;
  add();
  machine->byte_s = watch.Lap() / (kSummedFloats * sizeof(float));

  // Narrow rows, so that their bytes count for little.
  constexpr int64_t kDim = 4;
  SLUICE_ASSIGN_OR_RETURN(const auto table, embedding::MakeTable<float>("measured", kDim, embedding::TableConfig(), 1));
  optim::Rule rule;
  rule.learning_rate = 0.01;
  std::vector<Key> keys(kMeasuredRows);
  for (size_t i = 0; i < keys.size(); ++i) keys[i] = MixPair(1, i);
  const std::vector<int32_t> counts(keys.size(), 1);
  const std::vector<embedding::KeyBlock> blocks = {{0, static_cast<int32_t>(keys.size()), 0}};
  std::vector<float> rows(keys.size() * kDim, 0.0f);
  double fastest = 1;
  for (int64_t step = 1; step <= 3; ++step) {
    embedding::Resolved resolved;
    watch.Lap();
    table->Resolve(keys, counts, blocks, embedding::ResolveMode::kTrain, step, pool, &resolved);
    pool->ForParts(kMeasuredRows, [&](Range part, int) { table->Gather(resolved, keys, blocks, part, rows.data()); });
    pool->ForParts(kMeasuredRows, [&](Range part, int) { table->Apply(resolved, keys, rows.data(), part, rule); });
    table->Release(resolved);
    if (step > 1) fastest = std::min(fastest, watch.Lap());
  }
  machine->row_s = fastest / kMeasuredRows;
  return Status::Ok();
}

template <class T>
Result<placement::PlanInput> MakePlanInput(const RunConfig& config, const data::FittedFeatures& features,
                                           const ModelState<T>& state, int num_ranks, placement::Machine machine,
                                           ThreadPool* pool) {
  data::OpenOptions open;
  open.purpose = data::Purpose::kTrain;
  open.batch_size = config.train.batch_size;
  open.seed = static_cast<uint64_t>(config.seed);
  open.num_reader_threads = 0;
  SLUICE_ASSIGN_OR_RETURN(const auto source, data::OpenSource(config.data, features, open));
  return MakePlanInput(config, source.get(), FileBytes(config.data), state, num_ranks, machine, pool);
}

template <class T>
Result<placement::PlanInput> MakePlanInput(const RunConfig& config, data::BatchSource* source, int64_t file_bytes,
                                           const ModelState<T>& state, int num_ranks, placement::Machine machine,
                                           ThreadPool* pool) {
  const placement::PlannerConfig& planner = config.strategy.planner;
  const data::Schema& schema = state.schema;
  embedding::VirtualIdBuilder ids(schema);
  SLUICE_ASSIGN_OR_RETURN(Sampled sampled,
                          Sample(config, source, file_bytes, schema, WholeBags(*state.net, schema), num_ranks));
  placement::PlanInput input;
  input.num_ranks = num_ranks;
  input.batch_size = sampled.batch_size;
  input.vocabularies = std::move(sampled.vocabularies);
  for (const auto& [name, field] : planner.rows) {
    const auto found = std::find_if(schema.fields.begin(), schema.fields.end(),
                                    [&](const data::SparseField& f) { return f.name == name; });
    if (found == schema.fields.end())
      return InvalidArgument("strategy.planner.rows.{}: there is no sparse field of that name", name);
    input.vocabularies[static_cast<size_t>(ids.vocabulary_of_field(static_cast<int>(found - schema.fields.begin())))]
        .rows = static_cast<double>(field.rows);
  }
  for (int t = 0; t < state.tables->size(); ++t) {
    std::vector<bool> served(input.vocabularies.size(), false);
    const nn::TableNeed& need = state.tables->need(t);
    for (const int field : need.fields) served[static_cast<size_t>(ids.vocabulary_of_field(field))] = true;
    const int64_t dim = need.dim;
    const int64_t scalars = dim + state.tables->table(t).num_slots();
    const embedding::TableConfig table = TableSettings(config, need.name);
    const int64_t most_rows = table.expiry.max_rows;
    const bool kept_by_shard = most_rows > 0 || table.admission.kind == "count";
    for (size_t v = 0; v < served.size(); ++v) {
      if (!served[v]) continue;
      placement::VocabularyCost& vocabulary = input.vocabularies[v];
      vocabulary.row_scalars += dim;
      vocabulary.row_bytes += kRowOverhead + scalars * static_cast<int64_t>(sizeof(T));
      if (most_rows > 0) vocabulary.rows = std::min(vocabulary.rows, static_cast<double>(most_rows));
      if (kept_by_shard && std::count(served.begin(), served.end(), true) > 1)
        vocabulary.no_home = fmt::format("table {} bounds or admits rows of all its vocabularies by shard", need.name);
    }
  }
  const placement::WireConfig& wire = config.strategy.wire;
  const auto bytes_of = [](const std::string& format) {
    return format == "bf16" ? int64_t{2} : static_cast<int64_t>(sizeof(T));
  };
  input.deterministic = config.deterministic;
  const auto sum_bytes = [&](const std::string& format) {
    return config.deterministic ? static_cast<int64_t>(sizeof(int64_t)) : bytes_of(format);
  };
  input.partial_bytes = bytes_of(wire.partials);
  input.forward_sum_bytes = sum_bytes(wire.partials);
  input.row_bytes = bytes_of(wire.rows);
  input.row_gradient_bytes = sum_bytes(wire.rows);
  input.dense_bytes = sum_bytes(wire.dense_gradients);
  input.scalar_bytes = sizeof(T);
  input.dense_params = state.params.size();
  input.dense_slots = state.slots.size();
  input.clips_rows = config.train.clip_norm > 0;
  input.clips_dense = config.optimizer.clip_norm > 0;
  input.sample_weights = schema.has_sample_weight;
  if (config.train.progressive.window > 0) {
    input.gathered_labels = schema.num_labels();
    input.gathered_sample_bytes = schema.num_labels() * static_cast<int64_t>(sizeof(float)) +
                                  (schema.has_sample_weight ? static_cast<int64_t>(sizeof(float)) : 0) +
                                  (schema.has_group ? static_cast<int64_t>(sizeof(int64_t)) : 0);
  }
  input.flops_per_sample = state.net->flops_per_sample();
  if (!planner.memory_per_rank.empty()) {
    SLUICE_ASSIGN_OR_RETURN(input.memory_per_rank,
                            placement::ParseBytes("strategy.planner.memory_per_rank", planner.memory_per_rank));
  }
  if (!planner.largest_home.empty()) {
    SLUICE_ASSIGN_OR_RETURN(input.largest_home,
                            placement::ParseBytes("strategy.planner.largest_home", planner.largest_home));
  }
  if (machine.knows_link() && machine.flops_per_s == 0)
    SLUICE_RETURN_IF_ERROR(MeasureComputing(PrecisionOf(config) == nn::Precision::kBf16, pool, &machine));
  if (machine.read_s == 0 && sampled.keys > 0) machine.read_s = sampled.read_s / sampled.keys / pool->num_threads();
  input.machine = machine;
  return input;
}

#define SLUICE_PLANNING(T)                                                                                         \
  template Result<placement::PlanInput> MakePlanInput(const RunConfig&, const data::FittedFeatures&,               \
                                                      const ModelState<T>&, int, placement::Machine, ThreadPool*); \
  template Result<placement::PlanInput> MakePlanInput(const RunConfig&, data::BatchSource*, int64_t,               \
                                                      const ModelState<T>&, int, placement::Machine, ThreadPool*); \
  template std::vector<uint8_t> WholeBags(const nn::Net<T>&, const data::Schema&);                                 \
  template Result<PlannedRun> PlanForms(const RunConfig&, const placement::PlanInput&, const ModelState<T>&);      \
  template Result<placement::StepCost> CostAs(nn::PartialForm, const placement::Strategy&, const ModelState<T>&,   \
                                              PlannedRun*)
SLUICE_PLANNING(float);
SLUICE_PLANNING(double);
#undef SLUICE_PLANNING

}  // namespace sluice::train
