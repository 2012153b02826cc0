#include "metric/spill_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace sluice::metric {

Result<std::shared_ptr<SpillFile>> SpillFile::Create(const std::string& folder) {
  std::string name = folder + "/sluice-sort-XXXXXX";
  const int fd = ::mkostemp(name.data(), O_CLOEXEC);
  if (fd < 0) return IoError("{}: cannot make a temporary file: {}", folder, std::strerror(errno));
  ::unlink(name.c_str());
  return std::shared_ptr<SpillFile>(new SpillFile(fd, folder));
}

SpillFile::~SpillFile() { ::close(fd_); }

Status SpillFile::Append(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), size_);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return IoError("temporary file in {}: cannot write: {}", folder_, std::strerror(errno));
    bytes = bytes.subspan(static_cast<size_t>(n));
    size_ += n;
  }
  return Status::Ok();
}

Status SpillFile::ReadAt(int64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const ssize_t n = ::pread(fd_, out.data(), out.size(), offset);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return IoError("temporary file in {}: cannot read: {}", folder_, n < 0 ? std::strerror(errno) : "cut short");
    out = out.subspan(static_cast<size_t>(n));
    offset += n;
  }
  return Status::Ok();
}

}  // namespace sluice::metric
