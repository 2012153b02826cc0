#include "data/text_reader.h"

#include <algorithm>
#include <cstring>

#include "base/join.h"
#include "base/simd.h"
#include "data/batch_ops.h"
#include "data/scan.h"

namespace sluice::data {
namespace {

constexpr size_t kPadding = 64;

}  // namespace

bool TextReader::rewindable() const {
  return std::find(options_.files.begin(), options_.files.end(), "-") == options_.files.end();
}

Status TextReader::Rewind(const BlockPlace& place) {
  place_ = place;
  input_.reset();
  carry_.clear();
  return Status::Ok();
}

Status TextReader::MapColumns(const std::vector<std::string>& names) {
  auto columns = std::make_shared<std::vector<int>>();
  const auto is_label = [&](size_t i) {
    return std::find(plan_.label_columns.begin(), plan_.label_columns.end(), static_cast<int>(i)) !=
           plan_.label_columns.end();
  };
  for (size_t i = 0; i < plan_.columns.size(); ++i) {
    const auto at = std::find(names.begin(), names.end(), plan_.columns[i]);
    if (at == names.end() && (plan_.labels_required || !is_label(i))) {
      return NotFound("{}: no column '{}'; the columns are: {}", options_.files[place_.file], plan_.columns[i],
                      Join(names, ", "));
    }
    columns->push_back(at == names.end() ? -1 : static_cast<int>(at - names.begin()));
  }
  columns_ = std::move(columns);
  file_columns_ = static_cast<int>(names.size());
  return Status::Ok();
}

// Reads the first record; what was read beyond it is carried over.
Status TextReader::ReadHeader() {
  const std::string& path = input_->path();
  std::vector<char> head;
  size_t record = 0;
  while (record == 0) {
    const size_t used = head.size();
    head.resize(used + 4096);
    SLUICE_ASSIGN_OR_RETURN(const size_t n, input_->Read(head.data() + used, head.size() - used));
    head.resize(used + n);
    const char* newline = static_cast<const char*>(std::memchr(head.data() + used, '\n', n));
    if (newline != nullptr) {
      record = static_cast<size_t>(newline - head.data()) + 1;
    } else if (n == 0) {
      if (head.empty()) return DataLoss("{}: the file is empty", path);
      head.push_back('\n');
      record = head.size();
    } else if (head.size() > static_cast<size_t>(options_.max_line_bytes)) {
      return DataLoss("{}:1: the header is longer than data.max_line_bytes = {}", path, options_.max_line_bytes);
    }
  }
  std::string_view text(head.data(), record - 1);
  if (text.substr(0, 3) == "\xef\xbb\xbf") text.remove_prefix(3);
  std::vector<std::string> names;
  if (!ValidText(text.data(), text.size())) return DataLoss("{}:1: the header is not UTF-8 text", path);
  if (!SplitCsvRecord(text, options_.separator, &names))
    return DataLoss("{}:1: a quote in the header is not closed", path);
  SLUICE_RETURN_IF_ERROR(MapColumns(names));
  carry_.assign(head.begin() + static_cast<int64_t>(record), head.end());
  place_.line = 2;
  place_.ordinal += 1;
  place_.offset = static_cast<int64_t>(record);
  return Status::Ok();
}

Status TextReader::OpenFile() {
  const std::string& path = options_.files[place_.file];
  SLUICE_ASSIGN_OR_RETURN(input_, ByteInput::Open(path, &cancelled_));
  at_end_of_file_ = false;
  carry_.clear();
  const BlockPlace wanted = place_;
  if (options_.header) {
    SLUICE_RETURN_IF_ERROR(ReadHeader());
  } else if (!options_.column_names.empty()) {
    SLUICE_RETURN_IF_ERROR(MapColumns(options_.column_names));
  }
  if (wanted.offset == 0) return Status::Ok();
  place_ = wanted;
  carry_.clear();
  if (input_->offset() > wanted.offset) {
    SLUICE_ASSIGN_OR_RETURN(input_, ByteInput::Open(path, &cancelled_));
  }
  return input_->SkipTo(wanted.offset);
}

// A line of more than max_line_bytes: reads on to its end and leaves a block without text.
Status TextReader::DropLongLine(Piece* piece, size_t text_size) {
  int64_t length = static_cast<int64_t>(text_size);
  const char* newline = static_cast<const char*>(std::memchr(piece->buffer.data(), '\n', text_size));
  size_t size = text_size;
  if (newline != nullptr) length = 0;
  while (newline == nullptr) {
    SLUICE_ASSIGN_OR_RETURN(size, input_->Read(piece->buffer.data(), static_cast<size_t>(options_.block_bytes)));
    newline = static_cast<const char*>(std::memchr(piece->buffer.data(), '\n', size));
    if (size == 0) break;
    if (newline == nullptr) length += static_cast<int64_t>(size);
  }
  const size_t used = newline == nullptr ? 0 : static_cast<size_t>(newline - piece->buffer.data()) + 1;
  carry_.assign(piece->buffer.data() + used, piece->buffer.data() + size);
  at_end_of_file_ = newline == nullptr;
  piece->text_size = 0;
  piece->lines = 1;
  piece->bytes = length + static_cast<int64_t>(used);
  AddBadLine(piece, 0, 0,
             fmt::format("longer than data.max_line_bytes = {}{}", options_.max_line_bytes,
                         options_.quotes ? " (or a quote that is never closed)" : ""));
  return Status::Ok();
}

// Whole lines of about block_bytes into piece->buffer; the rest is carried over to the next block.
Status TextReader::FillBlock(Piece* piece) {
  auto& buffer = piece->buffer;
  const size_t block = static_cast<size_t>(options_.block_bytes);
  size_t size = carry_.size();
  size_t wanted = std::max(block, size);
  size_t whole = 0;
  for (;;) {
    if (buffer.size() < wanted + 1 + kPadding) buffer.resize(wanted + 1 + kPadding);
    if (!carry_.empty()) std::memcpy(buffer.data(), carry_.data(), carry_.size());
    carry_.clear();
    if (!at_end_of_file_ && size < wanted) {
      SLUICE_ASSIGN_OR_RETURN(const size_t n, input_->Read(buffer.data() + size, wanted - size));
      at_end_of_file_ = n < wanted - size;
      size += n;
    }
    piece->bytes = static_cast<int64_t>(size);
    if (at_end_of_file_ && size > 0 && buffer[size - 1] != '\n')
      buffer[size++] = '\n';  // so that every line ends in one
    whole = WholeRecords(buffer.data(), size, options_.quotes, options_.separator);
    if (at_end_of_file_ && whole < size && static_cast<int64_t>(size - whole) <= options_.max_line_bytes) whole = size;
    if (whole > 0 || size == 0) break;
    if (static_cast<int64_t>(size) > options_.max_line_bytes) return DropLongLine(piece, size);
    wanted = size + block;
  }
  if (whole < size) {
    carry_.assign(buffer.data() + whole, buffer.data() + size);
    piece->bytes = static_cast<int64_t>(whole);
  }
  piece->text_size = whole;
  std::memset(buffer.data() + whole, 0, kPadding);
  piece->lines = static_cast<int64_t>(SLUICE_DISPATCH(CountNewlines)(buffer.data(), whole));
  return Status::Ok();
}

Result<bool> TextReader::Cut(Piece* piece) {
  const SampleFilter& filter = options_.filter;
  for (;;) {
    if (place_.file >= static_cast<int64_t>(options_.files.size())) return false;
    if (input_ == nullptr) SLUICE_RETURN_IF_ERROR(OpenFile());
    const bool tail = filter.splits() && filter.split == SampleFilter::Split::kTail;
    if (tail && filter.side == SampleFilter::Side::kTrain && !filter.TailWants(place_.file, place_.offset))
      return false;
    piece->Reset();
    piece->place = place_;
    piece->columns = columns_;
    piece->file_columns = file_columns_;
    SLUICE_RETURN_IF_ERROR(FillBlock(piece));
    if (piece->lines == 0) {
      if (place_.offset == 0) return DataLoss("{}: the file is empty", input_->path());
      input_.reset();
      place_ = {.file = place_.file + 1, .offset = 0, .line = 1, .ordinal = place_.ordinal};
      continue;
    }
    place_.offset += piece->bytes;
    place_.line += piece->lines;
    place_.ordinal += piece->lines;
    // Blocks that lie wholly on the training side are not parsed for the other one.
    if (tail && filter.side == SampleFilter::Side::kEval && !filter.TailWants(place_.file, place_.offset)) continue;
    return true;
  }
}

void TextReader::Index(Piece* piece) const {
  auto block = std::make_shared<SampleBlock>();
  block->place = piece->place;
  block->columns = piece->columns;
  block->file_columns = piece->file_columns;
  if (piece->text_size > 0) FindSamples(piece, block.get());
  FinishBadLines(piece);
  std::swap(block->text, piece->buffer);
  piece->batch.size = static_cast<int64_t>(block->begins.size());
  piece->block = std::move(block);
}

// The text of the samples in blocks of one group, as if it were a block of a file.
void TextReader::Assemble(const SampleRefs& samples, std::span<const uint8_t> group_of_block, uint8_t group,
                          Piece* out) const {
  size_t size = 0;
  for (const auto& ref : samples.refs) {
    const SampleBlock& block = *samples.blocks[ref.block];
    if (group_of_block[ref.block] == group) size += block.ends[ref.sample] - block.begins[ref.sample];
  }
  auto& buffer = out->buffer;
  if (buffer.size() < size + kPadding) buffer.resize(size + kPadding);
  out->assembled = true;
  out->origins.clear();
  out->place = {};
  out->text_size = 0;
  out->lines = 0;
  for (const auto& ref : samples.refs) {
    const SampleBlock& block = *samples.blocks[ref.block];
    if (group_of_block[ref.block] != group) continue;
    out->columns = block.columns;
    out->file_columns = block.file_columns;
    const char* text = block.text.data() + block.begins[ref.sample];
    const size_t length = block.ends[ref.sample] - block.begins[ref.sample];
    out->origins.push_back({out->lines, block.place.file, block.place.line + block.lines[ref.sample]});
    std::memcpy(buffer.data() + out->text_size, text, length);
    out->text_size += length;
    out->lines += options_.quotes ? std::count(text, text + length, '\n') : 1;
  }
  std::memset(buffer.data() + out->text_size, 0, kPadding);
}

void TextReader::ParseSamples(const SampleRefs& samples, Piece* out) const {
  // Files may have their columns in different orders; blocks with the same order are parsed together.
  std::vector<const SampleBlock*> kinds;
  std::vector<uint8_t> group_of_block;
  for (const auto& block : samples.blocks) {
    const auto same = [&](const SampleBlock* other) {
      return other->file_columns == block->file_columns &&
             (other->columns == block->columns ||
              (other->columns != nullptr && block->columns != nullptr && *other->columns == *block->columns));
    };
    auto at = std::find_if(kinds.begin(), kinds.end(), same);
    if (at == kinds.end()) at = kinds.insert(at, block.get());
    group_of_block.push_back(static_cast<uint8_t>(at - kinds.begin()));
    if (kinds.size() > 255) {
      out->status = ResourceExhausted("files with more than 255 orders of columns in one batch");
      return;
    }
  }
  out->skipped_lines = out->first_bad_line = 0;
  if (kinds.size() <= 1) {
    Assemble(samples, group_of_block, 0, out);
    Parse(out);
  } else {
    std::vector<Piece> parts(kinds.size());
    for (size_t g = 0; g < parts.size() && out->status.ok(); ++g) {
      Assemble(samples, group_of_block, static_cast<uint8_t>(g), &parts[g]);
      Parse(&parts[g]);
      out->status = parts[g].status;
    }
    if (!out->status.ok()) return;
    ResetBatch(plan_.schema, &out->batch);
    std::vector<int64_t> used(parts.size(), 0);
    for (const auto& ref : samples.refs) {
      const size_t g = group_of_block[ref.block];
      if (used[g] < parts[g].batch.size) AppendRows(parts[g].batch, used[g], used[g] + 1, &out->batch);
      ++used[g];
    }
  }
  if (out->status.ok() && out->batch.size != samples.size)
    out->status =
        Status(StatusCode::kInternal, fmt::format("{} samples were counted and {} parsed; this is a bug, please "
                                                  "report it",
                                                  samples.size, out->batch.size));
}

std::string TextReader::LineName(const Piece& piece, int64_t line_in_block) const {
  int64_t file = piece.place.file;
  int64_t line = piece.place.line + line_in_block;
  if (piece.assembled) {
    const auto after =
        std::upper_bound(piece.origins.begin(), piece.origins.end(), line_in_block,
                         [](int64_t at, const Piece::Origin& origin) { return at < origin.line_in_text; });
    const Piece::Origin& origin = *(after - 1);
    file = origin.file;
    line = origin.line + line_in_block - origin.line_in_text;
  }
  const std::string& path = options_.files[static_cast<size_t>(file)];
  return fmt::format("{}:{}", path == "-" ? "standard input" : path, line);
}

void TextReader::AddBadLine(Piece* piece, int64_t line_in_block, int column, const std::string& what) const {
  const int64_t line = piece->place.line + line_in_block;
  ++piece->skipped_lines;
  if (piece->first_bad_line != 0 && piece->first_bad_line <= line) return;
  piece->first_bad_line = line;
  piece->first_bad = LineName(*piece, line_in_block);
  if (column > 0) piece->first_bad += fmt::format(": column {}", column);
  piece->first_bad += ": " + what;
}

void TextReader::FinishBadLines(Piece* piece) const {
  if (piece->skipped_lines > 0 && !options_.skip_bad_lines)
    piece->status = {StatusCode::kDataLoss, piece->first_bad + " (data.on_bad_line: skip would leave such lines out)"};
}

void TextReader::StartBatch(Piece* piece, int64_t size) const {
  Batch& batch = piece->batch;
  const Schema& schema = plan_.schema;
  batch.size = size;
  // Every value of the sized columns is overwritten, so they are not cleared first.
  batch.labels.resize(static_cast<size_t>(size * schema.num_labels()));
  batch.dense.resize(static_cast<size_t>(size * schema.num_dense()));
  batch.sample_weights.resize(schema.has_sample_weight ? static_cast<size_t>(size) : 0);
  batch.groups.resize(schema.has_group ? static_cast<size_t>(size) : 0);
  batch.passthrough.resize(plan_.passthrough_columns.empty() ? 0 : static_cast<size_t>(size));
  batch.fields.resize(schema.fields.size());
  for (size_t f = 0; f < schema.fields.size(); ++f) {
    FieldColumn& field = batch.fields[f];
    field.offsets.clear();
    field.weights.clear();
    if (schema.fields[f].one_hot) {
      field.keys.resize(static_cast<size_t>(size));
    } else {
      field.keys.clear();
      field.offsets.push_back(0);
    }
  }
  for (const auto& cross : plan_.crosses) {  // made from the other fields at the end
    batch.fields[cross.target].keys.clear();
    batch.fields[cross.target].offsets.clear();
  }
}

}  // namespace sluice::data
