#include "data/delimited.h"

#include <algorithm>
#include <cstring>

#include "base/simd.h"
#include "data/batch_ops.h"
#include "data/column_ops.h"
#include "data/numbers.h"
#include "data/scan.h"

namespace sluice::data {
namespace {

// Rows that run through all columns before the next ones, so that their text and positions stay in the first-level
// cache.
constexpr int64_t kRowGroup = 64;

template <class T>
void EnsureSize(std::vector<T>* v, size_t size) {
  if (v->size() < size) v->resize(size);
}

}  // namespace

std::vector<std::string> CriteoColumns() {
  std::vector<std::string> names = {"label"};
  for (int i = 1; i <= 13; ++i) names.push_back(fmt::format("I{}", i));
  for (int i = 1; i <= 26; ++i) names.push_back(fmt::format("C{}", i));
  return names;
}

// A value for the output of predict, quoted where csv needs it.
void DelimitedReader::AppendValue(const char* begin, const char* end, std::string* out) const {
  const auto special = [this](char c) { return c == options_.separator || c == '"' || c == '\n' || c == '\r'; };
  if (!options_.quotes || std::none_of(begin, end, special)) {
    out->append(begin, end);
    return;
  }
  *out += '"';
  for (const char* p = begin; p != end; ++p) {
    if (*p == '"') *out += '"';
    *out += *p;
  }
  *out += '"';
}

// Values of all records into piece->begins and ends; line_ends[i] is the index of the last value of record i,
// row_lines[i] its line within the block. Returns the number of records.
int64_t DelimitedReader::Tokenise(Piece* piece) const {
  char* text = piece->buffer.data();
  const size_t size = piece->text_size;
  EnsureSize(&piece->ends, size);
  EnsureSize(&piece->line_ends, static_cast<size_t>(piece->lines));
  ScanFlags flags;
  size_t lines = 0;
  const size_t count = SLUICE_DISPATCH(FindSeparators)(text, size, options_.separator, piece->ends.data(),
                                                       piece->line_ends.data(), &lines, &flags);
  piece->odd_text = flags.nul_or_non_ascii;
  EnsureSize(&piece->row_lines, lines);
  if (options_.quotes && flags.quote) return TokeniseQuoted(piece);
  EnsureSize(&piece->begins, count);
  uint32_t* begins = piece->begins.data();
  uint32_t* ends = piece->ends.data();
  begins[0] = 0;
  for (size_t i = 1; i < count; ++i) begins[i] = ends[i - 1] + 1;
  for (size_t i = 0; i < lines; ++i) {
    const uint32_t last = piece->line_ends[i];
    if (ends[last] > begins[last] && text[ends[last] - 1] == '\r') --ends[last];
    piece->row_lines[i] = static_cast<uint32_t>(i);
  }
  if (options_.quotes) {  // csv trims blanks around values
    for (size_t i = 0; i < count; ++i) {
      while (begins[i] < ends[i] && text[begins[i]] == ' ') ++begins[i];
      while (begins[i] < ends[i] && text[ends[i] - 1] == ' ') --ends[i];
    }
  }
  return static_cast<int64_t>(lines);
}

// As Tokenise, one character after another, with quotes (RFC 4180); doubled quotes are undone in place.
int64_t DelimitedReader::TokeniseQuoted(Piece* piece) const {
  char* text = piece->buffer.data();
  const uint32_t size = static_cast<uint32_t>(piece->text_size);
  const char separator = options_.separator;
  auto& begins = piece->begins;
  auto& ends = piece->ends;
  EnsureSize(&begins, size);
  uint32_t count = 0;
  uint32_t line = 0;
  int64_t records = 0;
  for (uint32_t i = 0; i < size;) {
    const uint32_t first = count;
    const uint32_t first_line = line;
    const char* problem = nullptr;
    uint32_t problem_column = 0;
    for (bool more = true; more;) {  // one value
      while (i < size && text[i] == ' ') ++i;
      uint32_t begin = i;
      uint32_t end = i;
      if (i < size && text[i] == '"') {
        begin = end = ++i;
        for (;; ++i) {
          if (i >= size) {
            problem = "a quote is never closed";
            break;
          }
          if (text[i] == '"') {
            if (i + 1 >= size || text[i + 1] != '"') break;
            ++i;
          }
          line += text[i] == '\n';
          text[end++] = text[i];
        }
        if (i < size) ++i;
        while (i < size && (text[i] == ' ' || (text[i] == '\r' && i + 1 < size && text[i + 1] == '\n'))) ++i;
        if (i < size && text[i] != separator && text[i] != '\n') problem = "text after a closing quote";
        while (i < size && text[i] != separator && text[i] != '\n') ++i;
      } else {
        while (i < size && text[i] != separator && text[i] != '\n') ++i;
        end = i;
        if (end > begin && i < size && text[i] == '\n' && text[end - 1] == '\r') --end;
        while (end > begin && text[end - 1] == ' ') --end;
      }
      begins[count] = begin;
      ends[count++] = end;
      if (problem != nullptr && problem_column == 0) problem_column = count - first;
      more = i < size && text[i] == separator;
      ++i;  // the separator or the newline
    }
    ++line;
    if (problem != nullptr) {
      AddBadLine(piece, first_line, static_cast<int>(problem_column), problem);
      count = first;
      continue;
    }
    piece->line_ends[records] = count - 1;
    piece->row_lines[records++] = first_line;
  }
  return records;
}

// Whether the sample is on this source's side of the split.
bool DelimitedReader::KeepsBySplit(const Piece& piece, const TextRows& values, int64_t row, std::string_view record,
                                   const std::vector<int>& columns, std::string* what) const {
  const SampleFilter& filter = FilterOf(piece);
  const int column = plan_.split_column < 0 ? -1 : columns[plan_.split_column];
  switch (filter.split) {
    case SampleFilter::Split::kNone:
      return true;
    case SampleFilter::Split::kTail:
      return filter.TailWants(piece.place.file, piece.place.offset + (record.data() - values.text));
    case SampleFilter::Split::kHash:
      if (column >= 0) {
        const char* begin = values.begin(row, column);
        record = {begin, static_cast<size_t>(values.end(row, column) - begin)};
      }
      return filter.HashWants(HashBytes(record, SampleFilter::kHashSeed));
    case SampleFilter::Split::kTime: {
      double time = 0;
      if (!ParseNumber(values.begin(row, column), values.end(row, column), &time)) {
        *what = "not a number in the column of data.split: '" +
                Excerpt(values.begin(row, column), values.end(row, column)) + "'";
        return true;
      }
      return filter.Wants(time >= filter.time_from);
    }
  }
  return true;
}

// Checks every record's shape and label, and keeps the samples that this source delivers in piece->rows.
void DelimitedReader::ChooseRows(Piece* piece, int64_t num_records, const std::vector<int>& columns,
                                 int file_columns) const {
  const char* text = piece->buffer.data();
  const int num_labels = static_cast<int>(plan_.label_columns.size());
  const SampleFilter& filter = FilterOf(*piece);
  const bool splits = filter.splits();
  EnsureSize(&piece->rows, static_cast<size_t>(num_records));
  piece->batch.labels.resize(static_cast<size_t>(num_records * num_labels));
  float* labels = piece->batch.labels.data();
  const TextRows values = {text, piece->begins.data(), piece->ends.data(), piece->rows.data()};
  int64_t kept = 0;
  uint32_t first = 0;
  std::string what;
  for (int64_t i = 0; i < num_records; ++i) {
    const uint32_t last = piece->line_ends[i];
    const uint32_t start = first;
    first = last + 1;
    const int64_t line = piece->row_lines[i];
    const int found = static_cast<int>(last - start) + 1;
    const std::string_view record(text + piece->begins[start], piece->ends[last] - piece->begins[start]);
    if (found == 1 && record.empty()) continue;  // a blank line is no sample
    if (static_cast<int64_t>(record.size()) > options_.max_line_bytes) {
      AddBadLine(piece, line, 0, fmt::format("longer than data.max_line_bytes = {}", options_.max_line_bytes));
      continue;
    }
    if (found != file_columns) {
      AddBadLine(piece, line, 0, fmt::format("{} columns where {} are expected", found, file_columns));
      continue;
    }
    if (piece->odd_text && options_.utf8 && !ValidText(record.data(), record.size())) {
      AddBadLine(piece, line, 0, "not UTF-8 text, or a NUL byte (data.utf8: false reads any bytes)");
      continue;
    }
    piece->rows[kept] = start;
    int bad_column = -1;
    for (int l = 0; l < num_labels && bad_column < 0; ++l) {
      const int column = columns[plan_.label_columns[l]];
      float label = 0;
      if (column >= 0 &&
          !ParseLabel(plan_, values.begin(kept, column), values.end(kept, column), false, &label, &what)) {
        if (plan_.labels_required) bad_column = column;
      }
      labels[kept * num_labels + l] = label;
    }
    if (bad_column < 0 && splits) {
      what.clear();
      const bool keep = KeepsBySplit(*piece, values, kept, record, columns, &what);
      if (!what.empty())
        bad_column = columns[plan_.split_column];
      else if (!keep)
        continue;
    }
    if (bad_column >= 0) {
      AddBadLine(piece, line, bad_column + 1, what);
      continue;
    }
    if (labels[kept * num_labels] <= 0 && !filter.KeepsNegative(piece->place.ordinal + line)) {
      ++piece->dropped_negatives;
      continue;
    }
    piece->row_lines[kept++] = static_cast<uint32_t>(line);
  }
  StartBatch(piece, kept);
}

// Where lines alone decide: every line that is not blank is a sample, on this or the other side of the split. False
// where values must be looked at: quotes, which may hold newlines, or a filter of them.
bool DelimitedReader::FindSamplesByLines(const Piece& piece, SampleBlock* block) const {
  const SampleFilter& filter = options_.filter;
  const char* text = piece.buffer.data();
  const char* text_end = text + piece.text_size;
  const bool by_hash = filter.splits() && filter.split == SampleFilter::Split::kHash;
  const bool by_place = filter.splits() && filter.split == SampleFilter::Split::kTail;
  if (filter.keep_rate < 1 || (filter.splits() && filter.split == SampleFilter::Split::kTime)) return false;
  if (by_hash && (options_.quotes || plan_.split_column >= 0)) return false;
  if (options_.quotes && std::memchr(text, '"', piece.text_size) != nullptr) return false;
  uint32_t line = 0;
  for (const char *begin = text, *end; begin < text_end; begin = end + 1, ++line) {
    end = static_cast<const char*>(std::memchr(begin, '\n', static_cast<size_t>(text_end - begin)));
    const char* first = begin;
    const char* last = end > begin && end[-1] == '\r' ? end - 1 : end;
    while (options_.quotes && first < last && *first == ' ') ++first;
    while (options_.quotes && first < last && last[-1] == ' ') --last;
    if (first == last) continue;
    if (by_hash && !filter.HashWants(HashBytes({first, static_cast<size_t>(last - first)}, SampleFilter::kHashSeed)))
      continue;
    if (by_place && !filter.TailWants(piece.place.file, piece.place.offset + (first - text))) continue;
    block->begins.push_back(static_cast<uint32_t>(begin - text));
    block->ends.push_back(static_cast<uint32_t>(end - text) + 1);
    block->lines.push_back(line);
  }
  return true;
}

void DelimitedReader::FindSamples(Piece* piece, SampleBlock* block) const {
  if (FindSamplesByLines(*piece, block)) return;
  const std::vector<char> raw(piece->buffer.begin(), piece->buffer.begin() + static_cast<int64_t>(piece->text_size));
  const int64_t num_records = Tokenise(piece);  // may undo quotes in place
  const std::vector<uint32_t> first_lines(piece->row_lines.begin(), piece->row_lines.begin() + num_records);
  ChooseRows(piece, num_records, *piece->columns, piece->file_columns);
  std::vector<uint32_t> line_begins = {0};
  for (size_t i = 0; i < raw.size(); ++i)
    if (raw[i] == '\n') line_begins.push_back(static_cast<uint32_t>(i) + 1);
  // Both lists of first lines ascend; a record reaches to the next one's first line.
  size_t record = 0;
  for (int64_t row = 0; row < piece->batch.size; ++row) {
    const uint32_t line = piece->row_lines[row];
    while (first_lines[record] != line) ++record;
    block->begins.push_back(line_begins[line]);
    block->ends.push_back(record + 1 < first_lines.size() ? line_begins[first_lines[record + 1]]
                                                          : static_cast<uint32_t>(raw.size()));
    block->lines.push_back(line);
  }
  std::copy(raw.begin(), raw.end(), piece->buffer.begin());
}

void DelimitedReader::Parse(Piece* piece) const {
  if (piece->text_size == 0) {
    StartBatch(piece, 0);
    return FinishBadLines(piece);
  }
  const int64_t num_records = Tokenise(piece);
  std::vector<int> columns = *piece->columns;
  int file_columns = piece->file_columns;
  // Criteo's test files have no label column.
  if (!options_.quotes && !plan_.labels_required && num_records > 0 &&
      static_cast<int>(piece->line_ends[0]) + 2 == file_columns) {
    --file_columns;
    for (int& column : columns) --column;
  }
  ChooseRows(piece, num_records, columns, file_columns);

  Batch& batch = piece->batch;
  const TextRows values = {piece->buffer.data(), piece->begins.data(), piece->ends.data(), piece->rows.data()};
  piece->bad_rows.clear();
  int column = 0;
  const BadValue bad = [&](int64_t row, const std::string& what) {
    piece->bad_rows.resize(static_cast<size_t>(batch.size));
    if (piece->bad_rows[row]) return;
    piece->bad_rows[row] = 1;
    AddBadLine(piece, piece->row_lines[row], column + 1, what);
  };
  for (int64_t begin = 0; begin < batch.size; begin += kRowGroup) {
    const int64_t end = std::min(batch.size, begin + kRowGroup);
    for (const ColumnOp& op : plan_.ops) {
      column = columns[op.column];
      RunColumnOp(op, plan_, values, column, begin, end, &batch, bad);
    }
  }
  if (plan_.weight_column >= 0) {
    column = columns[plan_.weight_column];
    for (int64_t row = 0; row < batch.size; ++row) {
      double weight = 0;
      if (!ParseNumber(values.begin(row, column), values.end(row, column), &weight) || weight < 0)
        bad(row, "not a sample weight: '" + Excerpt(values.begin(row, column), values.end(row, column)) + "'");
      batch.sample_weights[row] = static_cast<float>(weight);
    }
  }
  if (plan_.group_column >= 0) {
    column = columns[plan_.group_column];
    for (int64_t row = 0; row < batch.size; ++row) {
      const char* begin = values.begin(row, column);
      batch.groups[row] = HashBytes({begin, static_cast<size_t>(values.end(row, column) - begin)});
    }
  }
  for (size_t row = 0; row < batch.passthrough.size(); ++row) {
    std::string& out = batch.passthrough[row];
    out.clear();
    for (const int source : plan_.passthrough_columns) {
      column = columns[source];
      if (source != plan_.passthrough_columns.front()) out += options_.separator;
      if (column >= 0) AppendValue(values.begin(row, column), values.end(row, column), &out);
    }
  }
  if (!piece->bad_rows.empty()) RemoveRows(piece->bad_rows, &batch);
  ApplyCrosses(plan_.crosses, &batch);
  FinishBadLines(piece);
}

}  // namespace sluice::data
