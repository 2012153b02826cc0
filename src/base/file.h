#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"

namespace sluice {

// A file written front to back through a buffer.
// Semantics    a file that already lies at `path` is cut to nothing, or goes on where `append`. Closing without Finish
//              leaves what was written.
// Threads      one at a time.
// Errors       kIo naming the file and the system's reason (disk full, permission); after one, every call fails with it.
class FileWriter {
 public:
  FileWriter() = default;
  ~FileWriter();
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;

  Status Open(const std::string& path, bool append = false);
  Status Write(std::span<const std::byte> bytes);
  Status Write(std::string_view text) { return Write(std::as_bytes(std::span(text.data(), text.size()))); }
  // Hands the buffer to the system, so that another process sees it.
  Status Flush();
  // Flush, wait until the bytes are on the device where `sync`, and close.
  Status Finish(bool sync = true);

  const std::string& path() const { return path_; }
  int64_t bytes_written() const { return bytes_written_; }

 private:
  Status Fail(const char* what);
  Status WriteFully(const std::byte* data, size_t size);

  std::string path_;
  int fd_ = -1;
  std::unique_ptr<std::byte[]> buffer_;
  size_t used_ = 0;
  int64_t bytes_written_ = 0;
  Status status_;
};

// A file open for reading at any offset.
// Threads      ReadAt may be called from several threads at once.
class FileReader {
 public:
  FileReader() = default;
  ~FileReader();
  FileReader(FileReader&& other) noexcept;
  FileReader& operator=(FileReader&& other) noexcept;

  // Errors: kNotFound where there is no such file, kIo otherwise (a folder included).
  static Result<FileReader> Open(const std::string& path);

  int64_t size() const { return size_; }
  const std::string& path() const { return path_; }
  // Fills `out`. Errors: kDataLoss where the file ends before, kIo.
  Status ReadAt(int64_t offset, std::span<std::byte> out) const;

 private:
  std::string path_;
  int fd_ = -1;
  int64_t size_ = 0;
};

// The whole of a small file. Errors: as FileReader.
Result<std::string> ReadWholeFile(const std::string& path);

// Where to write what is to become `path`, so that a reader sees the old file or the new one, never a part.
struct WritePlace {
  std::string target;   // `path` with its links followed
  std::string beside;   // what to write and then rename; `target` itself where that is a device or a pipe

  explicit WritePlace(const std::string& path);
  bool in_place() const { return beside == target; }
  // Renames what was written. Errors: kIo.
  Status Commit() const;
  // Removes what was written.
  void Discard() const;
};

// Writes beside `path` and renames: a reader sees the old file or the new one, never a part.
Status WriteFileAtomically(const std::string& path, std::string_view content);

// Makes the folder and those above it. Errors: kIo naming the folder.
Status MakeFolders(const std::string& path);

// Waits until the names in a folder are on the device, so that a rename survives a power cut.
Status SyncFolder(const std::string& path);

}  // namespace sluice
