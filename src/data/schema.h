#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/hash.h"

namespace sluice::data {

// A sparse field: for each sample a list of keys.
struct SparseField {
  std::string name;
  std::string vocabulary;   // fields with equal vocabularies share keys, hence rows
  uint64_t salt = 0;        // VocabularySalt(vocabulary)
  bool one_hot = true;      // exactly one key per sample (a missing value is a key of its own)
  bool weighted = false;    // a weight beside each key
};

// What a batch holds, after transforms; the model is built from this and nothing else of the data.
struct Schema {
  std::vector<SparseField> fields;
  std::vector<std::string> dense;    // names of the numeric features, in column order
  std::vector<std::string> labels;   // at least one
  bool has_sample_weight = false;
  bool has_group = false;            // a group id per sample, for grouped AUC

  int num_fields() const { return static_cast<int>(fields.size()); }
  int num_dense() const { return static_cast<int>(dense.size()); }
  int num_labels() const { return static_cast<int>(labels.size()); }
};

}  // namespace sluice::data
