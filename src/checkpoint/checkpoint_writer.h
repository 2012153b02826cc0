#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/sections.h"
#include "base/status.h"
#include "checkpoint/manifest.h"

namespace sluice::checkpoint {

// Writes the checkpoint folder `<folder>/step-000000123`: beside it first, as `.tmp-step-000000123-<process>`, every file
// synced, the manifest last, then one rename. Whatever interrupts it, a folder with the final name is whole.
// Semantics    without a successful Commit the destructor removes what was written. A checkpoint of the same step that is
//              there already is exchanged for the new one in one system call.
// Threads      OpenFile may be called from several threads; each writer that it returns serves one thread at a time.
//              Commit after all of them have ended their sections.
// Errors       kIo naming the file (disk full, permission). The checkpoints that are there stay as they are.
// Cost         one pass over the bytes with xxh3; one sync per file and two of folders.
class CheckpointWriter {
 public:
  // Makes `folder` where it is missing.
  static Result<std::unique_ptr<CheckpointWriter>> Create(const std::string& folder, int64_t step);
  // Adds files to the checkpoint that another writer, perhaps of another process, has created: its temporary_path(). Ends
  // with FinishFiles, never with Commit; the folder belongs to the other.
  static std::unique_ptr<CheckpointWriter> Join(const std::string& temporary_path, int64_t step);
  const std::string& temporary_path() const { return temporary_path_; }
  ~CheckpointWriter();
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  // A writer of sections into a new file of this checkpoint, `<name>.bin`; it belongs to this object. Names of sections
  // are unique within the checkpoint, names of files too.
  Result<SectionWriter*> OpenFile(const std::string& name);

  // Of a writer that joined: syncs its files. Returns their sections as text, for AddSections of the one that commits.
  Result<std::string> FinishFiles();
  // Errors: kDataLoss where the text is damaged or names a section twice.
  Status AddSections(const std::string& text);

  // Writes the manifest with `values` and renames. Returns the checkpoint's path. Called once.
  Result<std::string> Commit(const std::map<std::string, std::string>& values);

 private:
  class File;
  CheckpointWriter(std::string folder, int64_t step);
  Status WriteFiles(const std::map<std::string, std::string>& values);
  Status MoveIntoPlace();

  std::string folder_, final_path_, temporary_path_;
  int64_t step_;
  bool joined_ = false;
  Manifest added_;   // sections of writers that joined
  int lock_fd_ = -1;  // locks the temporary folder while this writer lives
  std::mutex mutex_;
  std::vector<std::unique_ptr<File>> files_;
};

}  // namespace sluice::checkpoint
