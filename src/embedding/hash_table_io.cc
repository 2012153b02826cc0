// HashTable: checkpoints.

#include <algorithm>
#include <cstring>

#include "embedding/hash_table.h"
#include "embedding/hash_table_inl.h"
#include "optim/config.h"

namespace sluice::embedding {
namespace {

constexpr uint64_t kTableMagic = 0x3154'4543'494c'5553;  // "SULICET1", little-endian
constexpr uint32_t kVersion = 2;                         // 1: without vocabularies
constexpr size_t kBufferBytes = size_t{1} << 18;

// "<prefix>/table": what the shards' sections hold.
struct TableHeader {
  uint64_t magic = kTableMagic;
  uint32_t version = kVersion;
  uint32_t scalar_bytes = 0;
  int64_t dim = 0;
  int64_t num_slots = 0;
  uint32_t rule = 0;
  uint32_t candidate_sets = 0;  // per shard, 0 without admission by count
  int64_t rows = 0;
  int64_t dropped_gradients = 0;
};

// "<prefix>/shard/NNNN" begins with this; `rows` rows of header, weights and slots follow, sorted by key, then the
// candidates of admission by count; then the salts of the rows' vocabularies, ascending, and where there are several,
// for each row the index of its own (2 bytes).
struct ShardHeader {
  uint64_t rows = 0;
  uint64_t candidate_bytes = 0;
  int64_t inserted = 0, expired = 0, rejected = 0;
  uint64_t vocabularies = 0;  // since version 2
};
constexpr size_t kShardHeaderBytes1 = sizeof(ShardHeader) - sizeof(uint64_t);

std::string ShardName(const std::string& prefix, int shard) { return fmt::format("{}/shard/{:04}", prefix, shard); }

template <class S>
std::span<const std::byte> BytesOf(const S& value) {
  return std::as_bytes(std::span(&value, 1));
}

const char* ScalarName(size_t bytes) { return bytes == sizeof(double) ? "float64" : "float32"; }

// Columns of rows in a file to columns of rows here, with their slots. F is the file's scalar type.
template <class F, class T>
struct RowMapping {
  std::vector<LoadOptions::Columns> columns;
  int64_t file_dim, dim;
  int slots_per_weight, slots_per_row;
  bool slots;

