#include "metric/histogram_auc.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "metric/metrics.h"

namespace sluice::metric {

HistogramAuc::HistogramAuc(double decay) : decay_(decay), positive_(kBins), negative_(kBins) {
  SLUICE_CHECK(decay > 0 && decay <= 1, "decay {}", decay);
}

void HistogramAuc::Add(std::span<const float> logits, std::span<const float> labels, std::span<const float> weights) {
  SLUICE_CHECK(logits.size() == labels.size(), "{} logits, {} labels", logits.size(), labels.size());
  constexpr auto kBinsPerUnit = static_cast<float>(kBins / (2 * kRange));
  for (size_t i = 0; i < logits.size(); ++i) {
    const float at = (logits[i] + static_cast<float>(kRange)) * kBinsPerUnit;
    if (std::isnan(at)) continue;
    const auto bin = static_cast<size_t>(std::clamp(at, 0.0f, static_cast<float>(kBins - 1)));
    (labels[i] > 0.5f ? positive_ : negative_)[bin] += scale_ * (weights.empty() ? 1.0f : weights[i]);
    scale_ /= decay_;
    if (scale_ > 1e100) Rescale();
  }
}

void HistogramAuc::Rescale() {
  for (auto* bins : {&positive_, &negative_})
    for (double& bin : *bins) bin /= scale_;
  scale_ = 1;
}

double HistogramAuc::Auc() const {
  double area = 0, positive = 0, negative = 0;
  for (int bin = 0; bin < kBins; ++bin) {
    area += positive_[bin] * (negative + 0.5 * negative_[bin]);
    positive += positive_[bin];
    negative += negative_[bin];
  }
  return positive > 0 && negative > 0 ? area / (positive * negative) : kUndefined;
}

}  // namespace sluice::metric
