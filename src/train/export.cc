// Export of train/api.h.

#include <span>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "checkpoint/safetensors_writer.h"
#include "config/writer.h"
#include "train/api.h"
#include "train/loaded_state.h"

namespace sluice::train {
namespace {

using checkpoint::DType;
using checkpoint::TensorInfo;

// What a reader needs to find a value's row: the salt of its key, and the key of the row that stands for keys without
// one.
std::string DescribeFields(const data::Schema& schema) {
  nlohmann::ordered_json fields = nlohmann::ordered_json::array();
  for (const auto& field : schema.fields)
    fields.push_back({{"name", field.name},
                      {"vocabulary", field.vocabulary},
                      {"salt", fmt::format("{:#018x}", field.salt)},
                      {"default_row", fmt::format("{:#018x}", embedding::DefaultRowKey(field.salt))}});
  return fields.dump();
}

// Tensors: each dense parameter under its name, its optimizer slots as slot0/NAME and so on, buffers as buffer/NAME; of
// table TABLE the keys as TABLE/keys [rows], in the order of (shard, key), with TABLE/weights [rows, dim] and
// TABLE/slots [rows, slots] beside them.
template <class T>
Result<ExportReport> ExportAs(const OpenedCheckpoint& opened, const ExportOptions& options) {
  SLUICE_ASSIGN_OR_RETURN(const auto state, LoadModelState<T>(opened));
  const DType scalar = sizeof(T) == 8 ? DType::kF64 : DType::kF32;
  std::vector<TensorInfo> tensors;
  for (const auto& param : state->net->params().params()) tensors.push_back({param.name, scalar, param.shape});
  for (const auto& param : state->net->buffers().params())
    tensors.push_back({"buffer/" + param.name, scalar, param.shape});
  const int64_t span = state->params.size();
  const int64_t num_slots = options.slots && span > 0 ? state->slots.size() / span : 0;
  for (int64_t s = 0; s < num_slots; ++s)
    for (const auto& param : state->net->params().params())
      tensors.push_back({fmt::format("slot{}/{}", s, param.name), scalar, param.shape});
  const size_t first_table = tensors.size();
  ExportReport report;
  if (options.tables) {
    for (int t = 0; t < state->tables->size(); ++t) {
      const auto& table = state->tables->table(t);
      int64_t rows = 0;
      table.ForEachRow([&](const embedding::RowView<T>&) { ++rows; });
      const std::string& name = state->tables->need(t).name;
      tensors.push_back({name + "/keys", DType::kU64, {rows}});
      tensors.push_back({name + "/weights", scalar, {rows, table.dim()}});
      if (options.slots) tensors.push_back({name + "/slots", scalar, {rows, table.num_slots()}});
      report.rows += rows;
    }
  }
  for (const auto& tensor : tensors) report.bytes += tensor.size_bytes();
  report.tensors = static_cast<int64_t>(tensors.size());

  const std::map<std::string, std::string> metadata = {{"format", "sluice"},
                                                       {"config", config::ToYaml(opened.header.config)},
                                                       {"features", opened.header.features.Save()},
                                                       {"fields", DescribeFields(opened.schema)},
                                                       {"model", DescribeModel(*state)},
                                                       {"step", std::to_string(opened.header.progress.step)}};
  SLUICE_ASSIGN_OR_RETURN(const auto writer, checkpoint::SafetensorsWriter::Create(options.output, tensors, metadata));
  size_t index = 0;
  for (const auto& param : state->net->params().params())
    SLUICE_RETURN_IF_ERROR(writer->Append(
        index++, std::span<const T>(state->params.data() + param.offset, static_cast<size_t>(param.size))));
  for (const auto& param : state->net->buffers().params())
    SLUICE_RETURN_IF_ERROR(writer->Append(
        index++, std::span<const T>(state->buffers.data() + param.offset, static_cast<size_t>(param.size))));
  for (int64_t s = 0; s < num_slots; ++s)
    for (const auto& param : state->net->params().params())
      SLUICE_RETURN_IF_ERROR(writer->Append(
          index++, std::span<const T>(state->slots.data() + s * span + param.offset, static_cast<size_t>(param.size))));
  index = first_table;
  for (int t = 0; options.tables && t < state->tables->size(); ++t) {
    const auto& table = state->tables->table(t);
    Status status;
    table.ForEachRow([&](const embedding::RowView<T>& row) {
      if (status.ok()) status = writer->Append(index, std::span<const Key>(&row.key, 1));
      if (status.ok())
        status = writer->Append(index + 1, std::span<const T>(row.weights, static_cast<size_t>(table.dim())));
      if (status.ok() && options.slots)
        status = writer->Append(index + 2, std::span<const T>(row.slots, static_cast<size_t>(table.num_slots())));
    });
    SLUICE_RETURN_IF_ERROR(status);
    index += options.slots ? 3 : 2;
  }
  SLUICE_RETURN_IF_ERROR(writer->Finish());
  return report;
}

}  // namespace

Result<ExportReport> Export(const ExportOptions& options) {
  try {
    SLUICE_ASSIGN_OR_RETURN(const OpenedCheckpoint opened, OpenCheckpoint(options.checkpoint));
    return opened.header.fp64 ? ExportAs<double>(opened, options) : ExportAs<float>(opened, options);
  } catch (const StatusError& error) {
    return error.status();
  }
}

}  // namespace sluice::train
