#include "data/libsvm.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "data/column_ops.h"
#include "data/numbers.h"

namespace sluice::data {
namespace {

constexpr int64_t kSmallNumbers = 1 << 16;

bool IsBlank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

bool ParseIndex(const char* begin, const char* end, int64_t* index) {
  const auto [stop, error] = std::from_chars(begin, end, *index);
  return error == std::errc() && stop == end && begin != end && *index >= 0;
}

}  // namespace

struct LibsvmReader::Row {
  Batch* batch;
  int64_t index;               // in the batch
  std::vector<uint32_t> keys;  // of each operation in this sample
  std::string problem;
  const char* token = nullptr;  // being read
};

bool ParseInterval(const std::string& text, int64_t* low, int64_t* high) {
  *low = 0;
  *high = std::numeric_limits<int64_t>::max();
  if (text == "*") return true;
  const char* begin = text.data();
  const char* end = begin + text.size();
  const char* dash = std::find(begin, end, '-');
  if (!ParseIndex(begin, dash, low)) return false;
  *high = *low;
  return dash == end || (ParseIndex(dash + 1, end, high) && *high >= *low);
}

LibsvmReader::LibsvmReader(Plan plan, TextOptions options, bool with_fields, bool ignore_unknown)
    : TextReader(std::move(plan), std::move(options)), with_fields_(with_fields), ignore_unknown_(ignore_unknown) {
  op_of_number_.assign(kSmallNumbers, -1);
  for (size_t i = 0; i < plan_.ops.size(); ++i) {
    Interval interval = {0, 0, static_cast<int>(i)};
    SLUICE_CHECK(ParseInterval(plan_.columns[plan_.ops[i].column], &interval.low, &interval.high), "column {}",
                 plan_.columns[plan_.ops[i].column]);
    for (int64_t n = interval.low; n <= std::min(interval.high, kSmallNumbers - 1); ++n)
      if (op_of_number_[n] < 0) op_of_number_[n] = interval.op;
    intervals_.push_back(interval);
    missing_.push_back(MissingKey(plan_.ops[i].salt));
  }
}

int LibsvmReader::FindOp(int64_t number) const {
  if (number < kSmallNumbers) return op_of_number_[number];
  for (const auto& interval : intervals_)
    if (number >= interval.low && number <= interval.high) return interval.op;
  return -1;
}

bool LibsvmReader::AddValue(int op_index, const char* key, const char* key_end, double value, Row* row) const {
  const ColumnOp& op = plan_.ops[op_index];
  const uint32_t before = row->keys[op_index]++;
  if (op.kind == ColumnOp::Kind::kDense) {
    row->batch->dense[static_cast<size_t>(row->index * plan_.schema.num_dense() + op.target)] = op.numeric.Dense(value);
  } else if (op.kind == ColumnOp::Kind::kBucket) {
    row->batch->fields[op.target].keys[row->index] =
        IntegerKey(static_cast<uint64_t>(op.numeric.Bucket(value)), op.salt);
  } else {
    FieldColumn& field = row->batch->fields[op.target];
    const Key hashed = StringKey({key, static_cast<size_t>(key_end - key)}, op.salt);
    if (!plan_.schema.fields[op.target].one_hot) {
      if (op.max_keys != 0 && before >= op.max_keys) return true;
      field.keys.push_back(hashed);
      if (op.weighted) field.weights.push_back(static_cast<float>(value));
      return true;
    }
    field.keys[row->index] = hashed;
    if (op.weighted) field.weights[row->index] = static_cast<float>(value);
  }
  if (before > 0) row->problem = "more than one value of feature '" + op.feature + "' (multi: true allows that)";
  return before == 0;
}

// field:key:value or index:value.
bool LibsvmReader::ParseToken(const char* begin, const char* end, Row* row) const {
  row->token = begin;
  const auto malformed = [&] {
    row->problem =
        std::string("not ") + (with_fields_ ? "field:key:value" : "index:value") + ": '" + Excerpt(begin, end) + "'";
    return false;
  };
  const char* colon = static_cast<const char*>(std::memchr(begin, ':', static_cast<size_t>(end - begin)));
  const char* number_end = colon == nullptr ? end : colon;
  if (!with_fields_ && number_end - begin == 3 && std::memcmp(begin, "qid", 3) == 0 && colon != nullptr) {
    if (plan_.schema.has_group)
      row->batch->groups[row->index] = HashBytes({colon + 1, static_cast<size_t>(end - colon - 1)});
    return true;
  }
  int64_t number = 0;
  if (!ParseIndex(begin, number_end, &number)) return malformed();
  const char* key = begin;
  const char* key_end = number_end;
  if (with_fields_) {
    if (colon == nullptr) return malformed();
    key = colon + 1;
    colon = static_cast<const char*>(std::memchr(key, ':', static_cast<size_t>(end - key)));
    key_end = colon == nullptr ? end : colon;
    if (key == key_end) return malformed();
  }
  double value = 1;
  if (colon != nullptr && !ParseNumber(colon + 1, end, &value)) return malformed();
  const int op = FindOp(number);
  if (op >= 0) return AddValue(op, key, key_end, value, row);
  if (!ignore_unknown_)
    row->problem = fmt::format("{} {} belongs to no feature (data.unknown_fields: ignore leaves it out)",
                               with_fields_ ? "field" : "index", number);
  return ignore_unknown_;
}

bool LibsvmReader::ParseLine(const char* begin, const char* end, Row* row) const {
  const char* p = begin;
  const char* stop = p;
  const auto next_token = [&] {
    while (p < end && IsBlank(*p)) ++p;
    stop = p;
    while (stop < end && !IsBlank(*stop)) ++stop;
    return p < stop;
  };
  next_token();
  row->token = p;
  float label = 0;
  // Prediction also takes lines without a label, whose first token has a colon.
  const bool labelled = plan_.labels_required || std::memchr(p, ':', static_cast<size_t>(stop - p)) == nullptr;
  if (labelled) {
    if (!ParseLabel(plan_, p, stop, true, &label, &row->problem) && plan_.labels_required) return false;
    p = stop;
  }
  row->batch->labels[row->index] = label;
  if (plan_.schema.has_group) row->batch->groups[row->index] = 0;
  std::fill(row->keys.begin(), row->keys.end(), 0u);
  while (next_token()) {
    if (!ParseToken(p, stop, row)) return false;
    p = stop;
  }
  return true;
}

// Gives features without a value in this line their missing value.
void LibsvmReader::FinishRow(Row* row) const {
  for (size_t i = 0; i < plan_.ops.size(); ++i) {
    const ColumnOp& op = plan_.ops[i];
    if (op.kind == ColumnOp::Kind::kDense) {
      if (row->keys[i] == 0)
        row->batch->dense[static_cast<size_t>(row->index * plan_.schema.num_dense() + op.target)] = op.numeric.missing;
      continue;
    }
    FieldColumn& field = row->batch->fields[op.target];
    const bool one_hot = plan_.schema.fields[op.target].one_hot;
    if (row->keys[i] == 0) {
      if (one_hot) {
        field.keys[row->index] = missing_[i];
        if (op.weighted) field.weights[row->index] = 1.0f;
      } else {
        field.keys.push_back(missing_[i]);
        if (op.weighted) field.weights.push_back(1.0f);
      }
    }
    if (!one_hot) field.offsets.push_back(static_cast<int32_t>(field.keys.size()));
  }
}

template <class Line>
void LibsvmReader::ForEachLine(const Piece& piece, const Line& line) {
  const char* text = piece.buffer.data();
  const char* text_end = text + piece.text_size;
  int64_t number = 0;
  for (const char *begin = text, *end; begin < text_end; begin = end + 1, ++number) {
    end = static_cast<const char*>(std::memchr(begin, '\n', static_cast<size_t>(text_end - begin)));
    const char* stop = static_cast<const char*>(std::memchr(begin, '#', static_cast<size_t>(end - begin)));
    if (stop == nullptr) stop = end;
    if (!std::all_of(begin, stop, IsBlank)) line(begin, stop, end, number);
  }
}

bool LibsvmReader::KeepsBySplit(const Piece& piece, const char* begin, const char* end) const {
  const SampleFilter& filter = options_.filter;
  if (filter.split == SampleFilter::Split::kHash)
    return filter.HashWants(HashBytes({begin, static_cast<size_t>(end - begin)}, SampleFilter::kHashSeed));
  return filter.TailWants(piece.place.file, piece.place.offset + (begin - piece.buffer.data()));
}

// A line whose label cannot be read counts as a sample: whoever parses it says what is wrong.
void LibsvmReader::FindSamples(Piece* piece, SampleBlock* block) const {
  const SampleFilter& filter = options_.filter;
  const char* text = piece->buffer.data();
  std::string problem;
  ForEachLine(*piece, [&](const char* begin, const char* stop, const char* end, int64_t line) {
    if (filter.splits() && !KeepsBySplit(*piece, begin, end)) return;
    if (filter.keep_rate < 1) {
      const char* token = std::find_if_not(begin, stop, IsBlank);
      float label = 1;
      if (ParseLabel(plan_, token, std::find_if(token, stop, IsBlank), true, &label, &problem) && label <= 0 &&
          !filter.KeepsNegative(piece->place.ordinal + line)) {
        ++piece->dropped_negatives;
        return;
      }
    }
    block->begins.push_back(static_cast<uint32_t>(begin - text));
    block->ends.push_back(static_cast<uint32_t>(end - text) + 1);
    block->lines.push_back(static_cast<uint32_t>(line));
  });
}

void LibsvmReader::Parse(Piece* piece) const {
  Batch& batch = piece->batch;
  StartBatch(piece, piece->text_size == 0 ? 0 : piece->lines);
  for (const auto& op : plan_.ops)
    if (op.weighted && plan_.schema.fields[op.target].one_hot)
      batch.fields[op.target].weights.resize(static_cast<size_t>(batch.size));
  const SampleFilter& filter = FilterOf(*piece);
  Row row = {.batch = &batch, .index = 0, .keys = std::vector<uint32_t>(plan_.ops.size()), .problem = {}};
  ForEachLine(*piece, [&](const char* begin, const char* stop, const char* end, int64_t line) {
    if (end - begin > options_.max_line_bytes) {
      AddBadLine(piece, line, 0, fmt::format("longer than data.max_line_bytes = {}", options_.max_line_bytes));
      return;
    }
    if (options_.utf8 && !ValidText(begin, static_cast<size_t>(end - begin))) {
      AddBadLine(piece, line, 0, "not UTF-8 text, or a NUL byte (data.utf8: false reads any bytes)");
      return;
    }
    if (filter.splits() && !KeepsBySplit(*piece, begin, end)) return;
    if (!ParseLine(begin, stop, &row)) {
      AddBadLine(piece, line, static_cast<int>(row.token - begin) + 1, row.problem);
      for (size_t f = 0; f < batch.fields.size(); ++f) {  // takes back the keys of this line
        FieldColumn& field = batch.fields[f];
        if (field.offsets.empty()) continue;
        field.keys.resize(static_cast<size_t>(field.offsets.back()));
        if (!field.weights.empty()) field.weights.resize(field.keys.size());
      }
      return;
    }
    FinishRow(&row);
    if (batch.labels[row.index] <= 0 && !filter.KeepsNegative(piece->place.ordinal + line)) {
      ++piece->dropped_negatives;
      for (auto& field : batch.fields) {
        if (field.offsets.size() < 2) continue;
        field.offsets.pop_back();
        field.keys.resize(static_cast<size_t>(field.offsets.back()));
        if (!field.weights.empty()) field.weights.resize(field.keys.size());
      }
      return;
    }
    ++row.index;
  });
  batch.size = row.index;
  const size_t size = static_cast<size_t>(row.index);
  batch.labels.resize(size);
  batch.dense.resize(size * static_cast<size_t>(plan_.schema.num_dense()));
  if (!batch.groups.empty()) batch.groups.resize(size);
  for (size_t f = 0; f < batch.fields.size(); ++f) {
    if (!plan_.schema.fields[f].one_hot) continue;
    batch.fields[f].keys.resize(size);
    if (!batch.fields[f].weights.empty()) batch.fields[f].weights.resize(size);
  }
  ApplyCrosses(plan_.crosses, &batch);
  FinishBadLines(piece);
}

}  // namespace sluice::data
