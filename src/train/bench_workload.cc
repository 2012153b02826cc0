#include "train/bench_workload.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "base/rng.h"

namespace sluice::train {

BenchWorkload::BenchWorkload(const BenchConfig& config, int64_t batch_size, uint64_t seed) : config_(config), seed_(seed) {
  schema_.labels = {"label"};
  for (int64_t i = 1; i <= config.dense; ++i) schema_.dense.push_back(fmt::format("I{}", i));
  for (int64_t i = 1; i <= config.fields; ++i) {
    const std::string name = fmt::format("C{}", i);
    schema_.fields.push_back({.name = name,
                              .vocabulary = name,
                              .salt = VocabularySalt(name),
                              .one_hot = config.keys_per_field <= 1});
  }
  batches_.resize(static_cast<size_t>(config.batches));
  std::vector<double> logits;
  for (size_t b = 0; b < batches_.size(); ++b) {
    data::Batch& batch = batches_[b];
    batch.size = batch_size;
    batch.first_sample = static_cast<int64_t>(b) * batch_size;
    batch.fields.resize(schema_.fields.size());
    logits.assign(static_cast<size_t>(batch_size), -1.0);
    for (int f = 0; f < schema_.num_fields(); ++f)
      FillField(f, batch.first_sample, batch_size, &batch.fields[static_cast<size_t>(f)], &logits);
    const CounterRng dense(seed, 0x11), label(seed, 0x12);
    batch.dense.resize(static_cast<size_t>(batch_size * config.dense));
    for (size_t i = 0; i < batch.dense.size(); ++i)
      batch.dense[i] = static_cast<float>(
          2.0 * dense.Uniform(static_cast<uint64_t>(batch.first_sample * config.dense) + i));
    batch.labels.resize(static_cast<size_t>(batch_size));
    for (int64_t i = 0; i < batch_size; ++i) {
      const double p = 1.0 / (1.0 + std::exp(-logits[static_cast<size_t>(i)]));
      batch.labels[static_cast<size_t>(i)] =
          label.Uniform(static_cast<uint64_t>(batch.first_sample + i)) < p ? 1.0f : 0.0f;
    }
  }
}

void BenchWorkload::FillField(int field, int64_t first_sample, int64_t size, data::FieldColumn* column,
                              std::vector<double>* logits) const {
  const CounterRng rng(seed_, 0x1000 + static_cast<uint64_t>(field));
  const CounterRng lengths(seed_, 0x2000 + static_cast<uint64_t>(field));
  const bool one_hot = config_.keys_per_field <= 1;
  // Of a multi-hot field each sample has between 1 and 2 * mean - 1 keys.
  const auto spread = static_cast<uint64_t>(std::max(1.0, 2 * config_.keys_per_field - 1));
  if (!one_hot) column->offsets.push_back(0);
  for (int64_t i = 0; i < size; ++i) {
    const uint64_t sample = static_cast<uint64_t>(first_sample + i);
    const uint64_t keys = one_hot ? 1 : 1 + lengths.Below(sample, spread);
    for (uint64_t k = 0; k < keys; ++k) {
      const double u = std::pow(rng.Uniform(sample * spread + k), config_.skew);
      const auto index = static_cast<int64_t>(u * static_cast<double>(config_.rows_per_field));
      const Key key = KeyOf(field, index);
      column->keys.push_back(key);
      // The teacher: a weight per key, a function of the key.
      const double weight = static_cast<double>(Mix64(key ^ seed_) >> 11) * 0x1.0p-53 - 0.5;
      (*logits)[static_cast<size_t>(i)] += weight / std::sqrt(static_cast<double>(keys));
    }
    if (!one_hot) column->offsets.push_back(static_cast<int32_t>(column->keys.size()));
  }
}

Result<bool> CyclingSource::Next(data::Batch* batch) {
  *batch = workload_->batches()[next_];   // copies into the capacity that is there, as unpacking would
  batch->first_sample = stats_.samples;
  stats_.samples += batch->size;
  next_ = (next_ + 1) % workload_->batches().size();
  return true;
}

}  // namespace sluice::train
