#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/sections.h"
#include "base/status.h"
#include "metric/evaluator.h"
#include "metric/metrics.h"

namespace sluice::metric {

// Metrics of consecutive samples [first_sample, first_sample + metrics.samples) of the stream.
struct Window {
  int64_t first_sample = 0;
  Metrics metrics;
};

// Progressive validation: samples are scored before they are trained on, and evaluated over windows of a fixed number of
// samples as well as over the whole stream. Source: Blum, Kalai and Langford, "Beating the hold-out", COLT 1999.
// Semantics    windows end at multiples of `window` samples exactly, however the stream is cut into spans.
// Memory       two Evaluators.
// Threads      one call at a time.
// Errors       as Evaluator.
class ProgressiveEvaluator {
 public:
  // REQUIRES: window >= 1.
  ProgressiveEvaluator(const EvaluatorOptions& options, int64_t window);

  // Appends the windows that these samples complete to `finished`.
  Status Add(const Scored& samples, std::vector<Window>* finished);
  // The last window, shorter than the others; nothing where the stream ended at a window's end.
  Result<std::optional<Window>> FinishWindow();
  // Metrics of the whole stream; the evaluator then starts anew.
  Result<Metrics> Finish();

  Status Save(SectionWriter* writer, const std::string& prefix) const;
  Status Load(const SectionReader& reader, const std::string& prefix);

 private:
  EvaluatorOptions options_;
  int64_t window_;
  Evaluator current_, whole_;
};

}  // namespace sluice::metric
