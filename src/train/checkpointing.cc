#include "train/checkpointing.h"

#include <cstring>
#include <filesystem>
#include <map>
#include <set>
#include <span>
#include <utility>

#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint_folder.h"
#include "checkpoint/checkpoint_writer.h"
#include "config/reader.h"
#include "config/writer.h"
#include "train/rank_sections.h"

namespace sluice::train {
namespace {

using Json = nlohmann::json;

std::span<const std::byte> Bytes(const std::string& text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

template <class T>
std::span<const std::byte> Bytes(const AlignedBuffer<T>& buffer) {
  return {reinterpret_cast<const std::byte*>(buffer.data()), static_cast<size_t>(buffer.size()) * sizeof(T)};
}

Result<std::string> ReadText(const checkpoint::CheckpointReader& reader, const std::string& name) {
  SLUICE_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes, reader.Read(name));
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

template <class T>
Status ReadBuffer(const checkpoint::CheckpointReader& reader, const std::string& name, AlignedBuffer<T>* buffer) {
  SLUICE_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes, reader.Read(name));
  if (bytes.size() != static_cast<size_t>(buffer->size()) * sizeof(T))
    return InvalidArgument("{}: section {} has {} bytes, the configured model needs {}", reader.path(), name,
                           bytes.size(), buffer->size() * static_cast<int64_t>(sizeof(T)));
  if (!bytes.empty()) std::memcpy(buffer->data(), bytes.data(), bytes.size());
  return Status::Ok();
}

Json DescribeLayout(const nn::ParamLayout& layout) {
  Json json = Json::array();
  for (const auto& param : layout.params())
    json.push_back({{"name", param.name}, {"shape", param.shape}, {"offset", param.offset}});
  return json;
}

// Names what differs between the model in a checkpoint and the configured one.
Status Compare(const Json& theirs, const Json& ours, const std::string& path) {
  for (const char* part : {"params", "buffers", "tables"}) {
    const Json &a = theirs.at(part), &b = ours.at(part);
    for (size_t i = 0; i < std::max(a.size(), b.size()); ++i) {
      const Json in_checkpoint = i < a.size() ? a[i] : Json("nothing");
      const Json configured = i < b.size() ? b[i] : Json("nothing");
      if (in_checkpoint != configured)
        return InvalidArgument("{}: the checkpoint is of another model: {} {} is {} there and {} in the configuration",
                               path, part, i, in_checkpoint.dump(), configured.dump());
    }
  }
  for (const char* part : {"scalar", "optimizer"})
    if (theirs.at(part) != ours.at(part))
      return InvalidArgument("{}: {} is {} in the checkpoint and {} in the configuration", path, part,
                             theirs.at(part).dump(), ours.at(part).dump());
  return Status::Ok();
}

}  // namespace

template <class T>
std::string DescribeModel(const ModelState<T>& state) {
  Json json = {{"scalar", sizeof(T) == 8 ? "float64" : "float32"},
               {"optimizer", optim::RuleName(state.rule.kind)},
               {"params", DescribeLayout(state.net->params())},
               {"buffers", DescribeLayout(state.net->buffers())},
               {"tables", Json::array()}};
  for (int t = 0; t < state.tables->size(); ++t) {
    const auto& need = state.tables->need(t);
    std::vector<std::string> fields;
    for (int f : need.fields) fields.push_back(state.schema.fields[f].name);
    json["tables"].push_back({{"name", need.name},
                              {"dim", need.dim},
                              {"optimizer", optim::RuleName(state.tables->rule(t).kind)},
                              {"slots", state.tables->table(t).num_slots()},
                              {"fields", fields}});
  }
  return json.dump(1);
}

namespace {

template <class T>
Status WriteModel(checkpoint::CheckpointWriter* writer, const CheckpointHeader& header, const ModelState<T>& state,
                  const metric::ProgressiveEvaluator* progressive) {
  SLUICE_ASSIGN_OR_RETURN(auto file, writer->OpenFile("model"));
  SLUICE_RETURN_IF_ERROR(file->Put("config.yaml", Bytes(config::ToYaml(header.config))));
  SLUICE_RETURN_IF_ERROR(file->Put("features.json", Bytes(header.features.Save())));
  SLUICE_RETURN_IF_ERROR(file->Put("state.json", Bytes(header.progress.ToJson())));
  SLUICE_RETURN_IF_ERROR(file->Put("model.json", Bytes(DescribeModel(state))));
  SLUICE_RETURN_IF_ERROR(file->Put("dense/params", Bytes(state.params)));
  SLUICE_RETURN_IF_ERROR(file->Put("dense/slots", Bytes(state.slots)));
  SLUICE_RETURN_IF_ERROR(file->Put("dense/buffers", Bytes(state.buffers)));
  return progressive != nullptr ? progressive->Save(file, "progressive") : Status::Ok();
}

// `ownership` null: one process.
template <class T>
Status WriteTables(checkpoint::CheckpointWriter* writer, const ModelState<T>& state,
                   const placement::Ownership* ownership, const std::vector<int64_t>& total_rows) {
  for (int t = 0; t < state.tables->size(); ++t) {
    std::string name = "table-" + std::to_string(t);
    std::string prefix = "table/" + state.tables->need(t).name;
    if (ownership != nullptr && ownership->rank() > 0) name += "-rank-" + std::to_string(ownership->rank());
    SLUICE_ASSIGN_OR_RETURN(auto file, writer->OpenFile(name));
    if (ownership == nullptr) {
      SLUICE_RETURN_IF_ERROR(state.tables->table(t).Save(file, prefix));
    } else {
      RankSections sections(file, prefix, *ownership);
      SLUICE_RETURN_IF_ERROR(state.tables->table(t).Save(&sections, prefix, total_rows[static_cast<size_t>(t)]));
    }
  }
  return Status::Ok();
}

placement::Ownership OwnershipOf(const RankContext& context) {
  return placement::Ownership(context.strategy, context.ranks->rank(), context.ranks->size());
}

std::map<std::string, std::string> ManifestValues(const Progress& progress) {
  return {{"step", std::to_string(progress.step)}, {"samples", std::to_string(progress.samples)}};
}

// What rank 0 does of a checkpoint by several; `texts` are the others' sections or failures.
template <class T>
Result<std::string> SaveByRanks(const std::string& folder, const CheckpointHeader& header, const ModelState<T>& state,
                                const metric::ProgressiveEvaluator* progressive, const RankContext& context) {
  placement::Ranks* const ranks = context.ranks;
  const placement::Ownership ownership = OwnershipOf(context);
  std::unique_ptr<checkpoint::CheckpointWriter> writer;
  Result<std::string> path = std::string();
  if (ranks->leads()) {
    auto created = checkpoint::CheckpointWriter::Create(folder, header.progress.step);
    if (created.ok()) {
      writer = std::move(created).value();
      path = writer->temporary_path();
    } else {
      path = created.status();
    }
  }
  SLUICE_ASSIGN_OR_RETURN(const std::string shared, ranks->Share(path));
  if (!ranks->leads()) writer = checkpoint::CheckpointWriter::Join(shared, header.progress.step);
  std::vector<int64_t> total_rows;
  for (int t = 0; t < state.tables->size(); ++t) total_rows.push_back(state.tables->table(t).stats().rows);
  SLUICE_RETURN_IF_ERROR(
      ranks->control().AllReduce<int64_t>(total_rows, comm::ReduceOp::kSum, comm::Traffic::kControl));
  Status status = ranks->leads() ? WriteModel(writer.get(), header, state, progressive) : Status::Ok();
  if (status.ok()) status = WriteTables(writer.get(), state, &ownership, total_rows);
  std::string sections;
  if (status.ok() && !ranks->leads()) {
    auto finished = writer->FinishFiles();
    status = finished.status();
    if (finished.ok()) sections = std::move(finished).value();
  }
  SLUICE_RETURN_IF_ERROR(ranks->Agree(status));
  SLUICE_ASSIGN_OR_RETURN(const auto all_sections, ranks->Collect(sections));
  Result<std::string> committed = std::string();
  if (ranks->leads()) {
    Status added;
    for (size_t r = 1; r < all_sections.size() && added.ok(); ++r) added = writer->AddSections(all_sections[r]);
    if (added.ok())
      committed = writer->Commit(ManifestValues(header.progress));
    else
      committed = added;
  }
  return ranks->Share(committed);
}

}  // namespace

template <class T>
Result<std::string> SaveCheckpoint(const std::string& folder, const CheckpointHeader& header,
                                   const ModelState<T>& state, const metric::ProgressiveEvaluator* progressive,
                                   const RankContext* ranks) {
  if (ranks != nullptr) return SaveByRanks(folder, header, state, progressive, *ranks);
  SLUICE_ASSIGN_OR_RETURN(auto writer, checkpoint::CheckpointWriter::Create(folder, header.progress.step));
  SLUICE_RETURN_IF_ERROR(WriteModel(writer.get(), header, state, progressive));
  SLUICE_RETURN_IF_ERROR(WriteTables<T>(writer.get(), state, nullptr, {}));
  return writer->Commit(ManifestValues(header.progress));
}

Result<CheckpointHeader> ReadHeader(const checkpoint::CheckpointReader& reader) {
  CheckpointHeader header;
  SLUICE_ASSIGN_OR_RETURN(const std::string yaml, ReadText(reader, "config.yaml"));
  SLUICE_RETURN_IF_ERROR(config::ReadText(yaml, reader.path() + "/config.yaml", {}, &header.config));
  SLUICE_ASSIGN_OR_RETURN(const std::string features, ReadText(reader, "features.json"));
  SLUICE_ASSIGN_OR_RETURN(header.features, data::FittedFeatures::Load(features));
  SLUICE_ASSIGN_OR_RETURN(const std::string progress, ReadText(reader, "state.json"));
  SLUICE_ASSIGN_OR_RETURN(header.progress, Progress::FromJson(progress));
  header.fp64 = header.config.precision == "fp64";
  return header;
}

template <class T>
Status LoadTable(const checkpoint::CheckpointReader& reader, int table, const embedding::LoadOptions& options,
                 const RankContext* ranks, ModelState<T>* state) {
  const std::string prefix = "table/" + state->tables->need(table).name;
  if (ranks == nullptr) return state->tables->table(table).Load(reader, prefix, options);
  const placement::Ownership ownership = OwnershipOf(*ranks);
  std::map<uint64_t, int> vocabulary_of_salt;
  for (int f = 0; f < state->schema.num_fields(); ++f)
    vocabulary_of_salt[state->schema.fields[static_cast<size_t>(f)].salt] = state->tables->ids().vocabulary_of_field(f);
  embedding::LoadOptions mine = options;
  mine.all_shards = false;
  mine.owns = [&](uint64_t salt, int shard) {
    const auto vocabulary = vocabulary_of_salt.find(salt);
    const int owner =
        vocabulary == vocabulary_of_salt.end() ? ownership.OfShard(shard) : ownership.Of(vocabulary->second, shard);
    return owner == ownership.rank();
  };
  std::set<int> others;
  if (options.all_default_rows)
    for (const auto& [salt, vocabulary] : vocabulary_of_salt)
      others.insert(embedding::ShardOf(embedding::DefaultRowKey(salt)));
  return state->tables->table(table).Load(OwnedSections(reader, prefix, ownership, std::move(others)), prefix, mine);
}

// All but the rows.
template <class T>
Status LoadModel(const checkpoint::CheckpointReader& reader, ModelState<T>* state) {
  SLUICE_ASSIGN_OR_RETURN(const std::string theirs, ReadText(reader, "model.json"));
  try {
    SLUICE_RETURN_IF_ERROR(Compare(Json::parse(theirs), Json::parse(DescribeModel(*state)), reader.path()));
  } catch (const Json::exception& error) {
    return DataLoss("{}: section model.json: {}", reader.path(), error.what());
  }
  SLUICE_RETURN_IF_ERROR(ReadBuffer(reader, "dense/params", &state->params));
  SLUICE_RETURN_IF_ERROR(ReadBuffer(reader, "dense/slots", &state->slots));
  SLUICE_RETURN_IF_ERROR(ReadBuffer(reader, "dense/buffers", &state->buffers));
  return Status::Ok();
}

template <class T>
Status LoadServerState(const checkpoint::CheckpointReader& reader, ModelState<T>* state, int server, int servers) {
  SLUICE_RETURN_IF_ERROR(LoadModel(reader, state));
  const placement::Ownership ownership({}, server, servers);
  for (int t = 0; t < state->tables->size(); ++t) {
    const std::string prefix = "table/" + state->tables->need(t).name;
    SLUICE_RETURN_IF_ERROR(
        state->tables->table(t).Load(OwnedSections(reader, prefix, ownership), prefix, {.all_shards = servers == 1}));
  }
  return Status::Ok();
}

template <class T>
Status LoadState(const checkpoint::CheckpointReader& reader, ModelState<T>* state, const RankContext* ranks,
                 const embedding::LoadOptions& options) {
  SLUICE_RETURN_IF_ERROR(LoadModel(reader, state));
  for (int t = 0; t < state->tables->size(); ++t) SLUICE_RETURN_IF_ERROR(LoadTable(reader, t, options, ranks, state));
  return Status::Ok();
}

template <class T>
Status WriteServerTables(checkpoint::CheckpointWriter* writer, const ModelState<T>& state, int server,
                         const std::vector<int64_t>& total_rows) {
  // Whole shards, and those of this server alone are there.
  const placement::Ownership ownership({}, server, server + 1);
  return WriteTables(writer, state, &ownership, total_rows);
}

template <class T>
Status WriteServerModel(checkpoint::CheckpointWriter* writer, const CheckpointHeader& header,
                        const ModelState<T>& state, const std::string& service) {
  SLUICE_RETURN_IF_ERROR(WriteModel(writer, header, state, nullptr));
  SLUICE_ASSIGN_OR_RETURN(auto file, writer->OpenFile("service"));
  return file->Put("service/state.json", Bytes(service));
}

Result<std::string> CommitServerCheckpoint(checkpoint::CheckpointWriter* writer, const Progress& progress,
                                           const std::vector<std::string>& others_sections) {
  for (const std::string& sections : others_sections) SLUICE_RETURN_IF_ERROR(writer->AddSections(sections));
  return writer->Commit(ManifestValues(progress));
}

Result<std::string> ReadServiceState(const checkpoint::CheckpointReader& reader) {
  if (!reader.Has("service/state.json")) return std::string();
  return ReadText(reader, "service/state.json");
}

template <class T>
void CaptureSchedules(ModelState<T>& state, Progress* progress) {
  progress->dense_schedule = state.schedule.state();
  progress->table_schedules.clear();
  for (int t = 0; t < state.tables->size(); ++t) progress->table_schedules.push_back(state.tables->schedule(t).state());
}

template <class T>
void RestoreSchedules(const Progress& progress, ModelState<T>* state) {
  state->schedule.set_state(progress.dense_schedule);
  const int known = static_cast<int>(progress.table_schedules.size());
  for (int t = 0; t < std::min(known, state->tables->size()); ++t)
    state->tables->schedule(t).set_state(progress.table_schedules[t]);
}

Result<std::string> FindModel(const std::string& path) {
  const std::string best = path + "/best";
  if (std::filesystem::is_directory(best)) {
    SLUICE_ASSIGN_OR_RETURN(const auto latest, checkpoint::LatestCheckpoint(best));
    if (latest) return latest->path;
  }
  return checkpoint::FindCheckpoint(path);
}

template std::string DescribeModel(const ModelState<float>&);
template std::string DescribeModel(const ModelState<double>&);
template Result<std::string> SaveCheckpoint(const std::string&, const CheckpointHeader&, const ModelState<float>&,
                                            const metric::ProgressiveEvaluator*, const RankContext*);
template Result<std::string> SaveCheckpoint(const std::string&, const CheckpointHeader&, const ModelState<double>&,
                                            const metric::ProgressiveEvaluator*, const RankContext*);
template void CaptureSchedules(ModelState<float>&, Progress*);
template void CaptureSchedules(ModelState<double>&, Progress*);
template void RestoreSchedules(const Progress&, ModelState<float>*);
template void RestoreSchedules(const Progress&, ModelState<double>*);
template Status LoadTable(const checkpoint::CheckpointReader&, int, const embedding::LoadOptions&, const RankContext*,
                          ModelState<float>*);
template Status LoadTable(const checkpoint::CheckpointReader&, int, const embedding::LoadOptions&, const RankContext*,
                          ModelState<double>*);
template Status LoadState(const checkpoint::CheckpointReader&, ModelState<float>*, const RankContext*,
                          const embedding::LoadOptions&);
template Status LoadState(const checkpoint::CheckpointReader&, ModelState<double>*, const RankContext*,
                          const embedding::LoadOptions&);

template Status LoadServerState(const checkpoint::CheckpointReader&, ModelState<float>*, int, int);
template Status WriteServerTables(checkpoint::CheckpointWriter*, const ModelState<float>&, int,
                                  const std::vector<int64_t>&);
template Status WriteServerModel(checkpoint::CheckpointWriter*, const CheckpointHeader&, const ModelState<float>&,
                                 const std::string&);
template Status LoadServerState(const checkpoint::CheckpointReader&, ModelState<double>*, int, int);
template Status WriteServerTables(checkpoint::CheckpointWriter*, const ModelState<double>&, int,
                                  const std::vector<int64_t>&);
template Status WriteServerModel(checkpoint::CheckpointWriter*, const CheckpointHeader&, const ModelState<double>&,
                                 const std::string&);

}  // namespace sluice::train
