#include "metric/auc.h"

#include <cmath>

namespace sluice::metric {

void GroupedAucSweep::CloseGroup() {
  if (!open_) return;
  const double auc = sweep_.Finish();
  if (std::isnan(auc)) {
    ++left_out_;
  } else {
    ++groups_;
    sum_ += auc * sweep_.weight();
    weight_ += sweep_.weight();
  }
  sweep_ = AucSweep();
  open_ = false;
}

void GroupedAucSweep::Add(std::span<const GroupRecord> records) {
  for (const GroupRecord& record : records) {
    if (record.group != group_) CloseGroup();
    group_ = record.group;
    open_ = true;
    sweep_.Add(record.score);
  }
}

void GroupedAucSweep::Finish(LabelMetrics* metrics) {
  CloseGroup();
  metrics->gauc = weight_ > 0 ? sum_ / weight_ : kUndefined;
  metrics->groups = groups_;
  metrics->groups_left_out = left_out_;
}

}  // namespace sluice::metric
