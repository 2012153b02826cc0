#include <algorithm>
#include <cmath>
#include <limits>

#include "data/byte_input.h"
#include "data/features.h"
#include "data/numbers.h"
#include "data/open.h"
#include "data/packed.h"

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

// The smallest value of the time column on the validation side. Values are looked at as text, whose numbers may need more
// digits than a float has.
class TimeColumn {
 public:
  static constexpr size_t kExact = size_t{1} << 22;   // values held at most; above, a histogram of the column's range
  static constexpr int64_t kBins = int64_t{1} << 20;

  TimeColumn(const DataConfig& data, const FittedFeatures& features) : data_(data), features_(features) {
    data_.eval.clear();
    data_.passthrough = {data.split.column};
    data_.shuffle_window = 0;
    features_.features.clear();
  }

  // Where the last `fraction` of the values start.
  Result<double> Quantile(double fraction) {
    double low = std::numeric_limits<double>::infinity();
    double high = -low;
    int64_t count = 0;
    std::vector<double> values;
    SLUICE_RETURN_IF_ERROR(ForEach([&](double x) {
      low = std::min(low, x);
      high = std::max(high, x);
      ++count;
      if (values.size() < kExact) values.push_back(x);
    }));
    if (count == 0) return DataLoss("data.split.column: '{}' holds no numbers", data_.split.column);
    const int64_t rank = std::min(count - 1, static_cast<int64_t>(std::floor(static_cast<double>(count) * (1 - fraction))));
    if (count <= static_cast<int64_t>(kExact)) {
      std::nth_element(values.begin(), values.begin() + rank, values.end());
      return values[static_cast<size_t>(rank)];
    }
    std::vector<int64_t> bins(kBins);
    const double scale = high > low ? static_cast<double>(kBins) / (high - low) : 0;
    SLUICE_RETURN_IF_ERROR(ForEach([&](double x) {
      ++bins[static_cast<size_t>(std::min<int64_t>(kBins - 1, static_cast<int64_t>((x - low) * scale)))];
    }));
    int64_t below = 0;
    int64_t bin = 0;
    while (bin + 1 < kBins && below + bins[static_cast<size_t>(bin)] <= rank) below += bins[static_cast<size_t>(bin++)];
    return low + static_cast<double>(bin) / std::max(scale, 1e-300);
  }

 private:
  template <class Visit>
  Status ForEach(const Visit& visit) {
    SLUICE_ASSIGN_OR_RETURN(auto source, OpenSource(data_, features_, {.purpose = Purpose::kPredict, .num_reader_threads = 0}));
    Batch batch;
    for (;;) {
      SLUICE_ASSIGN_OR_RETURN(const bool more, source->Next(&batch));
      if (!more) return Status::Ok();
      for (const std::string& text : batch.passthrough) {
        double x = 0;
        if (ParseNumber(text.data(), text.data() + text.size(), &x)) visit(x);
      }
    }
  }

  DataConfig data_;
  FittedFeatures features_;
};

Status FitSplit(const DataConfig& data, FittedFeatures* fitted) {
  if (data.split.kind != "time" || !data.eval.empty()) return Status::Ok();
  if (data.split.column.empty())
    return InvalidArgument("data.split.column: names the time column, which split.kind: time needs");
  fitted->has_split_from = true;
  const std::string& from = data.split.from;
  if (!from.empty()) {
    if (!ParseNumber(from.data(), from.data() + from.size(), &fitted->split_from))
      return InvalidArgument("data.split.from: '{}' is not a number", from);
    return Status::Ok();
  }
  if (std::find(data.train.begin(), data.train.end(), "-") != data.train.end())
    return InvalidArgument("data.split.from: is needed where the data is standard input, which is read once only");
  SLUICE_ASSIGN_OR_RETURN(fitted->split_from, TimeColumn(data, *fitted).Quantile(data.split.fraction));
  return Status::Ok();
}

// A packed file was fitted when it was made: its transforms are taken over.
Status TakePacked(const DataConfig& data, const FeatureList& features, FittedFeatures* fitted) {
  SLUICE_ASSIGN_OR_RETURN(const auto files, ExpandFiles(data.train.empty() ? data.eval : data.train));
  if (files.empty()) return InvalidArgument("data.train: names no files");
  SLUICE_ASSIGN_OR_RETURN(FittedFeatures packed, ReadPackedFeatures(files.front()));
  fitted->labels = packed.labels;
  fitted->columns = packed.columns;
  fitted->has_sample_weight = packed.has_sample_weight;
  fitted->has_group = packed.has_group;
  if (features.empty()) fitted->features = packed.features;
  for (auto& feature : fitted->features) {
    const auto at = std::find_if(packed.features.begin(), packed.features.end(),
                                 [&](const auto& other) { return other.name == feature.name; });
    if (at == packed.features.end()) return InvalidArgument("{}: holds no feature '{}'", files.front(), feature.name);
    if (feature.config.transform == "quantile" && feature.config.buckets != at->config.buckets)
      return InvalidArgument("{}: feature '{}' was packed with {} buckets, not {}", files.front(), feature.name,
                             at->config.buckets, feature.config.buckets);
    if (feature.config.transform != "bucket") feature.boundaries = at->boundaries;
    feature.mean = at->mean;
    feature.deviation = at->deviation;
  }
  return Status::Ok();
}

}  // namespace

Result<FittedFeatures> FitFeatures(const DataConfig& data, const FeatureList& features, bool dense_input) {
  FittedFeatures fitted;
  fitted.format = ResolveFormat(data);
  fitted.columns = data.columns;
  if (fitted.format == "csv") fitted.labels = data.label;
  fitted.has_sample_weight = !data.sample_weight.empty();
  fitted.has_group = !data.group.empty();
  const bool packed = fitted.format == "packed";
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
  if (packed) {
    SLUICE_RETURN_IF_ERROR(TakePacked(data, features, &fitted));
    return fitted;
  }
  SLUICE_RETURN_IF_ERROR(FitSplit(data, &fitted));
  SLUICE_RETURN_IF_ERROR(FitTransforms(data, &fitted));
  return fitted;
}

}  // namespace sluice::data
