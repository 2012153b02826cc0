#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"

namespace sluice::data {

// A file as a stream of its uncompressed bytes: plain, gzip, zstd (told by the first bytes, not by the name) or "-".
// Threads      one at a time.
// Errors       kNotFound (missing), kIo (folder, permission, read error), kDataLoss naming file and offset (cut or damaged
//              compressed data).
class ByteInput {
 public:
  virtual ~ByteInput() = default;

  // A read that waits for a pipe or a terminal gives up with kCancelled within 0.1 s of *cancel becoming true.
  static Result<std::unique_ptr<ByteInput>> Open(const std::string& path, const std::atomic<bool>* cancel = nullptr);

  // Up to `size` bytes; fewer only at the end, 0 when there are no more.
  virtual Result<size_t> Read(char* out, size_t size) = 0;

  // Moves on to `offset` of the uncompressed stream, at or after the current one; compressed data is read through.
  virtual Status SkipTo(int64_t offset);

  int64_t offset() const { return offset_; }
  const std::string& path() const { return path_; }

 protected:
  explicit ByteInput(std::string path) : path_(std::move(path)) {}
  std::string path_;
  int64_t offset_ = 0;
};

// Files for a list of names and globs, in order; a glob's matches are sorted. "-" stands for itself.
// Errors       kNotFound naming the glob or file; kIo for a folder.
Result<std::vector<std::string>> ExpandFiles(const std::vector<std::string>& patterns);

// Bytes after decompression: the file's size for a plain file, else found by reading it through.
Result<int64_t> UncompressedSize(const std::string& path);

}  // namespace sluice::data
