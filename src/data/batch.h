#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/hash.h"

namespace sluice::data {

// Keys of one field for all samples of a batch.
struct FieldColumn {
  std::vector<int32_t> offsets;  // [size + 1], sample i owns [offsets[i], offsets[i + 1]); empty: one key per sample
  std::vector<Key> keys;         // [nnz], already salted by vocabulary
  std::vector<float> weights;    // [nnz], or empty: every weight is 1

  bool one_hot() const { return offsets.empty(); }
  int64_t nnz() const { return static_cast<int64_t>(keys.size()); }
  int64_t begin(int64_t i) const { return offsets.empty() ? i : offsets[i]; }
  int64_t end(int64_t i) const { return offsets.empty() ? i + 1 : offsets[i + 1]; }
};

// Samples in columns; see Schema for what the columns are.
// Memory       owns its columns; Clear keeps their capacity, so that a batch object can be filled again and again.
// Threads      a value type.
struct Batch {
  int64_t size = 0;                   // samples
  int64_t first_sample = 0;           // index of the first sample in the order of training, over all epochs
  int64_t global_size = 0;            // of a source's batches: samples of the global batch of which these are a slice
  int64_t epoch = 0;                  // of all its samples, from 0
  std::vector<float> labels;          // [size, num_labels]
  std::vector<float> sample_weights;  // [size], or empty: every weight is 1
  std::vector<float> dense;           // [size, num_dense], row-major
  std::vector<FieldColumn> fields;    // [num_fields]
  std::vector<uint64_t> groups;       // [size], or empty
  std::vector<std::string> passthrough;  // [size], columns that predict copies beside the score, or empty

  void Clear() {
    size = 0;
    global_size = 0;
    labels.clear();
    sample_weights.clear();
    dense.clear();
    groups.clear();
    passthrough.clear();
    for (auto& field : fields) {
      field.offsets.clear();
      field.keys.clear();
      field.weights.clear();
    }
  }
};

}  // namespace sluice::data
