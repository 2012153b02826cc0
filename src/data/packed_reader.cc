#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "data/batch_ops.h"
#include "data/packed.h"

namespace sluice::data {
namespace {

// A file mapped for reading. The mapping outlives the descriptor.
Status MapFile(const std::string& path, void** address, size_t* size) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return errno == ENOENT ? NotFound("{}: no such file", path) : IoError("{}: {}", path, std::strerror(errno));
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

PackedReader::~PackedReader() {
  for (auto& file : files_)
    if (file.address != nullptr) ::munmap(file.address, file.size);
}

// Finds the wanted features among the file's and checks that they were made alike.
Status PackedReader::Match(const FittedFeatures& features, Mapped* mapped) const {
  const FittedFeatures& there = mapped->file.features;
  const auto differs = [&](const FittedFeature& feature, const char* option) {
    return InvalidArgument("{}: feature '{}' was packed with another {} than the configuration or model has",
                           mapped->path, feature.name, option);
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

Result<std::unique_ptr<PieceReader>> PackedReader::Open(const std::vector<std::string>& files,
                                                        const FittedFeatures& features, const Schema& schema,
                                                        SampleFilter filter) {
  std::unique_ptr<PackedReader> reader(new PackedReader(schema, std::move(filter)));
  for (const auto& path : files) {
    Mapped& mapped = reader->files_.emplace_back();
    mapped.path = path;
    SLUICE_RETURN_IF_ERROR(MapFile(path, &mapped.address, &mapped.size));
    SLUICE_ASSIGN_OR_RETURN(mapped.file,
                            PackedFile::Parse({static_cast<const std::byte*>(mapped.address), mapped.size}, path));
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

Status PackedReader::ReadBlock(const BlockPlace& place, Batch* whole_block, Batch* wanted) const {
  const Mapped& mapped = files_[place.file];
  Batch& batch = *wanted;
  Batch& whole = *whole_block;
  SLUICE_RETURN_IF_ERROR(mapped.file.Decode(place.offset, mapped.path, &whole));
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
  return Status::Ok();
}

bool PackedReader::KeepsBySplit(int64_t ordinal) const {
  if (!filter_.splits()) return true;
  return filter_.split == SampleFilter::Split::kTail
             ? filter_.Wants(ordinal >= filter_.tail_start)
             : filter_.HashWants(static_cast<uint64_t>(ordinal) ^ SampleFilter::kHashSeed);
}

void PackedReader::Parse(Piece* piece) const {
  Batch& batch = piece->batch;
  piece->status = ReadBlock(piece->place, &piece->whole, &batch);
  if (!piece->status.ok()) return;
  if (!filter_.splits() && filter_.keep_rate >= 1) return;
  piece->bad_rows.assign(static_cast<size_t>(batch.size), 0);
  bool any = false;
  const size_t num_labels = schema_.labels.size();
  for (int64_t i = 0; i < batch.size; ++i) {
    const int64_t ordinal = piece->place.ordinal + i;
    bool keep = KeepsBySplit(ordinal);
    if (keep && batch.labels[static_cast<size_t>(i) * num_labels] <= 0 && !filter_.KeepsNegative(ordinal)) {
      ++piece->dropped_negatives;
      keep = false;
    }
    piece->bad_rows[i] = !keep;
    any = any || !keep;
  }
  if (any) RemoveRows(piece->bad_rows, &batch);
}

// Negatives are known by their labels, so the block is read at once where some are dropped.
void PackedReader::Index(Piece* piece) const {
  auto block = std::make_shared<SampleBlock>();
  block->place = piece->place;
  if (filter_.keep_rate < 1) {
    Parse(piece);
    std::call_once(block->once, [&] { std::swap(block->batch, piece->batch); });
    piece->batch.size = block->batch.size;
  } else {
    piece->batch.size = piece->lines;
    for (int64_t i = 0; filter_.splits() && i < piece->lines; ++i)
      if (KeepsBySplit(piece->place.ordinal + i)) block->rows.push_back(static_cast<uint32_t>(i));
    if (filter_.splits()) piece->batch.size = static_cast<int64_t>(block->rows.size());
  }
  piece->block = std::move(block);
}

void PackedReader::ParseSamples(const SampleRefs& samples, Piece* out) const {
  ResetBatch(schema_, &out->batch);
  std::vector<uint32_t> rows;
  for (size_t i = 0; i < samples.refs.size();) {
    const uint32_t number = samples.refs[i].block;
    SampleBlock& block = *samples.blocks[number];
    std::call_once(block.once, [&] {
      Batch whole;
      block.status = ReadBlock(block.place, &whole, &block.batch);
    });
    out->status = block.status;
    if (!out->status.ok()) return;
    rows.clear();
    for (; i < samples.refs.size() && samples.refs[i].block == number; ++i) {
      const uint32_t sample = samples.refs[i].sample;
      rows.push_back(block.rows.empty() ? sample : block.rows[sample]);
    }
    GatherRows(block.batch, rows, &out->batch);
  }
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

}  // namespace sluice::data
