#include "data/packed.h"

#include <algorithm>

#include "data/batch_ops.h"
#include "data/packed_layout.h"

namespace sluice::data {
namespace {

using namespace packed;

// Takes arrays out again; false where the bytes do not suffice.
class BlockReader {
 public:
  explicit BlockReader(std::span<const std::byte> bytes) : bytes_(bytes) {}
  template <class T>
  bool Get(size_t count, std::vector<T>* values) {
    if (count > bytes_.size() / sizeof(T) || Aligned(count * sizeof(T)) > bytes_.size()) return false;
    values->resize(count);
    if (count > 0) std::memcpy(values->data(), bytes_.data(), count * sizeof(T));
    bytes_ = bytes_.subspan(Aligned(count * sizeof(T)));
    return true;
  }
  bool GetCount(uint64_t* count) {
    if (bytes_.size() < sizeof(uint64_t)) return false;
    std::memcpy(count, bytes_.data(), sizeof(uint64_t));
    bytes_ = bytes_.subspan(sizeof(uint64_t));
    return true;
  }
  bool empty() const { return bytes_.empty(); }

 private:
  std::span<const std::byte> bytes_;
};

Status CheckHeader(std::span<const std::byte> bytes, const std::string& name, size_t* json_bytes) {
  Header header;
  if (bytes.size() < sizeof header) return DataLoss("{}: {} bytes are too few for a packed file", name, bytes.size());
  std::memcpy(&header, bytes.data(), sizeof header);
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0) return DataLoss("{}: is not a packed file", name);
  if (header.version != kPackedVersion)
    return DataLoss("{}: packed format version {}, where this program reads {}; pack the data again", name,
                    header.version, kPackedVersion);
  *json_bytes = header.json_bytes;
  return Status::Ok();
}

}  // namespace

Result<PackedFile> PackedFile::Parse(std::span<const std::byte> bytes, const std::string& name) {
  PackedFile file;
  file.bytes = bytes;
  size_t json_bytes = 0;
  SLUICE_RETURN_IF_ERROR(CheckHeader(bytes, name, &json_bytes));
  Trailer trailer;
  const auto cut = [&] { return DataLoss("{}: cut short or damaged at its end; pack the data again", name); };
  if (bytes.size() < sizeof(Header) + sizeof trailer) return cut();
  const size_t end = bytes.size() - sizeof trailer;
  std::memcpy(&trailer, bytes.data() + end, sizeof trailer);
  if (std::memcmp(trailer.magic, kEndMagic, sizeof kEndMagic) != 0 || trailer.index_offset > end ||
      trailer.num_blocks != (end - trailer.index_offset) / sizeof(Block) ||
      (end - trailer.index_offset) % sizeof(Block) != 0)
    return cut();
  const auto index = bytes.subspan(trailer.index_offset, end - trailer.index_offset);
  if (trailer.hash != TrailerHash(trailer, index)) return cut();
  file.blocks.resize(trailer.num_blocks);
  if (!index.empty()) std::memcpy(file.blocks.data(), index.data(), index.size());

  const size_t first_block = file.blocks.empty() ? trailer.index_offset : file.blocks.front().offset;
  if (first_block < sizeof(Header) || first_block > trailer.index_offset || json_bytes > first_block - sizeof(Header))
    return DataLoss("{}: the header is damaged", name);
  Header header;
  std::memcpy(&header, bytes.data(), sizeof header);
  if (header.hash != HeaderHash(bytes.first(first_block))) return DataLoss("{}: the header's checksum is wrong", name);
  const std::string json(reinterpret_cast<const char*>(bytes.data()) + sizeof header, json_bytes);
  Result<FittedFeatures> features = FittedFeatures::Load(json);
  if (!features.ok()) return features.status().WithContext(name);
  file.features = std::move(features).value();
  file.schema = file.features.MakeSchema();

  uint64_t at = first_block;
  for (const Block& block : file.blocks) {
    if (block.offset != at || block.bytes > trailer.index_offset - at || block.samples > (uint64_t{1} << 31))
      return DataLoss("{}: the index of blocks is damaged", name);
    at += block.bytes;
    file.num_samples += static_cast<int64_t>(block.samples);
  }
  if (at != trailer.index_offset || static_cast<uint64_t>(file.num_samples) != trailer.num_samples)
    return DataLoss("{}: the index of blocks is damaged", name);
  return file;
}

Status PackedFile::Decode(int64_t number, const std::string& name, Batch* batch) const {
  const Block& block = blocks[number];
  const auto payload = bytes.subspan(block.offset, block.bytes);
  if (Hash(payload) != block.hash)
    return DataLoss("{}: block {} at offset {}: the checksum is wrong", name, number, block.offset);
  const size_t size = block.samples;
  BlockReader reader(payload);
  ResetBatch(schema, batch);
  bool good = reader.Get(size * schema.labels.size(), &batch->labels) &&
              reader.Get(schema.has_sample_weight ? size : 0, &batch->sample_weights) &&
              reader.Get(size * schema.dense.size(), &batch->dense) &&
              reader.Get(schema.has_group ? size : 0, &batch->groups);
  for (size_t f = 0; good && f < schema.fields.size(); ++f) {
    FieldColumn& column = batch->fields[f];
    uint64_t count = size;
    if (!schema.fields[f].one_hot) {
      good = reader.Get(size + 1, &column.offsets) && reader.GetCount(&count) && column.offsets.front() == 0 &&
             static_cast<uint64_t>(column.offsets.back()) == count &&
             std::is_sorted(column.offsets.begin(), column.offsets.end());
    }
    good = good && reader.Get(count, &column.keys) && reader.Get(schema.fields[f].weighted ? count : 0, &column.weights);
  }
  if (!good || !reader.empty())
    return DataLoss("{}: block {} at offset {}: its columns do not fit its length", name, number, block.offset);
  batch->size = static_cast<int64_t>(size);
  return Status::Ok();
}

}  // namespace sluice::data
