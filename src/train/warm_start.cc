#include "train/warm_start.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <span>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "base/join.h"
#include "checkpoint/checkpoint_reader.h"
#include "data/open.h"
#include "train/checkpointing.h"
#include "train/param_labels.h"

namespace sluice::train {
namespace {

using Json = nlohmann::json;

// A flat span of another model, with the names and shapes of its parameters.
struct OtherSpan {
  std::vector<nn::ParamInfo> params;
  std::vector<double> values;
  std::vector<double> slots;  // slot-major over values.size()

  const nn::ParamInfo* Find(const std::string& name) const {
    for (const auto& param : params)
      if (param.name == name) return &param;
    return nullptr;
  }
};

Result<std::vector<double>> ReadScalars(const checkpoint::CheckpointReader& reader, const std::string& name,
                                        bool fp64) {
  SLUICE_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes, reader.Read(name));
  const size_t width = fp64 ? sizeof(double) : sizeof(float);
  std::vector<double> values(bytes.size() / width);
  for (size_t i = 0; i < values.size(); ++i) {
    if (fp64) {
      std::memcpy(&values[i], bytes.data() + i * width, width);
    } else {
      float value;
      std::memcpy(&value, bytes.data() + i * width, width);
      values[i] = value;
    }
  }
  return values;
}

std::vector<nn::ParamInfo> ParseParams(const Json& json) {
  std::vector<nn::ParamInfo> params;
  for (const Json& entry : json) {
    nn::ParamInfo param;
    param.name = entry.at("name");
    param.shape = entry.at("shape").get<std::vector<int64_t>>();
    param.offset = entry.at("offset");
    param.size = 1;
    for (int64_t extent : param.shape) param.size *= extent;
    params.push_back(std::move(param));
  }
  return params;
}

// Index in `theirs` of each label of `ours`; -1 where it is new. Without labels, positions correspond where sizes
// agree.
Result<std::vector<int64_t>> MapDimension(const std::vector<std::string>* ours, const std::vector<std::string>* theirs,
                                          int64_t our_size, int64_t their_size) {
  std::vector<int64_t> map(static_cast<size_t>(our_size));
  if (ours == nullptr || theirs == nullptr) {
    if (our_size != their_size) return InvalidArgument("{} there, {} here", their_size, our_size);
    for (int64_t i = 0; i < our_size; ++i) map[static_cast<size_t>(i)] = i;
    return map;
  }
  std::map<std::string, int64_t> index;
  for (size_t i = 0; i < theirs->size(); ++i) index[(*theirs)[i]] = static_cast<int64_t>(i);
  for (size_t i = 0; i < map.size(); ++i) {
    const auto found = index.find((*ours)[i]);
    map[i] = found == index.end() ? -1 : found->second;
  }
  return map;
}

class DenseWarmStart {
 public:
  DenseWarmStart(const ParamLabels& ours, const ParamLabels& theirs, std::set<std::string> drop)
      : ours_(ours), theirs_(theirs), drop_(std::move(drop)) {}

  // Copies what corresponds; what does not fit is named in `misfits`.
  template <class T>
  void Copy(const nn::ParamLayout& layout, const OtherSpan& other, T* values, T* slots, WarmStartReport* report,
            std::vector<std::string>* misfits) const {
    const int64_t span = layout.size();
    const int64_t other_span = static_cast<int64_t>(other.values.size());
    const int64_t num_slots =
        slots != nullptr && other_span > 0 ? static_cast<int64_t>(other.slots.size()) / other_span : 0;
    for (const auto& param : layout.params()) {
      const nn::ParamInfo* theirs = other.Find(param.name);
      if (theirs == nullptr || drop_.count(param.name) > 0) {
        report->fresh.push_back(param.name);
        continue;
      }
      const auto map = Map(param, *theirs);
      if (!map.ok()) {
        misfits->push_back(fmt::format("parameter {} ({})", param.name, map.status().message()));
        report->fresh.push_back(param.name);
        continue;
      }
      bool identity = param.size == theirs->size;
      for (int64_t i = 0; i < param.size; ++i) {
        const int64_t from = map.value()[static_cast<size_t>(i)];
        identity = identity && from == i;
        // An input that the other model did not have starts without influence.
        values[param.offset + i] =
            from < 0 ? T(0) : static_cast<T>(other.values[static_cast<size_t>(theirs->offset + from)]);
        for (int64_t s = 0; s < num_slots && from >= 0; ++s)
          slots[s * span + param.offset + i] =
              static_cast<T>(other.slots[static_cast<size_t>(s * other_span + theirs->offset + from)]);
      }
      (identity ? report->whole : report->adapted).push_back(param.name);
    }
  }

