#include "checkpoint/checkpoint_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <filesystem>

#include <fmt/format.h>

#include "base/log.h"
#include "checkpoint/checkpoint_reader.h"

namespace sluice::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr const char* kStepPrefix = "step-";

// The step in a folder's name, or nothing where it is not a checkpoint's name.
std::optional<int64_t> StepOf(const std::string& name) {
  if (!name.starts_with(kStepPrefix)) return std::nullopt;
  const char* begin = name.data() + std::strlen(kStepPrefix);
  const char* end = name.data() + name.size();
  int64_t step = 0;
  const auto [stop, error] = std::from_chars(begin, end, step);
  if (error != std::errc() || stop != end || StepFolderName(step) != name) return std::nullopt;
  return step;
}

Result<std::vector<std::string>> NamesIn(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
    names.push_back(it->path().filename().string());
  if (error == std::errc::no_such_file_or_directory) return std::vector<std::string>{};
  if (error) return IoError("{}: cannot list the folder: {}", folder, error.message());
  std::sort(names.begin(), names.end());
  return names;
}

Status RemoveFolder(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) return IoError("{}: cannot remove the folder: {}", path, error.message());
  return Status::Ok();
}

// A folder is taken away under a temporary name first, so that a kill in between leaves no torn checkpoint.
Status RemoveCheckpoint(const std::string& folder, const CheckpointInfo& checkpoint) {
  const std::string aside = fmt::format("{}/{}removed-{}", folder, kTemporaryPrefix, StepFolderName(checkpoint.step));
  std::error_code error;
  fs::rename(checkpoint.path, aside, error);
  if (error) return IoError("{}: cannot remove the folder: {}", checkpoint.path, error.message());
  return RemoveFolder(aside);
}

}  // namespace

std::string StepFolderName(int64_t step) { return fmt::format("{}{:09}", kStepPrefix, step); }

Result<std::vector<CheckpointInfo>> ListCheckpoints(const std::string& folder) {
  SLUICE_ASSIGN_OR_RETURN(const std::vector<std::string> names, NamesIn(folder));
  std::vector<CheckpointInfo> checkpoints;
  for (const std::string& name : names) {
    const std::optional<int64_t> step = StepOf(name);
    if (!step) continue;
    const std::string path = folder + "/" + name;
    const auto reader = CheckpointReader::Open(path);
    if (!reader.ok()) {
      SLUICE_WARN("passing over a checkpoint that is not whole: {}", reader.status().message());
    } else if (reader.value()->manifest().step != *step) {
      SLUICE_WARN("passing over {}: its manifest is of step {}", path, reader.value()->manifest().step);
    } else {
      checkpoints.push_back({*step, path});
    }
  }
  std::sort(checkpoints.begin(), checkpoints.end(), [](const auto& a, const auto& b) { return a.step < b.step; });
  return checkpoints;
}

Result<std::optional<CheckpointInfo>> LatestCheckpoint(const std::string& folder) {
  SLUICE_ASSIGN_OR_RETURN(std::vector<CheckpointInfo> checkpoints, ListCheckpoints(folder));
  if (checkpoints.empty()) return std::optional<CheckpointInfo>{};
  return std::optional(checkpoints.back());
}

Result<std::string> FindCheckpoint(const std::string& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return NotFound("{}: no such folder", path);
  if (!fs::is_directory(path, ignored)) return NotFound("{}: is a file; a checkpoint is a folder", path);
  if (fs::exists(path + "/" + kManifestName, ignored) || StepOf(fs::path(path).filename().string())) {
    const auto reader = CheckpointReader::Open(path);
    return reader.ok() ? Result<std::string>(path) : reader.status();
  }
  for (const std::string& folder : {path + "/checkpoints", path}) {
    SLUICE_ASSIGN_OR_RETURN(const auto latest, LatestCheckpoint(folder));
    if (latest) return latest->path;
  }
  return NotFound("{}: neither a checkpoint, nor a folder of checkpoints, nor a run folder with checkpoints in it", path);
}

Status KeepLast(const std::string& folder, int64_t keep) {
  if (keep <= 0) return Status::Ok();
  SLUICE_ASSIGN_OR_RETURN(const auto checkpoints, ListCheckpoints(folder));
  for (size_t i = 0; i + static_cast<size_t>(keep) < checkpoints.size(); ++i)
    SLUICE_RETURN_IF_ERROR(RemoveCheckpoint(folder, checkpoints[i]));
  return Status::Ok();
}

Status RemoveLeftovers(const std::string& folder) {
  SLUICE_ASSIGN_OR_RETURN(const std::vector<std::string> names, NamesIn(folder));
  for (const std::string& name : names) {
    if (!name.starts_with(kTemporaryPrefix)) continue;
    const std::string path = folder + "/" + name;
    const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) continue;  // not a folder, hence not ours
    const bool free = ::flock(fd, LOCK_EX | LOCK_NB) == 0;
    const Status status = free ? RemoveFolder(path) : Status::Ok();
    ::close(fd);
    SLUICE_RETURN_IF_ERROR(status);
  }
  return Status::Ok();
}

}  // namespace sluice::checkpoint
