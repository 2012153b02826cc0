#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/hash.h"
#include "base/status.h"
#include "data/batch.h"
#include "data/config.h"
#include "data/features.h"
#include "data/open.h"
#include "data/schema.h"

namespace sluice::data {

// A number on its way to a dense column or to a bucket's key.
struct NumericTransform {
  enum class Kind { kNone, kLog, kStandardise, kSqlog, kBoundaries };
  Kind kind = Kind::kNone;
  double clip_low = 0;
  double clip_high = 0;
  bool clips = false;
  double mean = 0;
  double inverse_deviation = 1;
  float missing = 0;
  std::vector<double> boundaries;

  double Clipped(double x) const { return !clips ? x : x < clip_low ? clip_low : x > clip_high ? clip_high : x; }
  float Dense(double x) const;      // kNone, kLog, kStandardise
  int64_t Bucket(double x) const;   // kSqlog, kBoundaries
};

// What is done with one input column.
struct ColumnOp {
  enum class Kind { kDense, kBucket, kKey, kKeys };
  Kind kind = Kind::kKey;
  int column = 0;            // into Plan::columns
  int target = 0;            // dense column or field
  std::string feature;
  uint64_t salt = 0;
  NumericTransform numeric;
  char separator = '|';      // kKeys
  bool weighted = false;
  char weight_separator = ':';
  int64_t max_keys = 0;      // 0: all
};

// One key for every combination of the fields' keys.
struct CrossOp {
  int target = 0;
  uint64_t salt = 0;
  std::vector<int> fields;
  int64_t max_keys = 0;
};

// The configuration compiled: which input columns are read and what becomes of each.
struct Plan {
  Schema schema;
  std::vector<std::string> columns;      // names of the input columns that are read
  std::vector<int> label_columns;        // into columns
  int weight_column = -1;
  int group_column = -1;
  int split_column = -1;
  std::vector<int> passthrough_columns;
  std::vector<ColumnOp> ops;
  std::vector<CrossOp> crosses;
  std::vector<std::string> missing;      // texts, the empty one left out: it always means missing
  size_t longest_missing = 0;
  std::string positive_label;
  double label_min = 0;
  double label_max = 1;
  bool labels_required = true;           // false for prediction
};

// Errors       as CheckFeatures.
Result<Plan> MakePlan(const DataConfig& data, const FittedFeatures& features, Purpose purpose);

// Fills the crosses' fields of batch rows [0, size) from the fields that they cross.

void ApplyCrosses(const std::vector<CrossOp>& crosses, Batch* batch);

}  // namespace sluice::data
