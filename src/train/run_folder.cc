#include "train/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <sstream>
#include <utility>
#include <vector>

#include <fmt/chrono.h>
#include <fmt/format.h>

#include "base/file.h"
#include "checkpoint/checkpoint_folder.h"
#include "config/reader.h"
#include "config/writer.h"

namespace sluice::train {
namespace {

namespace fs = std::filesystem;

// The configuration with everything that may differ between the parts of one run set to defaults.
RunConfig Semantic(RunConfig config) {
  const RunConfig defaults;
  config.name = defaults.name;
  config.threads = defaults.threads;
  config.huge_pages = defaults.huge_pages;
  config.log = defaults.log;
  config.strategy = defaults.strategy;
  config.service = defaults.service;
  config.bench = defaults.bench;
  config.checkpoint = defaults.checkpoint;
  config.train.epochs = defaults.train.epochs;
  config.train.max_steps = defaults.train.max_steps;
  config.train.overlap = defaults.train.overlap;
  config.train.queue_depth = defaults.train.queue_depth;
  config.data.reader_threads = defaults.data.reader_threads;
  return config;
}

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

// What a process that was killed had begun to write beside a file of the run.
bool IsLeftover(const std::string& name) {
  return name.starts_with("config.yaml.tmp-") || name.starts_with("metrics.json.tmp-") ||
         name.starts_with("train.jsonl.tmp-");
}

// Whoever holds the folder's lock may take them away.
void RemoveLeftoverFiles(const std::string& path) {
  std::error_code error;
  std::vector<fs::path> leftovers;
  for (const fs::directory_entry& entry : fs::directory_iterator(path, error))
    if (IsLeftover(entry.path().filename().string())) leftovers.push_back(entry.path());
  for (const fs::path& leftover : leftovers) fs::remove(leftover, error);
}

// Whether the folder holds nothing, or only the config.yaml that a killed process had begun to write, or folders of
// parameter servers that came before the first one.
bool IsEmptyFolder(const std::string& path) {
  std::error_code error;
  return std::all_of(fs::directory_iterator(path, error), fs::directory_iterator(),
                     [](const fs::directory_entry& entry) {
                       const std::string name = entry.path().filename().string();
                       return IsLeftover(name) || name == "servers";
                     });
}

}  // namespace

Result<std::shared_ptr<const FolderLock>> FolderLock::Take(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return IoError("{}: cannot open the folder: {}", path, std::strerror(errno));
  std::shared_ptr<const FolderLock> lock(new FolderLock(fd));
  // A file system without locks cannot tell; all others refuse a second holder.
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    return InvalidArgument("{}: another process trains in this folder; wait for it, or name another folder", path);
  return lock;
}

FolderLock::~FolderLock() { ::close(fd_); }

std::string FirstDifference(const RunConfig& here, const RunConfig& there) {
  const auto a = Lines(config::ToYaml(Semantic(here)));
  const auto b = Lines(config::ToYaml(Semantic(there)));
  const auto trim = [](const std::string& line) {
    return line.substr(std::min(line.size(), line.find_first_not_of(' ')));
  };
  for (size_t i = 0; i < std::max(a.size(), b.size()); ++i) {
    const std::string x = i < a.size() ? trim(a[i]) : "nothing";
    const std::string y = i < b.size() ? trim(b[i]) : "nothing";
    if (x != y) return fmt::format("\"{}\" here, \"{}\" there", x, y);
  }
  return {};
}

Result<RunFolder> OpenRunFolder(const RunConfig& config, const std::string& run_dir) {
  RunFolder folder;
  folder.path = run_dir;
  const std::string& resume = config.checkpoint.resume;
  if (run_dir.empty()) {
    const std::string name = config.name.empty() ? config.model.preset : config.name;
    const std::string stem = fmt::format("runs/{:%Y%m%d-%H%M%S}-{}", fmt::localtime(std::time(nullptr)), name);
    folder.path = stem;
    for (int i = 2; fs::exists(folder.path); ++i) folder.path = fmt::format("{}-{}", stem, i);
  }
  if (resume != "auto" && resume != "never") {
    SLUICE_ASSIGN_OR_RETURN(folder.resume_from, checkpoint::FindCheckpoint(resume));
  }
  std::error_code error;
  if (fs::exists(folder.path, error) && !fs::is_directory(folder.path, error))
    return IoError("{}: is a file, not a run folder", folder.path);
  const bool existed = fs::exists(folder.path, error);
  SLUICE_RETURN_IF_ERROR(MakeFolders(folder.path));
  SLUICE_ASSIGN_OR_RETURN(folder.lock, FolderLock::Take(folder.path));
  if (existed && !IsEmptyFolder(folder.path)) {
    const std::string old_config = folder.File("config.yaml");
    if (!fs::exists(old_config, error))
      return InvalidArgument("{}: holds files but no run; name an empty or new folder", folder.path);
    if (resume == "never")
      return InvalidArgument("{}: holds a run already, and checkpoint.resume is never; name another folder",
                             folder.path);
    if (resume == "auto") {
      RunConfig old;
      SLUICE_RETURN_IF_ERROR(config::ReadFile(old_config, {}, &old));
      const std::string difference = FirstDifference(config, old);
      if (!difference.empty())
        return InvalidArgument(
            "{}: holds a run with other settings ({}); name another folder, or its checkpoint in "
            "checkpoint.resume",
            folder.path, difference);
      RemoveLeftoverFiles(folder.path);
      SLUICE_RETURN_IF_ERROR(checkpoint::RemoveLeftovers(folder.checkpoints()));
      SLUICE_ASSIGN_OR_RETURN(const auto latest, checkpoint::LatestCheckpoint(folder.checkpoints()));
      if (latest) folder.resume_from = latest->path;
    }
  }
  return folder;
}

}  // namespace sluice::train
