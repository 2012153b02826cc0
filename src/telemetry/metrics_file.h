#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"

namespace sluice::telemetry {

// What one process of a run used.
struct ProcessUse {
  int64_t peak_rss_bytes = 0;
  double cpu_s = 0;  // user and system, all threads
};

// What a run achieved, as metrics.json tells it. NaN (undefined or not measured) is written as null.
struct RunMetrics {
  double auc = std::numeric_limits<double>::quiet_NaN();
  double logloss = std::numeric_limits<double>::quiet_NaN();
  double ne = std::numeric_limits<double>::quiet_NaN();
  double calibration = std::numeric_limits<double>::quiet_NaN();
  double rmse = std::numeric_limits<double>::quiet_NaN();
  double gauc = std::numeric_limits<double>::quiet_NaN();
  int64_t samples = 0;  // trained on
  int64_t eval_samples = 0;
  double samples_per_s = std::numeric_limits<double>::quiet_NaN();
  int64_t peak_rss_bytes = 0;
  double wall_s = std::numeric_limits<double>::quiet_NaN();
  double cpu_s = std::numeric_limits<double>::quiet_NaN();
  std::vector<std::pair<std::string, double>> bytes_per_sample = {};            // by kind of traffic
  std::vector<std::pair<std::string, double>> predicted_bytes_per_sample = {};  // by the planner; none with one rank
  std::vector<ProcessUse> processes = {};                                       // in the order of their ranks
  std::vector<std::pair<std::string, double>> others = {};                      // further members
};

// Writes `path` in one piece: a reader sees the old file or the new one. Errors: kIo naming the file.
Status WriteMetricsFile(const std::string& path, const RunMetrics& metrics);

}  // namespace sluice::telemetry
