#pragma once

#include <memory>
#include <string>

#include "base/status.h"
#include "train/config.h"

namespace sluice::train {

// A hold on a folder: as long as it lives no other process gets one. The system lets go of it when the process ends.
class FolderLock {
 public:
  // Errors: kInvalidArgument where another process holds the folder, kIo.
  static Result<std::shared_ptr<const FolderLock>> Take(const std::string& path);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  explicit FolderLock(int fd) : fd_(fd) {}
  int fd_;
};

// The folder of a run: config.yaml, train.jsonl, metrics.json, checkpoints/, and best/ with early stopping.
struct RunFolder {
  std::string path;
  std::string resume_from;   // checkpoint to go on from; empty: start anew
  std::shared_ptr<const FolderLock> lock;   // one run at a time

  std::string File(const std::string& name) const { return path + "/" + name; }
  std::string checkpoints() const { return path + "/checkpoints"; }
  std::string best() const { return path + "/best"; }
};

// Chooses and makes the run's folder. `run_dir` empty: runs/<time>-<name>.
// Semantics    a folder that holds a run is taken up again where checkpoint.resume allows it and the settings that change
//              results are equal (checkpoint.resume: <path> allows others); otherwise nothing in it is touched.
// Errors       kInvalidArgument naming the folder and the first setting that differs, or that another process trains in it;
//              kNotFound, kDataLoss for a checkpoint to resume from; kIo for a folder that cannot be written.
Result<RunFolder> OpenRunFolder(const RunConfig& config, const std::string& run_dir);

// The first line in which the settings that change results differ, as "key: a here, b there"; empty: none. What may
// differ: performance, logs, names of runs, how often checkpoints are written, and how long training goes on.
std::string FirstDifference(const RunConfig& here, const RunConfig& there);

}  // namespace sluice::train