 private:
  // Element of `theirs` for each element of `param`, -1 where there is none.
  Result<std::vector<int64_t>> Map(const nn::ParamInfo& param, const nn::ParamInfo& theirs) const {
    if (param.shape.size() != theirs.shape.size()) return InvalidArgument("another number of dimensions");
    std::vector<int64_t> result = {0};
    for (size_t d = 0; d < param.shape.size(); ++d) {
      SLUICE_ASSIGN_OR_RETURN(const auto map, MapDimension(ours_.Find(param.name, d), theirs_.Find(param.name, d),
                                                           param.shape[d], theirs.shape[d]));
      std::vector<int64_t> longer;
      longer.reserve(result.size() * map.size());
      for (int64_t before : result)
        for (int64_t index : map) longer.push_back(before < 0 || index < 0 ? -1 : before * theirs.shape[d] + index);
      result = std::move(longer);
    }
    return result;
  }

  const ParamLabels& ours_;
  const ParamLabels& theirs_;
  std::set<std::string> drop_;
};

// What a feature's keys or numbers are made by.
std::string Recipe(const data::FittedFeature& feature) {
  const auto& config = feature.config;
  std::string text = config.type == "numeric" ? "numeric, transform " + config.transform : config.type;
  if (config.transform == "quantile") text += fmt::format(" of {} buckets", config.buckets);
  if (config.transform == "bucket") text += fmt::format(" by {}", config.boundaries);
  if (config.type == "cross") text += fmt::format(" of {}", config.crosses);
  return text;
}

// Fields of init_from by the names that this run has for them.
std::map<std::string, std::string> RenamedFrom(const WarmStartConfig& warm) {
  std::map<std::string, std::string> renamed;
  for (const auto& [name, source] : warm.rename) renamed[source.from] = name;
  return renamed;
}

// Everything in `drop` must name something, and fields that both models have cannot be told apart in their table.
Status CheckDrop(const std::set<std::string>& drop, const Json& model, const data::Schema& ours,
                 const data::Schema& theirs, const std::map<std::string, std::string>& renamed,
                 const std::string& path) {
  const auto has_field = [](const data::Schema& schema, const std::string& name) {
    return std::any_of(schema.fields.begin(), schema.fields.end(), [&](const auto& f) { return f.name == name; }) ||
           std::find(schema.dense.begin(), schema.dense.end(), name) != schema.dense.end();
  };
  const auto has = [&](const char* part, const std::string& name) {
    return std::any_of(model.at(part).begin(), model.at(part).end(),
                       [&](const Json& j) { return j.at("name") == name; });
  };
  for (const auto& name : drop) {
    if (has("tables", name) || has("params", name) || has("buffers", name)) continue;
    if (!has_field(theirs, name))
      return InvalidArgument("checkpoint.warm_start.drop: {} has no field, table or parameter {}", path, name);
    const auto renamed_to = renamed.find(name);
    if (has_field(ours, renamed_to == renamed.end() ? name : renamed_to->second))
      return InvalidArgument(
          "checkpoint.warm_start.drop: this model has the field {} too; to start its rows anew, give it "
          "another features.{}.vocabulary",
          name, name);
  }
  return Status::Ok();
}

Result<nn::NetSpec> SpecOf(const RunConfig& config, const data::Schema& schema) {
  return nn::ExpandModel(config.model, schema, PrecisionOf(config), config.deterministic);
}

}  // namespace

std::string WarmStartReport::ToText() const {
  std::string text = fmt::format("{} rows, {} parameters as they were", rows, whole.size());
  if (!adapted.empty()) text += fmt::format(", adapted {}", Join(adapted, ", "));
  if (!fresh.empty()) text += fmt::format(", new {}", Join(fresh, ", "));
  if (!left.empty()) text += fmt::format(", left behind table {}", Join(left, ", "));
  if (!new_slots.empty()) text += fmt::format(", another optimizer and so new slots for {}", Join(new_slots, ", "));
  return text;
}

