#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "base/status.h"

namespace sluice::cli {

// One run of one preset with one seed, as `sluice compare` lays it beside others.
struct ComparedRun {
  enum class State { kDone, kNotSupported, kFailed };

  std::string preset;
  int64_t seed = 1;
  State state = State::kDone;
  std::string why;      // where it is not done: one line
  int64_t samples = 0;  // trained on by all processes
  double train_s = 0;   // of the process that took longest
  double samples_per_s = 0;
  double auc = std::numeric_limits<double>::quiet_NaN();
  double logloss = std::numeric_limits<double>::quiet_NaN();
  double staleness = std::numeric_limits<double>::quiet_NaN();        // pushes of others between a pull and its push
  std::map<std::string, double> bytes_per_sample;                     // payload by kind, summed over processes
  double sent_per_sample = 0;                                         // their sum
  double wire_per_sample = std::numeric_limits<double>::quiet_NaN();  // counted by the kernel, evaluation included
  std::vector<int64_t> peak_rss_bytes;                                // of each process that tells
  int64_t largest_rss_bytes = 0;                                      // of any process
  double cpu_us_per_sample = 0;                                       // core time of all processes from start to end
  double cores = 0;                                                   // that time over the time that passed
};

// Fills in what the run's own reports tell.
// `texts`      metrics.json of the run, or of each of its workers.
// Errors       kDataLoss where a text is not what `sluice train` writes.
Status ReadReports(const std::vector<std::string>& texts, ComparedRun* run);

struct Comparison {
  std::string config;          // the file
  std::string network;         // in words: how processes reach one another
  double link_mbit_per_s = 0;  // 0: not shaped
  std::string evaluated;       // in words: on what AUC and log loss were measured
  int ranks = 1;
  int servers = 0;  // of presets ps-*
  int cores = 1;
  int64_t batch_size = 0;
  int64_t worker_batch_size = 0;  // of presets ps-*
  int64_t samples = 0;            // asked for; 0: all
  std::vector<int64_t> seeds;
  std::vector<ComparedRun> runs;
};

// Mean over the runs of a preset that were done, and their sample standard deviation (0 for one run).
struct MeanSpread {
  double mean = std::numeric_limits<double>::quiet_NaN();
  double spread = 0;
  int n = 0;
};
MeanSpread Summarize(const std::vector<double>& values);  // leaves out what is not finite

// One preset over its seeds.
struct ComparedPreset {
  std::string preset;
  std::vector<const ComparedRun*> done;
  std::string why_not;  // of the first run that is not done; empty: all are
  bool not_supported = false;
  MeanSpread Of(double ComparedRun::*value) const;
  std::map<std::string, double> bytes_per_sample() const;  // means
  int64_t largest_rss_bytes() const;
};
// In the order in which presets first appear. Points into `comparison`.
std::vector<ComparedPreset> ByPreset(const Comparison& comparison);

// The table that is printed, the same as JSON, and as a picture (SVG).
std::string ToTable(const Comparison& comparison);
std::string ToJson(const Comparison& comparison);
std::string ToSvg(const Comparison& comparison);

}  // namespace sluice::cli
