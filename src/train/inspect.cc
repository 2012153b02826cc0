// Inspect of train/api.h.

#include <algorithm>
#include <cstdlib>
#include <optional>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/hash.h"
#include "base/join.h"
#include "data/features.h"
#include "telemetry/progress.h"
#include "train/api.h"
#include "train/loaded_state.h"

namespace sluice::train {
namespace {

using Json = nlohmann::ordered_json;

Result<uint64_t> ParseKey(const std::string& text) {
  char* end = nullptr;
  const uint64_t key = std::strtoull(text.c_str(), &end, 0);
  if (text.empty() || *end != '\0') return InvalidArgument("key {}: write a decimal or 0x... number", text);
  return key;
}

std::vector<std::string> Split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  size_t begin = 0;
  for (size_t end; (end = text.find(separator, begin)) != std::string::npos; begin = end + 1)
    parts.push_back(text.substr(begin, end - begin));
  parts.push_back(text.substr(begin));
  return parts;
}

Result<const data::SparseField*> FindField(const OpenedCheckpoint& opened, const std::string& name) {
  std::vector<std::string> known;
  for (const auto& field : opened.schema.fields) {
    if (field.name == name) return &field;
    known.push_back(field.name);
  }
  return NotFound("{}: the model has no sparse field {}; its fields are: {}", opened.path, name, Join(known, ", "));
}

// The key of a value as data writes it; for a field made from a number, of the number of its bucket; for a cross, of
// the values of its fields with commas between them.
Result<Key> KeyOfValue(const OpenedCheckpoint& opened, const data::SparseField& field, const std::string& value) {
  const auto& features = opened.header.features.features;
  const auto feature =
      std::find_if(features.begin(), features.end(), [&](const auto& f) { return f.name == field.name; });
  if (feature != features.end() && feature->config.type == "cross") {
    const auto& names = feature->config.crosses;
    const std::vector<std::string> values = Split(value, ',');
    if (values.size() != names.size())
      return InvalidArgument("field {} crosses {}: write as many values with commas between them", field.name,
                             Join(names, ", "));
    Key key = field.salt;
    for (size_t i = 0; i < names.size(); ++i) {
      SLUICE_ASSIGN_OR_RETURN(const data::SparseField* part, FindField(opened, names[i]));
      SLUICE_ASSIGN_OR_RETURN(const Key part_key, KeyOfValue(opened, *part, values[i]));
      key = MixPair(key, part_key);
    }
    return key;
  }
  if (value.empty()) return data::MissingKey(field.salt);
  if (feature != features.end() && feature->config.type == "numeric") {
    SLUICE_ASSIGN_OR_RETURN(const uint64_t bucket, ParseKey(value));
    return IntegerKey(bucket, field.salt);
  }
  return StringKey(value, field.salt);
}

template <class T>
Json DescribeRow(const embedding::Table<T>& table, Key key, bool* found) {
  Json json;
  *found = table.FindRow(key, [&](const embedding::RowView<T>& row) {
    json["table"] = table.name();
    json["key"] = fmt::format("{:#018x}", row.key);
    json["count"] = row.count;
    json["last_use"] = row.last_use;
    json["weights"] = std::vector<T>(row.weights, row.weights + table.dim());
    json["slots"] = std::vector<T>(row.slots, row.slots + table.num_slots());
  });
  return json;
}

std::string RowText(const Json& row) {
  return fmt::format("table {}, key {}: count {}, last use in step {}\nweights {}\nslots {}\n",
                     row.at("table").get<std::string>(), row.at("key").get<std::string>(),
                     row.at("count").get<uint64_t>(), row.at("last_use").get<uint64_t>(), row.at("weights").dump(),
                     row.at("slots").dump());
}

template <class T>
Result<std::string> InspectKey(const OpenedCheckpoint& opened, const ModelState<T>& state,
                               const InspectOptions& options) {
  std::vector<int> tables;
  Key key = 0;
  if (!options.field.empty()) {
    SLUICE_ASSIGN_OR_RETURN(const data::SparseField* found, FindField(opened, options.field));
    const int field = static_cast<int>(found - opened.schema.fields.data());
    SLUICE_ASSIGN_OR_RETURN(key, KeyOfValue(opened, *found, options.value));
    for (int t = 0; t < state.tables->size(); ++t) {
      const auto& fields = state.tables->need(t).fields;
      if (std::find(fields.begin(), fields.end(), field) != fields.end()) tables.push_back(t);
    }
  } else {
    SLUICE_ASSIGN_OR_RETURN(key, ParseKey(options.key));
    const int t = state.tables->FindTable(options.table);
    if (t < 0) return NotFound("{}: the model has no table {}", opened.path, options.table);
    tables.push_back(t);
  }
  Json rows = Json::array();
  for (int t : tables) {
    bool found = false;
    Json row = DescribeRow(state.tables->table(t), key, &found);
    if (found) rows.push_back(std::move(row));
  }
  if (rows.empty()) return NotFound("{}: key {:#018x} has no row", opened.path, key);
  if (options.json) return rows.dump(2);
  std::string text;
  for (const Json& row : rows) text += RowText(row);
  return text;
}

template <class T>
Json Summary(const OpenedCheckpoint& opened, const ModelState<T>& state) {
  const RunConfig& config = opened.header.config;
  Json json;
  json["path"] = opened.path;
  json["sluice_version"] = opened.reader->manifest().sluice_version;
  json["processor"] = opened.reader->manifest().processor;
  json["step"] = opened.header.progress.step;
  json["samples"] = opened.header.progress.samples;
  json["model"] = config.model.preset;
  json["precision"] = config.precision;
  json["format"] = opened.header.features.format;
  json["labels"] = opened.schema.labels;
  json["dense"] = opened.schema.dense;
  json["fields"] = Json::array();
  for (const auto& field : opened.schema.fields)
    json["fields"].push_back({{"name", field.name}, {"vocabulary", field.vocabulary}, {"one_hot", field.one_hot}});
  json["tables"] = Json::array();
  for (int t = 0; t < state.tables->size(); ++t) {
    const auto stats = state.tables->table(t).stats();
    json["tables"].push_back({{"name", state.tables->need(t).name},
                              {"dim", state.tables->need(t).dim},
                              {"slots", state.tables->table(t).num_slots()},
                              {"fields", state.tables->need(t).fields.size()},
                              {"rows", stats.rows},
                              {"row_bytes", stats.row_bytes},
                              {"memory_bytes", stats.memory_bytes},
                              {"inserted", stats.inserted},
                              {"expired", stats.expired}});
  }
  json["parameters"] = Json::array();
  for (const auto& param : state.net->params().params())
    json["parameters"].push_back({{"name", param.name}, {"shape", param.shape}});
  json["dense_parameters"] = state.params.size();
  return json;
}

std::string SummaryText(const Json& json) {
  std::string text = fmt::format("checkpoint  {}\nwritten     sluice {}, {}\nstep        {} ({} samples)\n",
                                 json.at("path").get<std::string>(), json.at("sluice_version").get<std::string>(),
                                 json.at("processor").get<std::string>(), json.at("step").get<int64_t>(),
                                 json.at("samples").get<int64_t>());
  text += fmt::format("model       {}, {}, {} dense parameters\n", json.at("model").get<std::string>(),
                      json.at("precision").get<std::string>(), json.at("dense_parameters").get<int64_t>());
  std::vector<std::string> fields;
  for (const auto& field : json.at("fields")) fields.push_back(field.at("name"));
  text += fmt::format("data        {}; labels {}\n", json.at("format").get<std::string>(),
                      Join(json.at("labels").get<std::vector<std::string>>(), ", "));
  text += fmt::format("fields      {} ({})\n", fields.size(), Join(fields, ", "));
  text += fmt::format("dense       {} ({})\n", json.at("dense").size(),
                      Join(json.at("dense").get<std::vector<std::string>>(), ", "));
  for (const auto& table : json.at("tables"))
    text += fmt::format("table       {}: {} rows of {} weights and {} slots, {} bytes a row, {} in memory\n",
                        table.at("name").get<std::string>(), table.at("rows").get<int64_t>(),
                        table.at("dim").get<int64_t>(), table.at("slots").get<int64_t>(),
                        table.at("row_bytes").get<int64_t>(),
                        telemetry::HumanBytes(table.at("memory_bytes").get<double>()));
  for (const auto& param : json.at("parameters"))
    text += fmt::format("parameter   {} {}\n", param.at("name").get<std::string>(), param.at("shape").dump());
  return text;
}

template <class T>
Result<std::string> InspectAs(const OpenedCheckpoint& opened, const InspectOptions& options) {
  SLUICE_ASSIGN_OR_RETURN(const auto state, LoadModelState<T>(opened));
  if (options.digest) return fmt::format("{:016x}", state->Digest());
  if (!options.field.empty() || !options.key.empty()) return InspectKey<T>(opened, *state, options);
  const Json summary = Summary(opened, *state);
  return options.json ? summary.dump(2) : SummaryText(summary);
}

}  // namespace

Result<std::string> Inspect(const InspectOptions& options) {
  try {
    SLUICE_ASSIGN_OR_RETURN(const OpenedCheckpoint opened, OpenCheckpoint(options.checkpoint));
    return opened.header.fp64 ? InspectAs<double>(opened, options) : InspectAs<float>(opened, options);
  } catch (const StatusError& error) {
    return error.status();
  }
}

}  // namespace sluice::train