Status RenameFields(RunConfig* config) {
  const auto& rename = config->checkpoint.warm_start.rename;
  if (rename.empty()) return Status::Ok();
  if (config->checkpoint.init_from.empty())
    return InvalidArgument("checkpoint.warm_start.rename: there is no checkpoint.init_from");
  SLUICE_ASSIGN_OR_RETURN(const std::string path, FindModel(config->checkpoint.init_from));
  SLUICE_ASSIGN_OR_RETURN(const auto reader, checkpoint::CheckpointReader::Open(path));
  SLUICE_ASSIGN_OR_RETURN(const CheckpointHeader other, ReadHeader(*reader));
  if (config->features.empty()) {
    SLUICE_ASSIGN_OR_RETURN(config->features, data::InferFeatures(config->data, WantsDenseInput(config->model)));
  }
  for (const auto& [name, source] : rename) {
    const auto ours = std::find_if(config->features.begin(), config->features.end(),
                                   [&](const auto& feature) { return feature.first == name; });
    if (ours == config->features.end())
      return InvalidArgument("checkpoint.warm_start.rename: this run has no field {}", name);
    const auto theirs = std::find_if(other.features.features.begin(), other.features.features.end(),
                                     [&](const auto& feature) { return feature.name == source.from; });
    if (theirs == other.features.features.end())
      return InvalidArgument("checkpoint.warm_start.rename: {} has no field {}", path, source.from);
    if (ours->second.vocabulary.empty())
      ours->second.vocabulary = theirs->config.vocabulary.empty() ? theirs->name : theirs->config.vocabulary;
  }
  return Status::Ok();
}

Status AdoptTransforms(const RunConfig& config, data::FittedFeatures* features) {
  SLUICE_ASSIGN_OR_RETURN(const std::string path, FindModel(config.checkpoint.init_from));
  SLUICE_ASSIGN_OR_RETURN(const auto reader, checkpoint::CheckpointReader::Open(path));
  SLUICE_ASSIGN_OR_RETURN(const CheckpointHeader other, ReadHeader(*reader));
  const std::map<std::string, std::string> renamed = RenamedFrom(config.checkpoint.warm_start);
  std::vector<std::string> misfits;
  for (const auto& theirs : other.features.features) {
    const auto renamed_to = renamed.find(theirs.name);
    const std::string& name = renamed_to == renamed.end() ? theirs.name : renamed_to->second;
    const auto ours = std::find_if(features->features.begin(), features->features.end(),
                                   [&](const data::FittedFeature& feature) { return feature.name == name; });
    if (ours == features->features.end()) continue;
    const std::string there = Recipe(theirs), here = Recipe(*ours);
    const bool fitted =
        ours->boundaries == theirs.boundaries && ours->mean == theirs.mean && ours->deviation == theirs.deviation;
    if (there != here) {
      misfits.push_back(fmt::format("field {} ({} there, {} here)", name, there, here));
    } else if (!fitted && features->format == "packed") {
      misfits.push_back(fmt::format("field {} (packed with other quantiles or means than the checkpoint's)", name));
    } else {
      ours->boundaries = theirs.boundaries;
      ours->mean = theirs.mean;
      ours->deviation = theirs.deviation;
    }
  }
  if (!misfits.empty() && !config.checkpoint.warm_start.allow_misfit)
    return InvalidArgument(
        "checkpoint.init_from: {} does not fit this run's fields: {}; make them equal, or set "
        "checkpoint.warm_start.allow_misfit",
        path, Join(misfits, "; "));
  return Status::Ok();
}

