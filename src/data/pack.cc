#include <algorithm>
#include <cstring>

#include "base/file.h"
#include "data/batch_ops.h"
#include "data/open.h"
#include "data/packed.h"
#include "data/packed_layout.h"

namespace sluice::data {
namespace {

using namespace packed;

// Appends arrays, each on a multiple of kAlign.
class BlockWriter {
 public:
  template <class T>
  void Put(const T* values, size_t count) {
    const size_t used = bytes_.size();
    bytes_.resize(used + Aligned(count * sizeof(T)));
    if (count > 0) std::memcpy(bytes_.data() + used, values, count * sizeof(T));
  }
  std::span<const std::byte> bytes() const { return bytes_; }
  void Clear() { bytes_.clear(); }

 private:
  std::vector<std::byte> bytes_;
};

void EncodeBlock(const Batch& batch, const Schema& schema, BlockWriter* out) {
  out->Clear();
  out->Put(batch.labels.data(), batch.labels.size());
  out->Put(batch.sample_weights.data(), batch.sample_weights.size());
  out->Put(batch.dense.data(), batch.dense.size());
  out->Put(batch.groups.data(), batch.groups.size());
  for (size_t f = 0; f < batch.fields.size(); ++f) {
    const FieldColumn& field = batch.fields[f];
    if (!schema.fields[f].one_hot) {
      const uint64_t count = field.keys.size();
      out->Put(field.offsets.data(), field.offsets.size());
      out->Put(&count, 1);
    }
    out->Put(field.keys.data(), field.keys.size());
    out->Put(field.weights.data(), field.weights.size());
  }
}

}  // namespace

Result<int64_t> Pack(BatchSource* source, const FittedFeatures& features, const std::string& path) {
  const Schema& schema = source->schema();
  FittedFeatures made_with = features;
  made_with.has_sample_weight = schema.has_sample_weight;
  made_with.has_group = schema.has_group;
  const std::string json = made_with.Save();
  std::string head(sizeof(Header), '\0');
  head += json;
  head.resize((head.size() + 63) / 64 * 64);
  Header header = {};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  header.version = kPackedVersion;
  header.json_bytes = static_cast<uint32_t>(json.size());
  std::memcpy(head.data(), &header, sizeof header);
  header.hash = HeaderHash(std::as_bytes(std::span(head)));
  std::memcpy(head.data(), &header, sizeof header);

  // Written aside and renamed, so that no reader ever sees a part.
  const WritePlace place(path);
  std::vector<PackedFile::Block> blocks;
  Trailer trailer = {};
  const auto write = [&]() -> Status {
    FileWriter file;
    SLUICE_RETURN_IF_ERROR(file.Open(place.beside));
    SLUICE_RETURN_IF_ERROR(file.Write(head));
    BlockWriter encoder;
    Batch batch;
    Batch block;
    ResetBatch(schema, &block);
    const auto flush = [&]() -> Status {
      EncodeBlock(block, schema, &encoder);
      blocks.push_back({static_cast<uint64_t>(file.bytes_written()), encoder.bytes().size(),
                        static_cast<uint64_t>(block.size), Hash(encoder.bytes())});
      trailer.num_samples += static_cast<uint64_t>(block.size);
      block.size = 0;
      ResetBatch(schema, &block);
      return file.Write(encoder.bytes());
    };
    for (;;) {
      SLUICE_ASSIGN_OR_RETURN(const bool more, source->Next(&batch));
      if (!more) break;
      for (int64_t used = 0; used < batch.size;) {
        const int64_t take = std::min(batch.size - used, kPackedBlock - block.size);
        AppendRows(batch, used, used + take, &block);
        used += take;
        if (block.size == kPackedBlock) SLUICE_RETURN_IF_ERROR(flush());
      }
    }
    if (block.size > 0) SLUICE_RETURN_IF_ERROR(flush());
    if (blocks.empty()) return DataLoss("{}: there are no samples to pack", path);
    trailer.index_offset = static_cast<uint64_t>(file.bytes_written());
    trailer.num_blocks = blocks.size();
    const auto index = std::as_bytes(std::span(blocks));
    trailer.hash = TrailerHash(trailer, index);
    std::memcpy(trailer.magic, kEndMagic, sizeof kEndMagic);
    SLUICE_RETURN_IF_ERROR(file.Write(index));
    SLUICE_RETURN_IF_ERROR(file.Write(std::as_bytes(std::span(&trailer, 1))));
    return file.Finish();
  };
  Status status = write();
  if (status.ok()) status = place.Commit();
  if (!status.ok()) {
    place.Discard();
    return status;
  }
  return static_cast<int64_t>(trailer.num_samples);
}

}  // namespace sluice::data
