#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "optim/schedule.h"

namespace sluice::train {

// Where a run stands, beside the model: what a checkpoint needs for the rest of the run to be what it would have been.
struct Progress {
  int64_t step = 0;             // last step trained
  int64_t samples = 0;          // trained on so far, over all processes of the run
  int64_t epoch = 0;            // of the last batch, or the one after where its end was dealt with
  std::string position;         // of the source after the last batch; empty: the start
  int64_t last_eval_step = -1;
  bool has_best = false;        // early stopping
  double best_value = 0;
  int64_t best_step = 0;
  int64_t evaluations_since_best = 0;
  bool stopped_early = false;
  optim::ScheduleState dense_schedule;
  std::vector<optim::ScheduleState> table_schedules;

  std::string ToJson() const;
  static Result<Progress> FromJson(const std::string& text);
};

}  // namespace sluice::train