template <class T>
Result<WarmStartReport> WarmStart(const RunConfig& config, ModelState<T>* state, Progress* progress,
                                  const RankContext* ranks) {
  const WarmStartConfig& warm = config.checkpoint.warm_start;
  SLUICE_ASSIGN_OR_RETURN(const std::string path, FindModel(config.checkpoint.init_from));
  SLUICE_ASSIGN_OR_RETURN(const auto reader, checkpoint::CheckpointReader::Open(path));
  SLUICE_ASSIGN_OR_RETURN(const CheckpointHeader other, ReadHeader(*reader));
  SLUICE_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes, reader->Read("model.json"));
  const Json model = Json::parse(reinterpret_cast<const char*>(bytes.data()),
                                 reinterpret_cast<const char*>(bytes.data()) + bytes.size(), nullptr, false);
  if (model.is_discarded()) return DataLoss("{}: section model.json is not JSON", path);

  const std::map<std::string, std::string> renamed = RenamedFrom(warm);
  const std::set<std::string> drop(warm.drop.begin(), warm.drop.end());
  SLUICE_ASSIGN_OR_RETURN(const nn::NetSpec our_spec, SpecOf(config, state->schema));
  const data::Schema their_schema = other.features.MakeSchema();
  SLUICE_ASSIGN_OR_RETURN(const nn::NetSpec their_spec, SpecOf(other.config, their_schema));
  SLUICE_RETURN_IF_ERROR(CheckDrop(drop, model, state->schema, their_schema, renamed, path));
  const ParamLabels ours(our_spec, state->schema, {});
  const ParamLabels theirs(their_spec, their_schema, renamed);

  WarmStartReport report;
  std::vector<std::string> misfits;
  if (warm.dense == "keep") {
    const bool same_rule = model.at("optimizer") == optim::RuleName(state->rule.kind);
    OtherSpan span;
    span.params = ParseParams(model.at("params"));
    SLUICE_ASSIGN_OR_RETURN(span.values, ReadScalars(*reader, "dense/params", other.fp64));
    if (warm.slots == "keep" && same_rule) {
      SLUICE_ASSIGN_OR_RETURN(span.slots, ReadScalars(*reader, "dense/slots", other.fp64));
    }
    if (warm.slots == "keep" && !same_rule) report.new_slots.push_back("the dense net");
    const DenseWarmStart dense(ours, theirs, drop);
    dense.Copy(state->net->params(), span, state->params.data(), state->slots.data(), &report, &misfits);
    OtherSpan buffers;
    buffers.params = ParseParams(model.at("buffers"));
    SLUICE_ASSIGN_OR_RETURN(buffers.values, ReadScalars(*reader, "dense/buffers", other.fp64));
    dense.Copy<T>(state->net->buffers(), buffers, state->buffers.data(), nullptr, &report, &misfits);
  }
  for (int t = 0; t < state->tables->size(); ++t) {
    const auto& need = state->tables->need(t);
    const auto& tables = model.at("tables");
    const auto found =
        std::find_if(tables.begin(), tables.end(), [&](const Json& j) { return j.at("name") == need.name; });
    if (found == tables.end() || drop.count(need.name) > 0) {
      report.fresh.push_back("table " + need.name);
      continue;
    }
    const int64_t their_dim = found->at("dim");
    if (their_dim != need.dim) {
      const std::vector<std::string> their_fields = found->at("fields");
      misfits.push_back(fmt::format("table {} of fields {} (width {} there, {} here)", need.name,
                                    Join(their_fields, ", "), their_dim, need.dim));
      report.fresh.push_back("table " + need.name);
      continue;
    }
    embedding::LoadOptions load;
    load.warm_start = true;
    load.keep_slots = warm.slots == "keep";
    load.keep_counts = warm.counts == "keep";
    SLUICE_RETURN_IF_ERROR(LoadTable(*reader, t, load, ranks, state));
    report.rows += state->tables->table(t).stats().rows;
    if (load.keep_slots && found->at("optimizer") != optim::RuleName(state->tables->rule(t).kind))
      report.new_slots.push_back("table " + need.name);
  }
  for (const Json& table : model.at("tables")) {
    const std::string name = table.at("name");
    if (state->tables->FindTable(name) < 0 && drop.count(name) == 0) report.left.push_back(name);
  }
  if (!misfits.empty() && !warm.allow_misfit)
    return InvalidArgument(
        "checkpoint.init_from: {} does not fit this model: {}; make them equal, name them in "
        "checkpoint.warm_start.drop, or set checkpoint.warm_start.allow_misfit",
        path, Join(misfits, "; "));
  if (warm.learning_rate == "keep") {
    state->schedule.set_state(other.progress.dense_schedule);
    const auto& tables = model.at("tables");
    for (size_t i = 0; i < std::min(tables.size(), other.progress.table_schedules.size()); ++i) {
      const int t = state->tables->FindTable(tables[i].at("name"));
      if (t >= 0) state->tables->schedule(t).set_state(other.progress.table_schedules[i]);
    }
    progress->step = other.progress.step;
  }
  return report;
}

template Result<WarmStartReport> WarmStart(const RunConfig&, ModelState<float>*, Progress*, const RankContext*);
template Result<WarmStartReport> WarmStart(const RunConfig&, ModelState<double>*, Progress*, const RankContext*);

}  // namespace sluice::train
