#pragma once

#include <cstdint>
#include <limits>
#include <vector>

namespace sluice::metric {

inline constexpr double kUndefined = std::numeric_limits<double>::quiet_NaN();

// Quality of the scores of one label. A number that the samples do not define (AUC of one class only) is NaN.
struct LabelMetrics {
  double auc = kUndefined;             // exact; ties count half
  double logloss = kUndefined;         // weighted mean, natural logarithm
  double ne = kUndefined;              // log loss over the entropy of the base rate
  double calibration = kUndefined;     // sum of predictions over sum of labels
  double rmse = kUndefined;            // root of the mean squared error of the predictions
  double mean_prediction = kUndefined;
  double base_rate = kUndefined;       // mean label
  double gauc = kUndefined;            // mean of the groups' AUCs, weighted by the groups' sizes
  int64_t groups = 0;                  // groups that take part in gauc
  int64_t groups_left_out = 0;         // groups of one class only
};

// Quality of all labels: the members inherited are means over the labels that define them.
struct Metrics : LabelMetrics {
  int64_t samples = 0;
  double weight = 0;                   // sum of sample weights
  std::vector<LabelMetrics> labels;
};

}  // namespace sluice::metric
