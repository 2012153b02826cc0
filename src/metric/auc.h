#pragma once

#include <cstdint>
#include <span>

#include "metric/metrics.h"
#include "metric/records.h"

namespace sluice::metric {

// Area under the ROC curve from records in ascending order of score: the share of (positive, negative) pairs, weighted by
// the product of their weights, in which the positive one scores higher; ties count half (the average rank).
class AucSweep {
 public:
  void Add(const ScoreRecord& record) {
    if (record.key() != key_) CloseTie();
    key_ = record.key();
    (record.positive() ? tie_positive_ : tie_negative_) += record.weight();
  }
  void Add(std::span<const ScoreRecord> records) {
    for (const ScoreRecord& record : records) Add(record);
  }
  // The area; NaN where one class has no weight. Add may not be called after it.
  double Finish() {
    CloseTie();
    return positive_ > 0 && negative_ > 0 ? area_ / (positive_ * negative_) : kUndefined;
  }
  double weight() const { return positive_ + negative_ + tie_positive_ + tie_negative_; }

 private:
  void CloseTie() {
    area_ += tie_positive_ * (negative_ + 0.5 * tie_negative_);
    positive_ += tie_positive_;
    negative_ += tie_negative_;
    tie_positive_ = tie_negative_ = 0;
  }

  uint32_t key_ = 0;
  double area_ = 0, positive_ = 0, negative_ = 0, tie_positive_ = 0, tie_negative_ = 0;
};

// Mean of the groups' AUCs weighted by their sizes, from records in ascending order of (group, score).
class GroupedAucSweep {
 public:
  void Add(std::span<const GroupRecord> records);
  // Fills gauc, groups and groups_left_out.
  void Finish(LabelMetrics* metrics);

 private:
  void CloseGroup();

  uint64_t group_ = 0;
  bool open_ = false;
  AucSweep sweep_;
  double sum_ = 0, weight_ = 0;
  int64_t groups_ = 0, left_out_ = 0;
};

}  // namespace sluice::metric
