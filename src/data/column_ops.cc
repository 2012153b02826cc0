#include "data/column_ops.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cstring>

#include "data/numbers.h"

namespace sluice::data {
namespace {

// Equals StringKey; inlined here because it runs once per value.
inline Key FastStringKey(const char* begin, const char* end, uint64_t salt) {
  return XXH3_64bits_withSeed(begin, static_cast<size_t>(end - begin), salt);
}

void NotANumber(const char* begin, const char* end, int64_t row, const BadValue& bad) {
  bad(row, "not a finite number: '" + Excerpt(begin, end) + "'");
}

void RunDense(const ColumnOp& op, const Plan& plan, const TextRows& rows, int column, int64_t first, int64_t last,
              Batch* batch, const BadValue& bad) {
  const int64_t stride = plan.schema.num_dense();
  float* out = batch->dense.data() + op.target;
  for (int64_t row = first; row < last; ++row) {
    const char* begin = rows.begin(row, column);
    const char* end = rows.end(row, column);
    double x = 0;
    float value = op.numeric.missing;
    if (begin != end && ParseNumber(begin, end, &x)) {
      value = op.numeric.Dense(x);
    } else if (!IsMissing(plan, begin, end)) {
      NotANumber(begin, end, row, bad);
    }
    out[row * stride] = value;
  }
}

void RunBucket(const ColumnOp& op, const Plan& plan, const TextRows& rows, int column, int64_t first, int64_t last,
               Batch* batch, const BadValue& bad) {
  const Key missing = MissingKey(op.salt);
  Key* out = batch->fields[op.target].keys.data();
  for (int64_t row = first; row < last; ++row) {
    const char* begin = rows.begin(row, column);
    const char* end = rows.end(row, column);
    double x = 0;
    Key key = missing;
    if (begin != end && ParseNumber(begin, end, &x)) {
      key = IntegerKey(static_cast<uint64_t>(op.numeric.Bucket(x)), op.salt);
    } else if (!IsMissing(plan, begin, end)) {
      NotANumber(begin, end, row, bad);
    }
    out[row] = key;
  }
}

void RunKey(const ColumnOp& op, const Plan& plan, const TextRows& rows, int column, int64_t first, int64_t last,
            Batch* batch) {
  Key* out = batch->fields[op.target].keys.data();
  if (plan.missing.empty()) {  // the empty text's key is the missing key
    for (int64_t row = first; row < last; ++row)
      out[row] = FastStringKey(rows.begin(row, column), rows.end(row, column), op.salt);
    return;
  }
  const Key missing = MissingKey(op.salt);
  for (int64_t row = first; row < last; ++row) {
    const char* begin = rows.begin(row, column);
    const char* end = rows.end(row, column);
    out[row] = IsMissing(plan, begin, end) ? missing : FastStringKey(begin, end, op.salt);
  }
}

// Keys of one value of a multi-valued column; a missing value has the missing key, so that no sample is without keys.
void AppendKeys(const ColumnOp& op, const Plan& plan, const char* begin, const char* end, int64_t row,
                FieldColumn* field, const BadValue& bad) {
  if (IsMissing(plan, begin, end)) {
    field->keys.push_back(MissingKey(op.salt));
    if (op.weighted) field->weights.push_back(1.0f);
    return;
  }
  int64_t taken = 0;
  while (op.max_keys == 0 || taken < op.max_keys) {
    const char* stop = static_cast<const char*>(std::memchr(begin, op.separator, static_cast<size_t>(end - begin)));
    if (stop == nullptr) stop = end;
    const char* key_end = stop;
    if (op.weighted) {
      float weight = 1.0f;
      const char* colon =
          static_cast<const char*>(memrchr(begin, op.weight_separator, static_cast<size_t>(stop - begin)));
      if (colon != nullptr) {
        double x = 0;
        if (!ParseNumber(colon + 1, stop, &x)) bad(row, "not a weight: '" + Excerpt(colon + 1, stop) + "'");
        weight = static_cast<float>(x);
        key_end = colon;
      }
      field->weights.push_back(weight);
    }
    field->keys.push_back(FastStringKey(begin, key_end, op.salt));
    ++taken;
    if (stop == end) break;
    begin = stop + 1;
  }
}

}  // namespace

void RunColumnOp(const ColumnOp& op, const Plan& plan, const TextRows& rows, int column, int64_t begin, int64_t end,
                 Batch* batch, const BadValue& bad) {
  switch (op.kind) {
    case ColumnOp::Kind::kDense:
      RunDense(op, plan, rows, column, begin, end, batch, bad);
      break;
    case ColumnOp::Kind::kBucket:
      RunBucket(op, plan, rows, column, begin, end, batch, bad);
      break;
    case ColumnOp::Kind::kKey:
      RunKey(op, plan, rows, column, begin, end, batch);
      break;
    case ColumnOp::Kind::kKeys: {
      FieldColumn& field = batch->fields[op.target];
      const bool one_hot = plan.schema.fields[op.target].one_hot;
      if (one_hot) field.keys.resize(static_cast<size_t>(begin));  // one weighted key a sample: appended as well
      for (int64_t row = begin; row < end; ++row) {
        AppendKeys(op, plan, rows.begin(row, column), rows.end(row, column), row, &field, bad);
        if (!one_hot) field.offsets.push_back(static_cast<int32_t>(field.keys.size()));
      }
      break;
    }
  }
}

bool ParseLabel(const Plan& plan, const char* begin, const char* end, bool minus_one_is_zero, float* label,
                std::string* what) {
  if (end - begin == 1 && (*begin == '0' || *begin == '1') && plan.positive_label.empty() && plan.label_min <= 0 &&
      plan.label_max >= 1) {
    *label = static_cast<float>(*begin - '0');
    return true;
  }
  if (begin == end) {
    *what = "the label is missing";
    return false;
  }
  if (!plan.positive_label.empty()) {
    *label = std::string_view(begin, static_cast<size_t>(end - begin)) == plan.positive_label ? 1.0f : 0.0f;
    return true;
  }
  double x = 0;
  if (!ParseNumber(begin, end, &x)) {
    *what = "the label is not a number: '" + Excerpt(begin, end) + "' (data.positive_label reads labels that are text)";
    return false;
  }
  if (minus_one_is_zero && x == -1 && plan.label_min == 0) x = 0;
  if (x < plan.label_min || x > plan.label_max) {
    *what = fmt::format("the label {} is outside [{}, {}] (data.label_min, data.label_max)", x, plan.label_min,
                        plan.label_max);
    return false;
  }
  *label = static_cast<float>(x);
  return true;
}

std::string Excerpt(const char* begin, const char* end) {
  std::string text;
  for (const char* p = begin; p != end && text.size() < 40; ++p) {
    const auto c = static_cast<unsigned char>(*p);
    text += c < 0x20 || c > 0x7e ? '?' : *p;
  }
  if (end - begin > static_cast<int64_t>(text.size())) text += "...";
  return text;
}

}  // namespace sluice::data
