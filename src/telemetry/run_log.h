#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/status.h"
#include "telemetry/event_file.h"

namespace sluice::telemetry {

// One record of a run's log.
struct StepRecord {
  const char* event = "step";   // "step", "eval", "window", "checkpoint", ...
  int64_t step = 0;
  int64_t samples = 0;
  // What else is known, in this order: loss, lr, samples_per_s, rss_bytes, auc, ... A value that is not finite becomes null.
  std::vector<std::pair<std::string, double>> values = {};
};

// A log of JSON objects, one per line, each on disk as soon as Write returns (as far as a kill of the process goes).
// Threads      one at a time.
// Errors       kIo naming the file.
class RunLog {
 public:
  // Starts a new log, or goes on with the one that is there after `resume_step` >= 0: records of later steps, which the
  // interrupted run wrote after its last checkpoint, and a last line that was cut are dropped.
  Status Open(const std::string& path, int64_t resume_step = -1);
  // From now on also writes every value as the scalar "<event>/<name>" of a TensorBoard event file in `folder`.
  Status AddEventFile(const std::string& folder, int64_t resume_step = -1) { return events_.Open(folder, resume_step); }

  Status Write(const StepRecord& record);
  Status Close();

 private:
  FileWriter file_;
  EventFile events_;
};

}  // namespace sluice::telemetry
