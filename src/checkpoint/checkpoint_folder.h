#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"

namespace sluice::checkpoint {

inline constexpr const char* kTemporaryPrefix = ".tmp-";

// "step-000000123".
std::string StepFolderName(int64_t step);

// A whole checkpoint in a folder of checkpoints.
struct CheckpointInfo {
  int64_t step = 0;
  std::string path;
};

// The whole checkpoints in `folder`, oldest first: named as StepFolderName says, with a manifest that is sound and of this
// step, and files as long as it says. Anything else is passed over (with a warning where the name looks like a
// checkpoint). A missing folder has none. The bytes of the sections are checked when they are read.
Result<std::vector<CheckpointInfo>> ListCheckpoints(const std::string& folder);

// The newest of them.
Result<std::optional<CheckpointInfo>> LatestCheckpoint(const std::string& folder);

// What a user means by `path`: a checkpoint, a folder of checkpoints, or a run folder with a folder "checkpoints" in it;
// of several the newest. Errors: kNotFound saying what was looked for; kDataLoss where the path is a checkpoint that is
// damaged or torn.
Result<std::string> FindCheckpoint(const std::string& path);

// Removes all but the newest `keep` whole checkpoints; 0 keeps all.
Status KeepLast(const std::string& folder, int64_t keep);

// Removes what killed writers left behind. Folders that a living process is writing are kept.
Status RemoveLeftovers(const std::string& folder);

}  // namespace sluice::checkpoint
