#include <algorithm>
#include <cmath>
#include <limits>

#include "data/byte_input.h"
#include "data/features.h"
#include "data/open.h"

namespace sluice::data {
namespace {

bool NeedsFit(const FittedFeature& feature) {
  return feature.config.transform == "quantile" || feature.config.transform == "standardise";
}

// Boundaries that cut sorted values into `buckets` parts of nearly equal count; values that repeat stay in one bucket.
std::vector<double> QuantileBoundaries(const std::vector<float>& sorted, int64_t buckets) {
  std::vector<double> boundaries;
  const int64_t n = static_cast<int64_t>(sorted.size());
  for (int64_t b = 1; b < buckets && n > 0; ++b) {
    const double value = sorted[static_cast<size_t>(n * b / buckets)];
    if (value > sorted.front() && (boundaries.empty() || value > boundaries.back())) boundaries.push_back(value);
  }
  return boundaries;
}

void FitOne(std::vector<float>* values, FittedFeature* feature) {
  std::sort(values->begin(), values->end());
  if (feature->config.transform == "quantile") {
    feature->boundaries = QuantileBoundaries(*values, feature->config.buckets);
    return;
  }
  const double n = static_cast<double>(std::max<size_t>(values->size(), 1));
  double sum = 0;
  for (const float v : *values) sum += v;
  feature->mean = sum / n;
  double squares = 0;
  for (const float v : *values) squares += (v - feature->mean) * (v - feature->mean);
  feature->deviation = squares > 0 ? std::sqrt(squares / n) : 1;
}

// Reads the head of the training data with the features to fit as plain numbers.
Status FitTransforms(const DataConfig& data, FittedFeatures* fitted) {
  FittedFeatures plain = *fitted;
  plain.features.clear();
  std::vector<FittedFeature*> wanted;
  for (auto& feature : fitted->features) {
    if (!NeedsFit(feature)) continue;
    wanted.push_back(&feature);
    FittedFeature number = feature;
    number.config.transform = "none";
    number.config.missing_value = std::numeric_limits<double>::quiet_NaN();
    plain.features.push_back(number);
  }
  if (wanted.empty()) return Status::Ok();
  if (std::find(data.train.begin(), data.train.end(), "-") != data.train.end()) {
    return InvalidArgument("features.{}.transform: {} needs a first look at the data, which standard input does not allow",
                           wanted.front()->name, wanted.front()->config.transform);
  }
  DataConfig head = data;
  head.shuffle_window = 0;
  head.negative_keep_rate = 1;
  SLUICE_ASSIGN_OR_RETURN(auto source, OpenSource(head, plain, {.num_reader_threads = 0}));
  std::vector<std::vector<float>> values(wanted.size());
  Batch batch;
  for (int64_t seen = 0; seen < data.fit_samples;) {
    SLUICE_ASSIGN_OR_RETURN(const bool more, source->Next(&batch));
    if (!more) break;
    const int64_t take = std::min(batch.size, data.fit_samples - seen);
    for (int64_t i = 0; i < take; ++i) {
      for (size_t f = 0; f < wanted.size(); ++f) {
        const float value = batch.dense[static_cast<size_t>(i) * wanted.size() + f];
        if (!std::isnan(value)) values[f].push_back(value);
      }
    }
    seen += take;
  }
  for (size_t f = 0; f < wanted.size(); ++f) FitOne(&values[f], wanted[f]);
  return Status::Ok();
}

}  // namespace

Result<FittedFeatures> FitFeatures(const DataConfig& data, const FeatureList& features, bool dense_input) {
  FittedFeatures fitted;
  fitted.format = ResolveFormat(data);
  fitted.columns = data.columns;
  FeatureList list = features;
  if (list.empty()) {
    SLUICE_ASSIGN_OR_RETURN(list, InferFeatures(data, dense_input));
  }
  SLUICE_RETURN_IF_ERROR(CheckFeatures(list, fitted.format));
  for (auto& [name, config] : list) {
    if (config.column.empty()) config.column = name;
    if (config.vocabulary.empty()) config.vocabulary = name;
    fitted.features.push_back({.name = name, .config = config, .boundaries = config.boundaries});
  }
  SLUICE_RETURN_IF_ERROR(FitTransforms(data, &fitted));
  return fitted;
}

}  // namespace sluice::data
