#include "data/features.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "config/schema.h"

namespace sluice::data {
namespace {

using nlohmann::json;

// FeatureConfig to and from a JSON object, through its own Visit.
class JsonWriter {
 public:
  explicit JsonWriter(json* out) : out_(out) {}
  template <class T>
  void Field(const char* key, T& value, const config::Meta&) {
    (*out_)[key] = value;
  }

 private:
  json* out_;
};

class JsonReader {
 public:
  explicit JsonReader(const json* in) : in_(in) {}
  template <class T>
  void Field(const char* key, T& value, const config::Meta&) {
    value = in_->at(key).get<T>();
  }

 private:
  const json* in_;
};

}  // namespace

Schema FittedFeatures::MakeSchema() const {
  Schema schema;
  for (const auto& feature : features) {
    if (!feature.sparse()) {
      schema.dense.push_back(feature.name);
      continue;
    }
    SparseField field;
    field.name = feature.name;
    field.vocabulary = feature.config.vocabulary;
    field.salt = VocabularySalt(field.vocabulary);
    field.one_hot = !feature.config.multi;
    field.weighted = feature.config.weighted;
    if (feature.config.type == "cross") {  // as many keys as combinations of its members' keys
      for (const auto& member : schema.fields)
        if (std::count(feature.config.crosses.begin(), feature.config.crosses.end(), member.name) > 0)
          field.one_hot = field.one_hot && member.one_hot;
    }
    schema.fields.push_back(std::move(field));
  }
  schema.labels = labels;
  schema.has_sample_weight = has_sample_weight;
  schema.has_group = has_group;
  return schema;
}

std::string FittedFeatures::Save() const {
  json out = {{"version", 1}, {"format", format}, {"columns", columns}, {"labels", labels},
              {"sample_weight", has_sample_weight}, {"group", has_group}, {"features", json::array()}};
  if (has_split_from) out["split_from"] = split_from;
  for (FittedFeature feature : features) {
    json config;
    JsonWriter writer(&config);
    feature.config.Visit(writer);
    out["features"].push_back({{"name", feature.name},
                               {"config", config},
                               {"boundaries", feature.boundaries},
                               {"mean", feature.mean},
                               {"deviation", feature.deviation}});
  }
  return out.dump(1);
}

Result<FittedFeatures> FittedFeatures::Load(const std::string& text) {
  FittedFeatures fitted;
  try {
    const json in = json::parse(text);
    if (in.at("version").get<int>() != 1)
      return DataLoss("features were saved by another version ({})", in.at("version").get<int>());
    fitted.format = in.at("format").get<std::string>();
    fitted.columns = in.at("columns").get<std::vector<std::string>>();
    fitted.labels = in.at("labels").get<std::vector<std::string>>();
    fitted.has_sample_weight = in.at("sample_weight").get<bool>();
    fitted.has_group = in.at("group").get<bool>();
    fitted.has_split_from = in.contains("split_from");
    if (fitted.has_split_from) fitted.split_from = in.at("split_from").get<double>();
    for (const json& entry : in.at("features")) {
      FittedFeature feature;
      feature.name = entry.at("name").get<std::string>();
      JsonReader reader(&entry.at("config"));
      feature.config.Visit(reader);
      feature.boundaries = entry.at("boundaries").get<std::vector<double>>();
      feature.mean = entry.at("mean").get<double>();
      feature.deviation = entry.at("deviation").get<double>();
      fitted.features.push_back(std::move(feature));
    }
  } catch (const json::exception& error) {
    return DataLoss("saved features cannot be read: {}", error.what());
  }
  return fitted;
}

Status CheckFeatures(const FeatureList& features, const std::string& format) {
  if (features.empty()) return InvalidArgument("features: the model has no input");
  const bool text = format == "criteo" || format == "criteo_tb" || format == "csv";
  std::vector<std::string> sparse;  // that crosses may name
  for (const auto& entry : features) {
    const std::string& name = entry.first;
    const FeatureConfig& config = entry.second;
    const auto at = [&name](const char* option) { return "features." + name + "." + option; };
    if (std::count_if(features.begin(), features.end(), [&](const auto& other) { return other.first == name; }) > 1)
      return InvalidArgument("features.{}: is there twice", name);
    const bool numeric = config.type == "numeric";
    if (!numeric && config.type != "categorical" && config.type != "cross")
      return InvalidArgument("{}: '{}' is none of categorical, numeric, cross", at("type"), config.type);
    if (!numeric && config.transform != "none")
      return InvalidArgument("{}: '{}' needs type: numeric", at("transform"), config.transform);
    if (config.transform == "bucket" && config.boundaries.empty())
      return InvalidArgument("{}: transform bucket needs them", at("boundaries"));
    if (!std::is_sorted(config.boundaries.begin(), config.boundaries.end()))
      return InvalidArgument("{}: must ascend", at("boundaries"));
    if (!config.clip.empty() && (!numeric || config.clip.size() != 2 || config.clip[0] > config.clip[1]))
      return InvalidArgument("{}: must be [smallest, largest] of a numeric feature", at("clip"));
    if (numeric && (config.multi || config.weighted))
      return InvalidArgument("{}: multi and weighted need type: categorical", at("type"));
    if (text && config.multi && config.separator.size() != 1)
      return InvalidArgument("{}: must be one character", at("separator"));
    if (text && config.weighted && config.weight_separator.size() != 1)
      return InvalidArgument("{}: must be one character", at("weight_separator"));
    if (config.type == "cross") {
      if (config.crosses.size() < 2) return InvalidArgument("{}: needs two fields or more", at("crosses"));
      for (const auto& member : config.crosses)
        if (std::find(sparse.begin(), sparse.end(), member) == sparse.end())
          return InvalidArgument("{}: '{}' is no sparse feature above it", at("crosses"), member);
    } else if (!config.crosses.empty()) {
      return InvalidArgument("{}: needs type: cross", at("crosses"));
    }
    const bool dense = numeric && (config.transform == "none" || config.transform == "log" || config.transform == "standardise");
    if (!dense && config.type != "cross") sparse.push_back(name);
  }
  return Status::Ok();
}

}  // namespace sluice::data
