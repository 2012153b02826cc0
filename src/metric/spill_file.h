#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/status.h"

namespace sluice::metric {

// A temporary file without a name: it vanishes when it is closed or the process ends.
// Threads      one at a time.
class SpillFile {
 public:
  static Result<std::shared_ptr<SpillFile>> Create(const std::string& folder);
  ~SpillFile();
  SpillFile(const SpillFile&) = delete;
  SpillFile& operator=(const SpillFile&) = delete;

  int64_t size() const { return size_; }
  Status Append(std::span<const std::byte> bytes);
  Status ReadAt(int64_t offset, std::span<std::byte> out) const;

 private:
  SpillFile(int fd, std::string folder) : fd_(fd), folder_(std::move(folder)) {}

  int fd_;
  std::string folder_;
  int64_t size_ = 0;
};

}  // namespace sluice::metric
