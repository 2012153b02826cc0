#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

namespace sluice {
namespace {

constexpr size_t kBufferBytes = size_t{1} << 20;

Status SystemError(const std::string& path, const char* what, int error) {
  return IoError("{}: cannot {}: {}", path, what, std::strerror(error));
}

}  // namespace

FileWriter::~FileWriter() {
  if (fd_ < 0) return;
  (void)Flush();  // a caller that cares for the outcome calls Finish
  ::close(fd_);
}

Status FileWriter::Fail(const char* what) {
  status_ = SystemError(path_, what, errno);
  return status_;
}

Status FileWriter::Open(const std::string& path, bool append) {
  SLUICE_CHECK(fd_ < 0, "{} is open already", path_);
  path_ = path;
  status_ = Status::Ok();
  used_ = 0;
  bytes_written_ = 0;
  fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | (append ? O_APPEND : O_TRUNC), 0666);
  if (fd_ < 0) return Fail("create");
  if (!buffer_) buffer_ = std::make_unique_for_overwrite<std::byte[]>(kBufferBytes);
  return Status::Ok();
}

Status FileWriter::WriteFully(const std::byte* data, size_t size) {
  while (size > 0) {
    const ssize_t n = ::write(fd_, data, size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Fail("write");
    data += n;
    size -= static_cast<size_t>(n);
  }
  return Status::Ok();
}

Status FileWriter::Write(std::span<const std::byte> bytes) {
  SLUICE_RETURN_IF_ERROR(status_);
  SLUICE_CHECK(fd_ >= 0, "{} is not open", path_);
  bytes_written_ += static_cast<int64_t>(bytes.size());
  if (used_ + bytes.size() > kBufferBytes) SLUICE_RETURN_IF_ERROR(Flush());
  if (bytes.size() >= kBufferBytes) return WriteFully(bytes.data(), bytes.size());
  if (!bytes.empty()) std::memcpy(buffer_.get() + used_, bytes.data(), bytes.size());
  used_ += bytes.size();
  return Status::Ok();
}

Status FileWriter::Flush() {
  SLUICE_RETURN_IF_ERROR(status_);
  return WriteFully(buffer_.get(), std::exchange(used_, 0));
}

Status FileWriter::Finish(bool sync) {
  SLUICE_RETURN_IF_ERROR(Flush());
  // A device or a pipe cannot be synced and need not be.
  if (sync && ::fsync(fd_) != 0 && errno != EINVAL && errno != ENOTSUP) return Fail("sync");
  if (::close(std::exchange(fd_, -1)) != 0) return Fail("close");
  return Status::Ok();
}

FileReader::~FileReader() {
  if (fd_ >= 0) ::close(fd_);
}

FileReader::FileReader(FileReader&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)), size_(other.size_) {}

FileReader& FileReader::operator=(FileReader&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  std::swap(size_, other.size_);
  return *this;
}

Result<FileReader> FileReader::Open(const std::string& path) {
  FileReader file;
  file.path_ = path;
  file.fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file.fd_ < 0 && errno == ENOENT) return NotFound("{}: no such file", path);
  if (file.fd_ < 0) return SystemError(path, "open", errno);
  struct stat info;
  if (::fstat(file.fd_, &info) != 0) return SystemError(path, "stat", errno);
  if (S_ISDIR(info.st_mode)) return IoError("{}: is a folder, a file was expected", path);
  file.size_ = info.st_size;
  return file;
}

Status FileReader::ReadAt(int64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const ssize_t n = ::pread(fd_, out.data(), out.size(), offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return SystemError(path_, "read", errno);
    if (n == 0) return DataLoss("{}: ends at byte {}, {} more were expected", path_, offset, out.size());
    out = out.subspan(static_cast<size_t>(n));
    offset += n;
  }
  return Status::Ok();
}

Result<std::string> ReadWholeFile(const std::string& path) {
  SLUICE_ASSIGN_OR_RETURN(FileReader file, FileReader::Open(path));
  std::string content(static_cast<size_t>(file.size()), '\0');
  SLUICE_RETURN_IF_ERROR(file.ReadAt(0, std::as_writable_bytes(std::span(content.data(), content.size()))));
  return content;
}

WritePlace::WritePlace(const std::string& path) : target(path) {
  std::error_code error;
  if (std::filesystem::is_symlink(path, error)) {
    const std::filesystem::path followed = std::filesystem::canonical(path, error);
    if (!error) target = followed.string();
  }
  struct stat info;
  const bool special = ::stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode);
  if (special) target = path;  // what lies behind /dev/stdout has no other name where it is a pipe
  beside = special ? target : target + ".tmp-" + std::to_string(::getpid());
}

Status WritePlace::Commit() const {
  if (!in_place() && ::rename(beside.c_str(), target.c_str()) != 0) return SystemError(target, "rename to", errno);
  return Status::Ok();
}

void WritePlace::Discard() const {
  if (!in_place()) ::unlink(beside.c_str());
}

Status WriteFileAtomically(const std::string& path, std::string_view content) {
  const WritePlace place(path);
  FileWriter writer;
  Status status = writer.Open(place.beside);
  if (status.ok()) status = writer.Write(content);
  if (status.ok()) status = writer.Finish();
  if (status.ok()) status = place.Commit();
  if (!status.ok()) place.Discard();
  return status;
}

Status MakeFolders(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return IoError("{}: cannot make the folder: {}", path, error.message());
  return Status::Ok();
}

Status SyncFolder(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return SystemError(path, "open", errno);
  const int result = ::fsync(fd);
  const int error = errno;
  ::close(fd);
  // Some file systems cannot sync a folder; there a rename is as durable as it gets.
  if (result != 0 && error != EINVAL && error != ENOTSUP) return SystemError(path, "sync", error);
  return Status::Ok();
}

}  // namespace sluice
