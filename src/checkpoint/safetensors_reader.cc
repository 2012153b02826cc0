#include "checkpoint/safetensors_reader.h"

#include <algorithm>
#include <limits>
#include <utility>

#include <nlohmann/json.hpp>

namespace sluice::checkpoint {
namespace {

using Json = nlohmann::json;

constexpr int64_t kMaxHeaderBytes = 100'000'000;  // as in the reference implementation

bool ReadCounts(const Json& json, std::vector<int64_t>* counts) {
  if (!json.is_array()) return false;
  for (const Json& value : json) {
    if (!value.is_number_unsigned() || value.get<uint64_t>() > uint64_t{1} << 62) return false;
    counts->push_back(value.get<int64_t>());
  }
  return true;
}

// What is wrong with the entry, or nullptr.
const char* ParseTensor(const Json& json, int64_t data_size, StoredTensor* tensor) {
  if (!json.is_object() || !json.contains("dtype") || !json.contains("shape") || !json.contains("data_offsets"))
    return "dtype, shape or data_offsets is missing";
  bool known = false;
  for (DType dtype : {DType::kF32, DType::kF64, DType::kBf16, DType::kU32, DType::kI64, DType::kU64}) {
    if (json["dtype"] != DTypeName(dtype)) continue;
    tensor->info.dtype = dtype;
    known = true;
  }
  if (!known) return "its element type is not one that this program reads";
  if (!ReadCounts(json["shape"], &tensor->info.shape)) return "its shape is not a list of counts";
  std::vector<int64_t> offsets;
  if (!ReadCounts(json["data_offsets"], &offsets) || offsets.size() != 2) return "its offsets are not two counts";
  tensor->begin = offsets[0];
  tensor->end = offsets[1];
  if (tensor->begin > tensor->end || tensor->end > data_size) return "its offsets lie outside of the file";
  // In 128 bits and capped, so that no shape overflows.
  constexpr __int128 kCap = std::numeric_limits<int64_t>::max();
  __int128 size = SizeOf(tensor->info.dtype);
  for (const int64_t extent : tensor->info.shape) size = std::min(size * extent, kCap);
  if (size != tensor->end - tensor->begin) return "its shape does not fit its offsets";
  return nullptr;
}

}  // namespace

Result<SafetensorsHeader> ParseSafetensorsHeader(std::string_view json, int64_t data_size, const std::string& path) {
  const Json parsed = Json::parse(json.begin(), json.end(), nullptr, false);
  if (!parsed.is_object()) return DataLoss("{}: the header is not a JSON object", path);
  SafetensorsHeader header;
  for (const auto& [name, value] : parsed.items()) {
    if (name == "__metadata__") {
      if (!value.is_object()) return DataLoss("{}: the metadata is not a JSON object", path);
      for (const auto& [key, text] : value.items()) {
        if (!text.is_string()) return DataLoss("{}: metadata `{}` is not a string", path, key);
        header.metadata[key] = text.get<std::string>();
      }
      continue;
    }
    StoredTensor tensor;
    tensor.info.name = name;
    if (const char* wrong = ParseTensor(value, data_size, &tensor))
      return DataLoss("{}: tensor {}: {}", path, name, wrong);
    header.tensors.emplace(name, std::move(tensor));
  }
  return header;
}

Result<SafetensorsReader> SafetensorsReader::Open(const std::string& path) {
  SafetensorsReader reader;
  SLUICE_ASSIGN_OR_RETURN(reader.file_, FileReader::Open(path));
  uint64_t length = 0;
  SLUICE_RETURN_IF_ERROR(reader.file_.ReadAt(0, std::as_writable_bytes(std::span(&length, 1))));
  reader.data_begin_ = static_cast<int64_t>(sizeof(length));
  if (length > kMaxHeaderBytes || reader.data_begin_ + static_cast<int64_t>(length) > reader.file_.size())
    return DataLoss("{}: no safetensors file: its header would be {} bytes long", path, length);
  std::string text(length, '\0');
  SLUICE_RETURN_IF_ERROR(reader.file_.ReadAt(reader.data_begin_, std::as_writable_bytes(std::span(text))));
  reader.data_begin_ += static_cast<int64_t>(length);
  SLUICE_ASSIGN_OR_RETURN(reader.header_,
                          ParseSafetensorsHeader(text, reader.file_.size() - reader.data_begin_, path));
  return reader;
}

Result<std::vector<std::byte>> SafetensorsReader::Read(const std::string& tensor) const {
  const auto it = header_.tensors.find(tensor);
  if (it == header_.tensors.end()) return NotFound("{}: no tensor {}", file_.path(), tensor);
  std::vector<std::byte> bytes(static_cast<size_t>(it->second.end - it->second.begin));
  SLUICE_RETURN_IF_ERROR(file_.ReadAt(data_begin_ + it->second.begin, bytes));
  return bytes;
}

}  // namespace sluice::checkpoint
