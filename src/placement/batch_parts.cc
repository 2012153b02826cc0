#include "placement/batch_parts.h"

namespace sluice::placement {
namespace {

template <class V>
void Slice(const std::vector<V>& from, int64_t begin, int64_t end, std::vector<V>* to) {
  if (from.empty())
    to->clear();
  else
    to->assign(from.begin() + begin, from.begin() + end);
}

void SliceSamples(const data::Batch& batch, const data::Schema& schema, Range samples, data::Batch* out) {
  const int64_t labels = schema.num_labels(), dense = schema.num_dense();
  out->size = samples.size();
  out->first_sample = batch.first_sample + samples.begin;
  out->epoch = batch.epoch;
  Slice(batch.labels, samples.begin * labels, samples.end * labels, &out->labels);
  Slice(batch.sample_weights, samples.begin, samples.end, &out->sample_weights);
  Slice(batch.dense, samples.begin * dense, samples.end * dense, &out->dense);
  out->fields.resize(batch.fields.size());
}

void SliceKeys(const data::FieldColumn& from, Range samples, data::FieldColumn* to) {
  // The end of an empty range is where it begins.
  const int64_t begin = samples.empty() ? 0 : from.begin(samples.begin);
  const int64_t end = samples.empty() ? 0 : from.end(samples.end - 1);
  Slice(from.keys, begin, end, &to->keys);
  Slice(from.weights, begin, end, &to->weights);
  to->offsets.clear();
  if (from.one_hot()) return;
  for (int64_t i = samples.begin; i <= samples.end; ++i)
    to->offsets.push_back(samples.empty() ? 0 : from.offsets[static_cast<size_t>(i)] - static_cast<int32_t>(begin));
}

}  // namespace

void SliceBatch(const data::Batch& batch, const data::Schema& schema, Range samples, bool with_keys, data::Batch* out) {
  SliceSamples(batch, schema, samples, out);
  if (!with_keys) return;
  for (size_t f = 0; f < batch.fields.size(); ++f) SliceKeys(batch.fields[f], samples, &out->fields[f]);
}

void SliceBatch(const data::Batch& batch, const data::Schema& schema, Range samples,
                const std::vector<uint8_t>& with_keys, data::Batch* out) {
  SliceSamples(batch, schema, samples, out);
  for (size_t f = 0; f < batch.fields.size(); ++f) {
    if (with_keys[f])
      SliceKeys(batch.fields[f], samples, &out->fields[f]);
    else
      DropKeys(samples.size(), &out->fields[f]);
  }
}

void DropKeys(int64_t size, data::FieldColumn* column) {
  column->keys.clear();
  column->weights.clear();
  column->offsets.assign(static_cast<size_t>(size) + 1, 0);
}

}  // namespace sluice::placement
