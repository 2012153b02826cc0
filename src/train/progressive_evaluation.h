#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "data/batch.h"
#include "metric/progressive.h"
#include "train/config.h"

namespace sluice::train {

// The scores that a run gives its samples before it trains on them and, with train.progressive, their metrics: one
// record "window" for every window of samples, and one "progressive" for the whole stream.
// Semantics    scores are corrected for negatives that were left out (data.negative_keep_rate), and a negative that was
//              kept stands for those that were not: metrics are those of the whole population.
// Threads      one call at a time.
// Errors       as metric::ProgressiveEvaluator; whatever the sink returns.
class ProgressiveEvaluation {
 public:
  // Values in the order in which a record holds them; whoever owns the log adds the step.
  using Values = std::vector<std::pair<std::string, double>>;
  using Sink = std::function<Status(const char* event, Values values)>;

  ProgressiveEvaluation(const RunConfig& config, int num_labels, Sink log);

  // Shapes       logits [batch.size, num_labels]: of the model before the step that trains on this batch.
  template <class T>
  Status Add(const data::Batch& batch, const T* logits);
  // Those of the last Add; also without train.progressive.
  std::span<const float> scores() const { return scores_; }

  // At the end of the data: the window that it cut short, and the whole stream, which then starts anew. No samples:
  // there were none, or train.progressive is off.
  Result<metric::Metrics> Finish();

  // What a checkpoint keeps; null without train.progressive.
  metric::ProgressiveEvaluator* evaluator() const { return evaluator_.get(); }

 private:
  Status LogWindows();
  std::span<const float> PopulationWeights(const data::Batch& batch);

  int num_labels_;
  double negative_keep_rate_, logit_correction_;
  Sink log_;
  std::unique_ptr<metric::ProgressiveEvaluator> evaluator_;
  std::vector<metric::Window> windows_;
  std::vector<float> scores_, weights_;
};

}  // namespace sluice::train
