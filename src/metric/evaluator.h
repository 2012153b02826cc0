#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/sections.h"
#include "base/status.h"
#include "metric/external_sorter.h"
#include "metric/metrics.h"

namespace sluice::metric {

enum class ScoreKind {
  kLogit,        // before the logistic function; labels in [0, 1]
  kProbability,  // in [0, 1]; for the log loss clipped to [1e-15, 1 - 1e-15]; labels in [0, 1]
  kValue,        // a regression's prediction: rmse and calibration only
};

struct EvaluatorOptions {
  ScoreKind scores = ScoreKind::kLogit;
  int num_labels = 1;
  bool grouped = false;
  int64_t max_in_memory = int64_t{8} << 20;  // records before sorting spills to disk; 16 bytes of memory each, 32 grouped
  std::string spill_folder = {};             // empty: the system's folder for temporary files
};

// Samples with their scores, in spans.
// Shapes       scores, labels [n, num_labels]; weights [n], or empty: every weight is 1; groups [n] where grouped.
struct Scored {
  std::span<const float> scores;
  std::span<const float> labels;
  std::span<const float> weights = {};
  std::span<const uint64_t> groups = {};
};

// Exact metrics over a stream of scored samples.
// Memory       bounded by max_in_memory per label (twice that where grouped), whatever the number of samples.
// Semantics    the result depends on the samples and their order only: not on how they were cut into spans, nor on spilling.
// Threads      one call at a time; give every thread its own and Merge them in a fixed order.
// Errors       kNumeric naming the sample (counted from 0) and label whose score is not finite; kInvalidArgument for a
//              label or weight out of range; kIo naming the temporary folder. After a failure only destruction is allowed.
// Cost         per sample about 20 ns, and 20 ns in Finish.
class Evaluator {
 public:
  explicit Evaluator(const EvaluatorOptions& options);
  ~Evaluator();
  Evaluator(Evaluator&&) noexcept;
  Evaluator& operator=(Evaluator&&) noexcept;

  Status Add(const Scored& samples);
  // As if the samples of `other` had been added here, after those that are. REQUIRES: equal options.
  Status Merge(Evaluator&& other);
  // The metrics of all samples since the last Finish; the evaluator is then empty.
  Result<Metrics> Finish();

  // All that was added, so that a resumed run's metrics are bit for bit those of the uninterrupted one. 8 bytes per sample
  // and label, 24 where grouped, in sections "<prefix>/...". Load REQUIRES equal options, and replaces what is there.
  Status Save(SectionWriter* writer, const std::string& prefix) const;
  Status Load(const SectionReader& reader, const std::string& prefix);

  int64_t samples() const { return samples_; }

 private:
  struct Sums {
    double weight = 0, label = 0, prediction = 0, loss = 0, squared_error = 0;
  };
  struct Label {
    Sums sums;
    ExternalSorter<ScoreRecord> by_score;
    ExternalSorter<GroupRecord> by_group;
  };

  struct Block;
  struct Scratch;

  Label MakeLabel() const;
  Status CheckBlock(const Block& block) const;
  Status AddBlock(const Block& block);
  Status AddRecords(const Block& block);
  Status FinishLabel(Label* label, LabelMetrics* metrics) const;

  EvaluatorOptions options_;
  int64_t samples_ = 0;
  std::vector<Label> labels_;
  std::unique_ptr<Scratch> scratch_;
  std::vector<GroupRecord> group_records_;  // scratch
};

}  // namespace sluice::metric
