#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "data/config.h"
#include "data/schema.h"

namespace sluice::data {

// Key of a missing value in the vocabulary with this salt.
inline Key MissingKey(uint64_t salt) { return StringKey("", salt); }

// A feature with everything that reading it needs.
struct FittedFeature {
  std::string name;
  FeatureConfig config;              // column and vocabulary filled in
  std::vector<double> boundaries;    // bucket and quantile: ascending
  double mean = 0;                   // standardise
  double deviation = 1;

  bool sparse() const {
    return config.type != "numeric" || config.transform == "sqlog" || config.transform == "bucket" ||
           config.transform == "quantile";
  }
};

// The features of a run with the state of their transforms. A checkpoint saves it, so that evaluation and prediction use
// exactly what training used; it says nothing of files.
struct FittedFeatures {
  std::string format;                  // resolved: never "auto"
  std::vector<FittedFeature> features;
  std::vector<std::string> columns;    // csv: the training file's columns, for files without a header
  std::vector<std::string> labels = {"label"};
  bool has_sample_weight = false;
  bool has_group = false;
  bool has_split_from = false;         // split.kind time: samples with a value >= split_from are validation
  double split_from = 0;

  // What training batches look like.
  Schema MakeSchema() const;

  std::string Save() const;  // JSON
  static Result<FittedFeatures> Load(const std::string& text);
};

// Features and formats resolved, transforms fitted on the head of the training data: what train calls once.
// features     as configured; empty: by format (criteo: I1..I13 numeric, log where dense_input and sqlog otherwise, and
//              C1..C26 categorical; csv, libsvm, libffm: InferFeatures; packed: what the file holds).
// Errors       kInvalidArgument naming feature and option; kNotFound naming a file or column; kDataLoss as a source.
//              Standard input is never read: where that would be necessary kInvalidArgument says so.
Result<FittedFeatures> FitFeatures(const DataConfig& data, const FeatureList& features, bool dense_input);

// The features that FitFeatures would use for this data when none are configured, as `sluice init` prints them.
Result<FeatureList> InferFeatures(const DataConfig& data, bool dense_input);

// Checks a feature list: types, options that do not go together, crosses of fields that do not exist.
Status CheckFeatures(const FeatureList& features, const std::string& format);

}  // namespace sluice::data