  void Copy(const F* from, T* to) const {
    for (const auto& c : columns)
      for (int64_t k = 0; k < c.count; ++k) to[c.to + k] = static_cast<T>(from[c.from + k]);
    if (!slots) return;
    for (int s = 1; s <= slots_per_weight; ++s)
      for (const auto& c : columns)
        for (int64_t k = 0; k < c.count; ++k) to[s * dim + c.to + k] = static_cast<T>(from[s * file_dim + c.from + k]);
    for (int s = 0; s < slots_per_row; ++s)
      to[(1 + slots_per_weight) * dim + s] = static_cast<T>(from[(1 + slots_per_weight) * file_dim + s]);
  }
};

}  // namespace

template <class T>
Status HashTable<T>::Save(SectionWriter* writer, const std::string& prefix, int64_t total_rows) const {
  TableHeader table;
  table.scalar_bytes = sizeof(T);
  table.dim = dim_;
  table.num_slots = num_slots_;
  table.rule = static_cast<uint32_t>(options_.rule.kind);
  table.candidate_sets = options_.admission.kind == AdmissionKind::kCount ? options_.admission.sets_per_shard : 0;
  table.rows = total_rows >= 0 ? total_rows : stats().rows;
  table.dropped_gradients = dropped_gradients_.load(std::memory_order_relaxed);
  SLUICE_RETURN_IF_ERROR(writer->Put(prefix + "/table", BytesOf(table)));

  std::vector<std::byte> buffer;
  for (int s = 0; s < kNumShards; ++s) {
    const Shard& shard = shards_[s];
    if (shard.index.size() == 0 && shard.candidates.State().empty() && shard.inserted == 0 && shard.rejected == 0)
      continue;
    SLUICE_RETURN_IF_ERROR(writer->Begin(ShardName(prefix, s)));
    SLUICE_RETURN_IF_ERROR(SaveShard(writer, shard, &buffer));
    SLUICE_RETURN_IF_ERROR(writer->End());
  }
  return Status::Ok();
}

template <class T>
Status HashTable<T>::SaveShard(SectionWriter* writer, const Shard& shard, std::vector<std::byte>* buffer) const {
  const size_t row_bytes = sizeof(RowHeader) + static_cast<size_t>(dim_ + num_slots_) * sizeof(T);
  const std::vector<Handle> handles = SortedRows(shard);
  std::vector<uint64_t> salts, of_row;
  for (const Handle handle : handles) of_row.push_back(vocabularies_.Of(handle));
  salts = of_row;
  std::sort(salts.begin(), salts.end());
  salts.erase(std::unique(salts.begin(), salts.end()), salts.end());
  const std::span<const std::byte> candidates = shard.candidates.State();
  const ShardHeader header{handles.size(), candidates.size(), shard.inserted,
                           shard.expired,  shard.rejected,    salts.size()};
  SLUICE_RETURN_IF_ERROR(writer->Write(BytesOf(header)));
  buffer->clear();
  for (const Handle handle : handles) {
    if (buffer->size() + row_bytes > kBufferBytes) {
      SLUICE_RETURN_IF_ERROR(writer->Write(*buffer));
      buffer->clear();
    }
    buffer->insert(buffer->end(), rows_.row(handle), rows_.row(handle) + row_bytes);
  }
  SLUICE_RETURN_IF_ERROR(writer->Write(*buffer));
  SLUICE_RETURN_IF_ERROR(writer->Write(candidates));
  SLUICE_RETURN_IF_ERROR(writer->Write(std::as_bytes(std::span(salts))));
  if (salts.size() < 2) return Status::Ok();
  std::vector<uint16_t> indices;
  for (const uint64_t salt : of_row)
    indices.push_back(static_cast<uint16_t>(std::lower_bound(salts.begin(), salts.end(), salt) - salts.begin()));
  return writer->Write(std::as_bytes(std::span(indices)));
}

template <class T>
void HashTable<T>::Clear() {
  for (int s = 0; s < kNumShards; ++s) shards_[s] = Shard();
  rows_.Clear();
  vocabularies_.Clear();
  pages_.Clear();
  dropped_gradients_.store(0, std::memory_order_relaxed);
}

template <class T>
template <class F>
Status HashTable<T>::LoadShard(const std::vector<std::byte>& section, int shard_number, const FileFormat& file,
                               const LoadOptions& options) {
  const size_t row_bytes = sizeof(RowHeader) + static_cast<size_t>(file.dim + file.num_slots) * sizeof(F);
  ShardHeader header;
  const size_t head = file.version == 1 ? kShardHeaderBytes1 : sizeof(header);
  if (section.size() < head) return DataLoss("is cut short: {} bytes", section.size());
  std::memcpy(&header, section.data(), head);
  const size_t body = section.size() - head;
  const size_t index_bytes = header.vocabularies > 1 ? sizeof(uint16_t) : 0;
  if (header.candidate_bytes > body || header.rows > body / row_bytes || header.vocabularies > header.rows ||
      header.rows * (row_bytes + index_bytes) + header.candidate_bytes + header.vocabularies * sizeof(uint64_t) != body)
    return DataLoss("holds {} bytes, which does not fit {} rows of {} bytes and {} bytes of admission state",
                    section.size(), header.rows, row_bytes, header.candidate_bytes);
  const std::byte* at = section.data() + head;
  const std::byte* const candidates = at + header.rows * row_bytes;
  std::vector<uint64_t> salts(header.vocabularies);
  std::vector<uint16_t> of_row(index_bytes > 0 ? header.rows : 0);
  if (!salts.empty()) std::memcpy(salts.data(), candidates + header.candidate_bytes, salts.size() * sizeof(uint64_t));
  if (!of_row.empty())
    std::memcpy(of_row.data(), candidates + header.candidate_bytes + salts.size() * sizeof(uint64_t),
                of_row.size() * sizeof(uint16_t));
  if (salts.empty()) salts.push_back(VocabularyTags::kUnknown);
  std::vector<VocabularyTags::Tag> tags;
  std::vector<uint8_t> owned;
  for (const uint64_t salt : salts) {
    tags.push_back(vocabularies_.Number(salt));
    owned.push_back(!options.owns || options.owns(salt, shard_number));
  }

  const RowMapping<F, T> mapping{
      file.columns,   file.dim, dim_, optim::SlotsPerWeight(options_.rule.kind), optim::SlotsPerRow(options_.rule.kind),
      file.keep_slots};
  std::vector<F> scalars(static_cast<size_t>(file.dim + file.num_slots));
  Shard& shard = shards_[shard_number];
  const int64_t inserted = shard.inserted;
  const bool merging = shard.index.size() > 0;
  Key previous = 0;
  for (uint64_t r = 0; r < header.rows; ++r, at += row_bytes) {
    RowHeader row;
    std::memcpy(&row, at, sizeof(row));
    if ((r > 0 && row.key <= previous) || ShardOf(row.key) != shard_number || !row.meta.live())
      return DataLoss("row {}: key {:#x} is out of place", r, row.key);
    previous = row.key;
    const size_t vocabulary = of_row.empty() ? 0 : of_row[r];
    if (vocabulary >= salts.size()) return DataLoss("row {}: key {:#x} has no vocabulary", r, row.key);
    const bool for_all = options.all_default_rows && row.meta.is_default();
    if (!owned[vocabulary] && !for_all) continue;
    const uint64_t hash = Mix64(row.key);
    if (merging && Find(shard, hash, row.key) != kNoRow)
      return DataLoss("row {}: key {:#x} is there twice", r, row.key);
    const Handle handle = Insert(shard_number, hash, row.key, row.meta.flags() & RowMeta::kDefault, tags[vocabulary]);
    RowMeta& meta = rows_.header(handle).meta;
    meta = row.meta;
    if (options.warm_start) {
      meta.last_use = 0;
      if (!options.keep_counts) meta.count_flags = row.meta.flags();
    }
    std::memcpy(scalars.data(), at + sizeof(row), scalars.size() * sizeof(F));
    mapping.Copy(scalars.data(), weights(handle));
  }
  if (options.warm_start) {
    shard.inserted = 0;
    return Status::Ok();
  }
  // Insertions above have counted. What is kept by shard belongs to the shard's owner.
  shard.inserted = inserted;
  if (options.owns && !options.owns(VocabularyTags::kUnknown, shard_number)) return Status::Ok();
  shard.inserted += header.inserted;
  shard.expired += header.expired;
  shard.rejected += header.rejected;
  if (header.candidate_bytes > 0 && !shard.candidates.Restore(options_.admission, {candidates, header.candidate_bytes}))
    return DataLoss("its admission state of {} bytes does not fit the table's settings", header.candidate_bytes);
  return Status::Ok();
}

template <class T>
Status HashTable<T>::ReadFormat(const SectionReader& reader, const std::string& prefix, const LoadOptions& options,
                                FileFormat* file) const {
  SLUICE_ASSIGN_OR_RETURN(const std::vector<std::byte> section, reader.Read(prefix + "/table"));
  TableHeader header;
  if (section.size() != sizeof(header))
    return DataLoss("{}/table: {} bytes, not {}", prefix, section.size(), sizeof(header));
  std::memcpy(&header, section.data(), sizeof(header));
  if (header.magic != kTableMagic) return DataLoss("{}/table: not a table's header", prefix);
  if (header.version < 1 || header.version > kVersion)
    return DataLoss("{}/table: version {} of the table format; this program reads versions 1 to {}", prefix,
                    header.version, kVersion);
  const bool known_rule = header.rule <= static_cast<uint32_t>(optim::RuleKind::kAdamW);
  const auto rule = static_cast<optim::RuleKind>(header.rule);
  if ((header.scalar_bytes != sizeof(float) && header.scalar_bytes != sizeof(double)) || header.dim < 1 ||
      !known_rule || header.dim > (int64_t{1} << 32) || header.num_slots != optim::NumSlots(rule, header.dim))
    return DataLoss("{}/table: contradicts itself", prefix);
  file->version = header.version;
  file->scalar_bytes = header.scalar_bytes;
  file->dim = header.dim;
  file->num_slots = header.num_slots;
  file->rows = header.rows;
  file->dropped_gradients = header.dropped_gradients;
  file->keep_slots = options.keep_slots && rule == options_.rule.kind;

  if (!options.warm_start) {
    const uint32_t sets = options_.admission.kind == AdmissionKind::kCount ? options_.admission.sets_per_shard : 0;
    if (header.dim != dim_)
      return InvalidArgument("{}: the checkpoint's rows have {} columns, the table's have {}", prefix, header.dim,
                             dim_);
    if (rule != options_.rule.kind)
      return InvalidArgument("{}: the checkpoint's optimizer is {}, the table's is {}", prefix, optim::RuleName(rule),
                             optim::RuleName(options_.rule.kind));
    if (header.scalar_bytes != sizeof(T))
      return InvalidArgument("{}: the checkpoint holds {}, the run computes in {}", prefix,
                             ScalarName(header.scalar_bytes), ScalarName(sizeof(T)));
    if (header.candidate_sets != sets)
      return InvalidArgument("{}: the checkpoint was written with other settings of admission.kind or .candidates",
                             prefix);
    file->keep_slots = true;
  }
  file->columns = options.columns;
  if (!options.warm_start || options.columns.empty()) {
    if (header.dim != dim_)
      return InvalidArgument(
          "{}: the checkpoint's rows have {} columns, the table's have {}, and nothing says which "
          "go where",
          prefix, header.dim, dim_);
    file->columns = {{0, 0, dim_}};
  }
  for (const auto& c : file->columns)
    if (c.from < 0 || c.to < 0 || c.count < 1 || c.from + c.count > header.dim || c.to + c.count > dim_)
      return InvalidArgument("{}: columns {} to {} of {} do not fit onto {} to {} of {}", prefix, c.from,
                             c.from + c.count, header.dim, c.to, c.to + c.count, dim_);
  return Status::Ok();
}

template <class T>
Status HashTable<T>::Load(const SectionReader& reader, const std::string& prefix, const LoadOptions& options) {
  Clear();
  FileFormat file;
  SLUICE_RETURN_IF_ERROR(ReadFormat(reader, prefix, options, &file));
  const auto load = [&]() -> Status {
    int64_t rows = 0;
    const std::string shards = prefix + "/shard/";
    for (const std::string& name : reader.Names(shards)) {
      const std::string number = name.substr(shards.size(), 4);
      if (number.size() != 4 || number.find_first_not_of("0123456789") != std::string::npos || number > "1023" ||
          (name.size() > shards.size() + 4 && name[shards.size() + 4] != '-'))
        return DataLoss("{}: no shard has that name", name);
      const int s = std::stoi(number);
      const int64_t before = shards_[s].index.size();
      SLUICE_ASSIGN_OR_RETURN(const std::vector<std::byte> section, reader.Read(name));
      const Status status = file.scalar_bytes == sizeof(double) ? LoadShard<double>(section, s, file, options)
                                                                : LoadShard<float>(section, s, file, options);
      if (!status.ok()) return status.WithContext(name);
      rows += int64_t{shards_[s].index.size()} - before;
    }
    if (options.all_shards && rows != file.rows)
      return DataLoss("{}: its shards hold {} rows, its header says {}", prefix, rows, file.rows);
    return Status::Ok();
  };
  Status status;
  try {
    status = load();
  } catch (const StatusError& error) {
    status = error.status().WithContext(prefix);
  }
  if (!status.ok()) {
    Clear();
    return status;
  }
  if (!options.warm_start) dropped_gradients_.store(file.dropped_gradients, std::memory_order_relaxed);
  return Status::Ok();
}

template class HashTable<float>;
template class HashTable<double>;

}  // namespace sluice::embedding
