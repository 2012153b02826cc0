#include "data/packed.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "data/batch_ops.h"
#include "data/open.h"

namespace sluice::data {
namespace {

constexpr char kMagic[8] = {'S', 'L', 'U', 'I', 'C', 'E', 'P', 'K'};
constexpr char kEndMagic[8] = {'S', 'L', 'U', 'I', 'C', 'E', 'N', 'D'};
constexpr size_t kHeaderBytes = 64;
constexpr size_t kAlign = 8;

struct Header {
  char magic[8];
  uint32_t version;
  uint32_t json_bytes;
  uint64_t hash;
  char zeros[40];
};
static_assert(sizeof(Header) == kHeaderBytes);

struct Trailer {
  uint64_t index_offset;
  uint64_t num_blocks;
  uint64_t num_samples;
  uint64_t hash;
  char magic[8];
};

uint64_t Hash(std::span<const std::byte> bytes, uint64_t seed = 0) {
  return HashBytes({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, seed);
}

uint64_t TrailerHash(const Trailer& trailer, std::span<const std::byte> index) {
  return MixPair(MixPair(Hash(index), trailer.index_offset), MixPair(trailer.num_blocks, trailer.num_samples));
}

size_t Aligned(size_t size) { return (size + kAlign - 1) / kAlign * kAlign; }

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

// Everything before the first block, with the hash taken as 0.
uint64_t HeaderHash(std::span<const std::byte> bytes) {
  Header header;
  std::memcpy(&header, bytes.data(), sizeof header);
  header.hash = 0;
  return Hash(bytes.subspan(sizeof header), Hash(std::as_bytes(std::span(&header, 1))));
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

PackedReader::~PackedReader() {
  for (auto& file : files_)
    if (file.address != nullptr) ::munmap(file.address, file.size);
}

// Finds the wanted features among the file's and checks that they were made alike.
Status PackedReader::Match(const FittedFeatures& features, Mapped* mapped) const {
  const FittedFeatures& there = mapped->file.features;
  const auto differs = [&](const FittedFeature& feature, const char* option) {
    return InvalidArgument("{}: feature '{}' was packed with another {} than the configuration or model has", mapped->path,
                           feature.name, option);
  };
  int dense = 0;
  int field = 0;
  std::vector<int> columns;
  for (const auto& feature : there.features) columns.push_back(feature.sparse() ? field++ : dense++);
  for (const auto& feature : features.features) {
    const auto at = std::find_if(there.features.begin(), there.features.end(),
                                 [&](const auto& other) { return other.name == feature.name; });
    if (at == there.features.end()) return InvalidArgument("{}: holds no feature '{}'", mapped->path, feature.name);
    const FeatureConfig& a = at->config;
    const FeatureConfig& b = feature.config;
    if (a.type != b.type) return differs(feature, "type");
    if (a.transform != b.transform) return differs(feature, "transform");
    if (b.type != "numeric" || feature.sparse()) {
      if (a.vocabulary != b.vocabulary) return differs(feature, "vocabulary");
    }
    if (a.multi != b.multi) return differs(feature, "multi");
    if (a.weighted != b.weighted) return differs(feature, "weighted");
    if (a.clip != b.clip) return differs(feature, "clip");
    if (a.crosses != b.crosses) return differs(feature, "crosses");
    if (at->boundaries != feature.boundaries) return differs(feature, "set of bucket boundaries");
    if (at->mean != feature.mean || at->deviation != feature.deviation) return differs(feature, "mean or deviation");
    const int column = columns[static_cast<size_t>(at - there.features.begin())];
    (feature.sparse() ? mapped->fields : mapped->dense).push_back(column);
  }
  if (mapped->file.schema.labels.size() != schema_.labels.size())
    return InvalidArgument("{}: holds {} labels, not {}", mapped->path, mapped->file.schema.labels.size(),
                           schema_.labels.size());
  if (schema_.has_sample_weight && !mapped->file.schema.has_sample_weight)
    return InvalidArgument("{}: holds no sample weights", mapped->path);
  if (schema_.has_group && !mapped->file.schema.has_group) return InvalidArgument("{}: holds no groups", mapped->path);
  return Status::Ok();
}

namespace {

// A file mapped for reading. The mapping outlives the descriptor.
Status MapFile(const std::string& path, void** address, size_t* size) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return errno == ENOENT ? NotFound("{}: no such file", path) : IoError("{}: {}", path, std::strerror(errno));
  struct stat info;
  Status status;
  if (::fstat(fd, &info) != 0) {
    status = IoError("{}: {}", path, std::strerror(errno));
  } else if (!S_ISREG(info.st_mode)) {
    status = IoError("{}: is not a regular file, which packed data must be", path);
  } else if (info.st_size == 0) {
    status = DataLoss("{}: the file is empty", path);
  } else {
    *size = static_cast<size_t>(info.st_size);
    void* mapped = ::mmap(nullptr, *size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (mapped == MAP_FAILED) {
      status = IoError("{}: cannot map: {}", path, std::strerror(errno));
    } else {
      *address = mapped;
      ::madvise(mapped, *size, MADV_SEQUENTIAL);
    }
  }
  ::close(fd);
  return status;
}

}  // namespace

Result<std::unique_ptr<PieceReader>> PackedReader::Open(const std::vector<std::string>& files,
                                                        const FittedFeatures& features, const Schema& schema,
                                                        SampleFilter filter) {
  std::unique_ptr<PackedReader> reader(new PackedReader(schema, std::move(filter)));
  for (const auto& path : files) {
    Mapped& mapped = reader->files_.emplace_back();
    mapped.path = path;
    SLUICE_RETURN_IF_ERROR(MapFile(path, &mapped.address, &mapped.size));
    SLUICE_ASSIGN_OR_RETURN(
        mapped.file, PackedFile::Parse({static_cast<const std::byte*>(mapped.address), mapped.size}, path));
    SLUICE_RETURN_IF_ERROR(reader->Match(features, &mapped));
  }
  return std::unique_ptr<PieceReader>(std::move(reader));
}

Status PackedReader::Rewind(const BlockPlace& place) {
  if (place.file > static_cast<int64_t>(files_.size()) ||
      (place.file < static_cast<int64_t>(files_.size()) &&
       place.offset > static_cast<int64_t>(files_[place.file].file.blocks.size())))
    return DataLoss("the data has changed since the position to continue from was saved");
  place_ = place;
  return Status::Ok();
}

Result<bool> PackedReader::Cut(Piece* piece) {
  const bool tail = filter_.splits() && filter_.split == SampleFilter::Split::kTail;
  for (;;) {
    if (place_.file >= static_cast<int64_t>(files_.size())) return false;
    const PackedFile& file = files_[place_.file].file;
    if (place_.offset >= static_cast<int64_t>(file.blocks.size())) {
      place_ = {.file = place_.file + 1, .offset = 0, .line = 1, .ordinal = place_.ordinal};
      continue;
    }
    if (tail && filter_.side == SampleFilter::Side::kTrain && place_.ordinal >= filter_.tail_start) return false;
    const PackedFile::Block& block = file.blocks[place_.offset];
    piece->Reset();
    piece->place = place_;
    piece->lines = static_cast<int64_t>(block.samples);
    piece->bytes = static_cast<int64_t>(block.bytes);
    ++place_.offset;
    place_.line += piece->lines;
    place_.ordinal += piece->lines;
    if (tail && filter_.side == SampleFilter::Side::kEval && place_.ordinal <= filter_.tail_start) continue;
    return true;
  }
}

void PackedReader::Parse(Piece* piece) const {
  const Mapped& mapped = files_[piece->place.file];
  Batch& batch = piece->batch;
  Batch& whole = piece->whole;
  piece->status = mapped.file.Decode(piece->place.offset, mapped.path, &whole);
  if (!piece->status.ok()) return;
  batch.size = whole.size;
  std::swap(batch.labels, whole.labels);
  batch.sample_weights.clear();
  batch.groups.clear();
  if (schema_.has_sample_weight) std::swap(batch.sample_weights, whole.sample_weights);
  if (schema_.has_group) std::swap(batch.groups, whole.groups);
  // The wanted columns, in the wanted order.
  const size_t width = mapped.file.schema.dense.size();
  const bool all_dense = mapped.dense.size() == width && std::is_sorted(mapped.dense.begin(), mapped.dense.end());
  if (all_dense) {
    std::swap(batch.dense, whole.dense);
  } else {
    batch.dense.resize(static_cast<size_t>(batch.size) * mapped.dense.size());
    for (int64_t i = 0; i < batch.size; ++i)
      for (size_t d = 0; d < mapped.dense.size(); ++d)
        batch.dense[static_cast<size_t>(i) * mapped.dense.size() + d] =
            whole.dense[static_cast<size_t>(i) * width + static_cast<size_t>(mapped.dense[d])];
  }
  batch.fields.resize(mapped.fields.size());
  for (size_t f = 0; f < mapped.fields.size(); ++f) std::swap(batch.fields[f], whole.fields[mapped.fields[f]]);

  if (!filter_.splits() && filter_.keep_rate >= 1) return;
  piece->bad_rows.assign(static_cast<size_t>(batch.size), 0);
  bool any = false;
  const size_t num_labels = schema_.labels.size();
  for (int64_t i = 0; i < batch.size; ++i) {
    const int64_t ordinal = piece->place.ordinal + i;
    bool keep = true;
    if (filter_.splits()) {
      keep = filter_.split == SampleFilter::Split::kTail ? filter_.Wants(ordinal >= filter_.tail_start)
                                                         : filter_.HashWants(static_cast<uint64_t>(ordinal) ^ SampleFilter::kHashSeed);
    }
    if (keep && batch.labels[static_cast<size_t>(i) * num_labels] <= 0 && !filter_.KeepsNegative(ordinal)) {
      ++piece->dropped_negatives;
      keep = false;
    }
    piece->bad_rows[i] = !keep;
    any = any || !keep;
  }
  if (any) RemoveRows(piece->bad_rows, &batch);
}

Result<int64_t> CountPackedSamples(const std::string& path) {
  void* address = nullptr;
  size_t size = 0;
  SLUICE_RETURN_IF_ERROR(MapFile(path, &address, &size));
  const auto file = PackedFile::Parse({static_cast<const std::byte*>(address), size}, path);
  ::munmap(address, size);
  if (!file.ok()) return file.status();
  return file.value().num_samples;
}

Result<FittedFeatures> ReadPackedFeatures(const std::string& path) {
  void* address = nullptr;
  size_t size = 0;
  SLUICE_RETURN_IF_ERROR(MapFile(path, &address, &size));
  auto file = PackedFile::Parse({static_cast<const std::byte*>(address), size}, path);
  ::munmap(address, size);
  if (!file.ok()) return file.status();
  return std::move(file.value().features);
}

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
  const std::string aside = path + ".partial";
  std::vector<PackedFile::Block> blocks;
  Trailer trailer = {};
  const auto write = [&]() -> Status {
    FileWriter file;
    SLUICE_RETURN_IF_ERROR(file.Open(aside));
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
  if (status.ok() && std::rename(aside.c_str(), path.c_str()) != 0)
    status = IoError("{}: cannot rename: {}", path, std::strerror(errno));
  if (!status.ok()) {
    std::remove(aside.c_str());
    return status;
  }
  return static_cast<int64_t>(trailer.num_samples);
}

}  // namespace sluice::data
