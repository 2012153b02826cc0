#include "checkpoint/checkpoint_writer.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include <fmt/format.h>
#include <xxhash.h>

#include "base/file.h"
#include "base/simd.h"
#include "base/version.h"
#include "checkpoint/checkpoint_folder.h"

namespace sluice::checkpoint {

// One file of sections, one after another.
class CheckpointWriter::File : public SectionWriter {
 public:
  File(std::string name, XXH3_state_t* state) : name_(std::move(name)), state_(state) {}
  ~File() override { XXH3_freeState(state_); }

  Status Open(const std::string& folder) { return file_.Open(folder + "/" + name_); }

  Status Begin(const std::string& name) override {
    SLUICE_CHECK(section_.empty(), "section {} begins within section {}", name, section_);
    SLUICE_CHECK(!name.empty(), "a section without a name");
    section_ = name;
    begin_ = file_.bytes_written();
    XXH3_64bits_reset(state_);
    return Status::Ok();
  }
  Status Write(std::span<const std::byte> bytes) override {
    SLUICE_CHECK(!section_.empty(), "bytes outside of a section");
    XXH3_64bits_update(state_, bytes.data(), bytes.size());
    return file_.Write(bytes);
  }
  Status End() override {
    SLUICE_CHECK(!section_.empty(), "no section to end");
    const SectionInfo info{name_, begin_, file_.bytes_written() - begin_, XXH3_64bits_digest(state_)};
    sections_.emplace_back(std::exchange(section_, {}), info);
    return Status::Ok();
  }

  // Syncs, closes, and adds the sections to the manifest.
  Status Finish(Manifest* manifest) {
    SLUICE_RETURN_IF_ERROR(file_.Finish());
    SLUICE_CHECK(section_.empty(), "section {} has no end", section_);
    for (auto& [name, info] : sections_)
      SLUICE_CHECK(manifest->sections.emplace(name, info).second, "two sections named {}", name);
    return Status::Ok();
  }
  const std::string& name() const { return name_; }

 private:
  std::string name_;
  XXH3_state_t* state_;
  FileWriter file_;
  std::string section_;
  int64_t begin_ = 0;
  std::vector<std::pair<std::string, SectionInfo>> sections_;
};

CheckpointWriter::CheckpointWriter(std::string folder, int64_t step)
    : folder_(std::move(folder)),
      final_path_(folder_ + "/" + StepFolderName(step)),
      temporary_path_(fmt::format("{}/{}{}-{}", folder_, kTemporaryPrefix, StepFolderName(step), ::getpid())),
      step_(step) {}

CheckpointWriter::~CheckpointWriter() {
  files_.clear();
  if (joined_) return;
  std::error_code ignored;  // what cannot be removed now is removed on the next start
  std::filesystem::remove_all(temporary_path_, ignored);
  if (lock_fd_ >= 0) ::close(lock_fd_);
}

Result<std::unique_ptr<CheckpointWriter>> CheckpointWriter::Create(const std::string& folder, int64_t step) {
  SLUICE_RETURN_IF_ERROR(MakeFolders(folder));
  std::unique_ptr<CheckpointWriter> writer(new CheckpointWriter(folder, step));
  const std::string& path = writer->temporary_path_;
  std::error_code error;
  std::filesystem::remove_all(path, error);
  std::filesystem::create_directory(path, error);
  if (error) return IoError("{}: cannot make the folder: {}", path, error.message());
  writer->lock_fd_ = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  // Without locks (some network file systems) a concurrent start may take this folder for a leftover; with one process per
  // run folder nothing does.
  if (writer->lock_fd_ >= 0) ::flock(writer->lock_fd_, LOCK_EX | LOCK_NB);
  return writer;
}

std::unique_ptr<CheckpointWriter> CheckpointWriter::Join(const std::string& temporary_path, int64_t step) {
  std::unique_ptr<CheckpointWriter> writer(new CheckpointWriter("", step));
  writer->temporary_path_ = temporary_path;
  writer->joined_ = true;
  return writer;
}

Result<std::string> CheckpointWriter::FinishFiles() {
  SLUICE_CHECK(joined_, "the writer that made the folder commits");
  Manifest manifest;
  manifest.step = step_;
  for (const auto& file : files_) SLUICE_RETURN_IF_ERROR(file->Finish(&manifest));
  return SerialiseManifest(manifest);
}

Status CheckpointWriter::AddSections(const std::string& text) {
  SLUICE_ASSIGN_OR_RETURN(const Manifest manifest, ParseManifest(text, temporary_path_));
  for (const auto& [name, info] : manifest.sections)
    if (!added_.sections.emplace(name, info).second) return DataLoss("{}: two sections named {}", temporary_path_, name);
  return Status::Ok();
}

Result<SectionWriter*> CheckpointWriter::OpenFile(const std::string& name) {
  auto file = std::make_unique<File>(name + ".bin", XXH3_createState());
  {
    const std::lock_guard lock(mutex_);
    for (const auto& other : files_) SLUICE_CHECK(other->name() != file->name(), "two files named {}", file->name());
  }
  SLUICE_RETURN_IF_ERROR(file->Open(temporary_path_));
  const std::lock_guard lock(mutex_);
  return files_.emplace_back(std::move(file)).get();
}

Status CheckpointWriter::WriteFiles(const std::map<std::string, std::string>& values) {
  Manifest manifest;
  manifest.sluice_version = kVersion;
  manifest.processor = ProcessorName();
  manifest.step = step_;
  manifest.values = values;
  manifest.sections = added_.sections;
  for (const auto& file : files_) SLUICE_RETURN_IF_ERROR(file->Finish(&manifest));
  FileWriter writer;
  SLUICE_RETURN_IF_ERROR(writer.Open(temporary_path_ + "/" + kManifestName));
  SLUICE_RETURN_IF_ERROR(writer.Write(SerialiseManifest(manifest)));
  SLUICE_RETURN_IF_ERROR(writer.Finish());
  return SyncFolder(temporary_path_);
}

Status CheckpointWriter::MoveIntoPlace() {
  const char* from = temporary_path_.c_str();
  const char* to = final_path_.c_str();
  if (::rename(from, to) == 0) return SyncFolder(folder_);
  if (errno == EEXIST || errno == ENOTEMPTY) {
    // Afterwards the temporary name holds the older checkpoint, which the destructor removes.
    if (::renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_EXCHANGE) == 0) return SyncFolder(folder_);
    if (errno == EINVAL || errno == ENOSYS) {
      std::error_code error;
      std::filesystem::remove_all(final_path_, error);
      if (::rename(from, to) == 0) return SyncFolder(folder_);
    }
  }
  return IoError("{}: cannot rename the finished checkpoint to it: {}", final_path_, std::strerror(errno));
}

Result<std::string> CheckpointWriter::Commit(const std::map<std::string, std::string>& values) {
  SLUICE_RETURN_IF_ERROR(WriteFiles(values));
  SLUICE_RETURN_IF_ERROR(MoveIntoPlace());
  return final_path_;
}

}  // namespace sluice::checkpoint
