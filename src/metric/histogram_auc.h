#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace sluice::metric {

// AUC estimate for a live display: logits are counted in bins of 1/128 over [-16, 16], pairs in one bin count half. Never
// used where a result is reported; Evaluator is exact.
// Memory       64 KiB, whatever the number of samples.
// Threads      one at a time.
class HistogramAuc {
 public:
  static constexpr int kBins = 4096;
  static constexpr double kRange = 16;

  // `decay` in (0, 1]: what one sample leaves of the weight of those before it; 1 forgets nothing.
  explicit HistogramAuc(double decay = 1.0);

  // Shapes: logits, labels [n], the label of a sample positive where > 0.5; weights [n] or empty. NaN scores are left out.
  void Add(std::span<const float> logits, std::span<const float> labels, std::span<const float> weights = {});
  // NaN where one class is missing.
  double Auc() const;

 private:
  void Rescale();

  double decay_;
  std::vector<double> positive_, negative_;  // [kBins]
  double scale_ = 1;                         // weight of the next sample; grows instead of the bins shrinking
};

}  // namespace sluice::metric
