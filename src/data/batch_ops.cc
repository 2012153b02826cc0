#include "data/batch_ops.h"

#include <algorithm>

namespace sluice::data {
namespace {

// Appends rows of a row-major matrix.
template <class T>
void AppendMatrix(const std::vector<T>& from, int64_t size, int64_t begin, int64_t end, std::vector<T>* to) {
  if (from.empty()) return;
  const int64_t width = static_cast<int64_t>(from.size()) / size;
  to->insert(to->end(), from.begin() + begin * width, from.begin() + end * width);
}

template <class T>
void GatherMatrix(const std::vector<T>& from, int64_t size, std::span<const uint32_t> rows, std::vector<T>* to) {
  if (from.empty()) return;
  const size_t width = from.size() / static_cast<size_t>(size);
  const size_t used = to->size();
  to->resize(used + rows.size() * width);
  T* out = to->data() + used;
  if (width == 1) {
    for (size_t i = 0; i < rows.size(); ++i) out[i] = from[rows[i]];
    return;
  }
  for (const uint32_t row : rows) out = std::copy_n(from.begin() + static_cast<int64_t>(row * width), width, out);
}

// Keeps the rows of a row-major matrix without a flag, in place.
template <class T>
void RemoveMatrix(const std::vector<uint8_t>& remove, std::vector<T>* values) {
  if (values->empty()) return;
  const size_t width = values->size() / remove.size();
  size_t kept = 0;
  for (size_t row = 0; row < remove.size(); ++row) {
    if (remove[row]) continue;
    if (kept != row)
      std::move(values->begin() + static_cast<int64_t>(row * width),
                values->begin() + static_cast<int64_t>((row + 1) * width),
                values->begin() + static_cast<int64_t>(kept * width));
    ++kept;
  }
  values->resize(kept * width);
}

void AppendField(const FieldColumn& from, int64_t begin, int64_t end, FieldColumn* to) {
  const int64_t first = from.begin(begin);
  const int64_t last = begin < end ? from.end(end - 1) : first;
  if (!from.one_hot()) {
    if (to->offsets.empty()) to->offsets.push_back(0);
    const int64_t shift = to->nnz() - first;
    for (int64_t i = begin; i < end; ++i) to->offsets.push_back(static_cast<int32_t>(from.end(i) + shift));
  }
  to->keys.insert(to->keys.end(), from.keys.begin() + first, from.keys.begin() + last);
  if (!from.weights.empty())
    to->weights.insert(to->weights.end(), from.weights.begin() + first, from.weights.begin() + last);
}

void GatherField(const FieldColumn& from, std::span<const uint32_t> rows, FieldColumn* to) {
  if (from.one_hot()) {
    const size_t used = to->keys.size();
    to->keys.resize(used + rows.size());
    Key* out = to->keys.data() + used;
    for (size_t i = 0; i < rows.size(); ++i) out[i] = from.keys[rows[i]];
    if (!from.weights.empty())
      for (const uint32_t row : rows) to->weights.push_back(from.weights[row]);
    return;
  }
  for (const uint32_t row : rows) AppendField(from, row, row + 1, to);
}

void RemoveFromField(const std::vector<uint8_t>& remove, FieldColumn* field) {
  if (field->one_hot()) {
    RemoveMatrix(remove, &field->keys);
    RemoveMatrix(remove, &field->weights);
    return;
  }
  size_t rows = 0;
  int32_t kept = 0;
  int32_t begin = 0;
  for (size_t row = 0; row < remove.size(); ++row) {
    const int32_t end = field->offsets[row + 1];
    for (int32_t i = begin; i < end && !remove[row]; ++i, ++kept) {
      field->keys[kept] = field->keys[i];
      if (!field->weights.empty()) field->weights[kept] = field->weights[i];
    }
    begin = end;
    if (!remove[row]) field->offsets[++rows] = kept;
  }
  field->offsets.resize(rows + 1);
  field->keys.resize(static_cast<size_t>(kept));
  if (!field->weights.empty()) field->weights.resize(static_cast<size_t>(kept));
}

}  // namespace

void AppendRows(const Batch& from, int64_t begin, int64_t end, Batch* to) {
  if (begin >= end) return;
  AppendMatrix(from.labels, from.size, begin, end, &to->labels);
  AppendMatrix(from.sample_weights, from.size, begin, end, &to->sample_weights);
  AppendMatrix(from.dense, from.size, begin, end, &to->dense);
  AppendMatrix(from.groups, from.size, begin, end, &to->groups);
  AppendMatrix(from.passthrough, from.size, begin, end, &to->passthrough);
  to->fields.resize(from.fields.size());
  for (size_t f = 0; f < from.fields.size(); ++f) AppendField(from.fields[f], begin, end, &to->fields[f]);
  to->size += end - begin;
}

void GatherRows(const Batch& from, std::span<const uint32_t> rows, Batch* to) {
  if (rows.empty()) return;
  GatherMatrix(from.labels, from.size, rows, &to->labels);
  GatherMatrix(from.sample_weights, from.size, rows, &to->sample_weights);
  GatherMatrix(from.dense, from.size, rows, &to->dense);
  GatherMatrix(from.groups, from.size, rows, &to->groups);
  GatherMatrix(from.passthrough, from.size, rows, &to->passthrough);
  to->fields.resize(from.fields.size());
  for (size_t f = 0; f < from.fields.size(); ++f) GatherField(from.fields[f], rows, &to->fields[f]);
  to->size += static_cast<int64_t>(rows.size());
}

void RemoveRows(const std::vector<uint8_t>& remove, Batch* batch) {
  RemoveMatrix(remove, &batch->labels);
  RemoveMatrix(remove, &batch->sample_weights);
  RemoveMatrix(remove, &batch->dense);
  RemoveMatrix(remove, &batch->groups);
  RemoveMatrix(remove, &batch->passthrough);
  for (auto& field : batch->fields)
    if (!field.keys.empty() || !field.offsets.empty()) RemoveFromField(remove, &field);
  batch->size = std::count(remove.begin(), remove.end(), 0);
}

void ResetBatch(const Schema& schema, Batch* batch) {
  batch->Clear();
  batch->fields.resize(schema.fields.size());
}

}  // namespace sluice::data
