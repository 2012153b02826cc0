#include "data/byte_input.h"

#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace sluice::data {
namespace {

constexpr size_t kCompressedChunk = 1 << 17;

// Owns a file descriptor; standard input is not closed.
class File {
 public:
  File(int fd, const std::atomic<bool>* cancel) : fd_(fd), cancel_(cancel) {}
  ~File() {
    if (fd_ > STDERR_FILENO) ::close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int fd() const { return fd_; }

  // Up to `size` bytes, fewer only at the end.
  Result<size_t> Read(const std::string& path, char* out, size_t size) {
    size_t done = 0;
    while (done < size) {
      if (cancel_ != nullptr) SLUICE_RETURN_IF_ERROR(WaitForBytes(path));
      const ssize_t n = ::read(fd_, out + done, size - done);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return IoError("{}: cannot read: {}", path, std::strerror(errno));
      if (n == 0) break;
      done += static_cast<size_t>(n);
    }
    return done;
  }

 private:
  Status WaitForBytes(const std::string& path) const {
    struct pollfd waiting = {fd_, POLLIN, 0};
    while (::poll(&waiting, 1, 100) <= 0)
      if (cancel_->load()) return {StatusCode::kCancelled, path + ": reading was cancelled"};
    return Status::Ok();
  }

  int fd_;
  const std::atomic<bool>* cancel_;  // null: reads do not wait for long
};

// Bytes as they are, after a head that was already read to tell the format.
class PlainInput : public ByteInput {
 public:
  PlainInput(std::string path, std::unique_ptr<File> file, std::string head, bool seekable)
      : ByteInput(std::move(path)), file_(std::move(file)), head_(std::move(head)), seekable_(seekable) {}

  Result<size_t> Read(char* out, size_t size) override {
    size_t done = 0;
    if (head_used_ < head_.size()) {
      done = std::min(size, head_.size() - head_used_);
      std::memcpy(out, head_.data() + head_used_, done);
      head_used_ += done;
    }
    SLUICE_ASSIGN_OR_RETURN(const size_t more, file_->Read(path_, out + done, size - done));
    offset_ += static_cast<int64_t>(done + more);
    return done + more;
  }

  Status SkipTo(int64_t offset) override {
    if (!seekable_) return ByteInput::SkipTo(offset);
    struct stat info;
    if (::fstat(file_->fd(), &info) != 0 || info.st_size < offset)
      return DataLoss("{}: is shorter than the position to continue from, {} bytes", path_, offset);
    if (::lseek(file_->fd(), offset, SEEK_SET) < 0) return IoError("{}: cannot seek: {}", path_, std::strerror(errno));
    head_used_ = head_.size();
    offset_ = offset;
    return Status::Ok();
  }

 private:
  std::unique_ptr<File> file_;
  std::string head_;
  size_t head_used_ = 0;
  bool seekable_;
};

class GzipInput : public ByteInput {
 public:
  GzipInput(std::string path, std::unique_ptr<File> file, std::string head)
      : ByteInput(std::move(path)), file_(std::move(file)), buffer_(kCompressedChunk) {
    std::memcpy(buffer_.data(), head.data(), head.size());
    stream_.next_in = reinterpret_cast<Bytef*>(buffer_.data());
    stream_.avail_in = static_cast<uInt>(head.size());
    compressed_bytes_ = static_cast<int64_t>(head.size());
    inflateInit2(&stream_, 15 + 16);
  }
  ~GzipInput() override { inflateEnd(&stream_); }

  Result<size_t> Read(char* out, size_t size) override {
    stream_.next_out = reinterpret_cast<Bytef*>(out);
    stream_.avail_out = static_cast<uInt>(std::min<size_t>(size, 1u << 30));
    const size_t wanted = stream_.avail_out;
    while (stream_.avail_out > 0) {
      if (stream_.avail_in == 0) {
        SLUICE_ASSIGN_OR_RETURN(const size_t n, file_->Read(path_, buffer_.data(), buffer_.size()));
        stream_.next_in = reinterpret_cast<Bytef*>(buffer_.data());
        stream_.avail_in = static_cast<uInt>(n);
        compressed_bytes_ += static_cast<int64_t>(n);
        if (n == 0) {
          if (between_members_) break;
          return DataLoss("{}: gzip data is cut short after {} compressed bytes", path_, compressed_bytes_);
        }
      }
      if (between_members_) inflateReset(&stream_);  // gzip files may be several members one after another
      between_members_ = false;
      const int code = inflate(&stream_, Z_NO_FLUSH);
      if (code == Z_STREAM_END) {
        between_members_ = true;
      } else if (code != Z_OK && code != Z_BUF_ERROR) {
        return DataLoss("{}: damaged gzip data near compressed byte {}: {}", path_,
                        compressed_bytes_ - stream_.avail_in, stream_.msg ? stream_.msg : "unknown error");
      }
    }
    const size_t done = wanted - stream_.avail_out;
    offset_ += static_cast<int64_t>(done);
    return done;
  }

 private:
  std::unique_ptr<File> file_;
  std::vector<char> buffer_;
  z_stream stream_ = {};
  int64_t compressed_bytes_ = 0;
  bool between_members_ = false;
};

class ZstdInput : public ByteInput {
 public:
  ZstdInput(std::string path, std::unique_ptr<File> file, std::string head)
      : ByteInput(std::move(path)), file_(std::move(file)), buffer_(kCompressedChunk), stream_(ZSTD_createDStream()) {
    std::memcpy(buffer_.data(), head.data(), head.size());
    in_ = {buffer_.data(), head.size(), 0};
    compressed_bytes_ = static_cast<int64_t>(head.size());
  }
  ~ZstdInput() override { ZSTD_freeDStream(stream_); }

  Result<size_t> Read(char* out, size_t size) override {
    ZSTD_outBuffer target = {out, size, 0};
    while (target.pos < size) {
      if (in_.pos == in_.size && !flush_pending_) {
        SLUICE_ASSIGN_OR_RETURN(const size_t n, file_->Read(path_, buffer_.data(), buffer_.size()));
        in_ = {buffer_.data(), n, 0};
        compressed_bytes_ += static_cast<int64_t>(n);
        if (n == 0) {
          if (frame_done_) break;
          return DataLoss("{}: zstd data is cut short after {} compressed bytes", path_, compressed_bytes_);
        }
      }
      const size_t code = ZSTD_decompressStream(stream_, &target, &in_);
      if (ZSTD_isError(code)) {
        return DataLoss("{}: damaged zstd data near compressed byte {}: {}", path_,
                        compressed_bytes_ - static_cast<int64_t>(in_.size - in_.pos), ZSTD_getErrorName(code));
      }
      frame_done_ = code == 0;
      flush_pending_ = !frame_done_ && target.pos == size;
    }
    offset_ += static_cast<int64_t>(target.pos);
    return target.pos;
  }

 private:
  std::unique_ptr<File> file_;
  std::vector<char> buffer_;
  ZSTD_DStream* stream_;
  ZSTD_inBuffer in_ = {};
  int64_t compressed_bytes_ = 0;
  bool frame_done_ = true;
  bool flush_pending_ = false;
};

Status CheckRegular(const std::string& path) {
  struct stat info;
  if (::stat(path.c_str(), &info) != 0) {
    if (errno == ENOENT) return NotFound("{}: no such file", path);
    return IoError("{}: {}", path, std::strerror(errno));
  }
  if (S_ISDIR(info.st_mode)) return IoError("{}: is a folder, not a file; name its files or use {}/*", path, path);
  return Status::Ok();
}

}  // namespace

Status ByteInput::SkipTo(int64_t offset) {
  std::vector<char> scratch(1 << 16);
  while (offset_ < offset) {
    const size_t step = static_cast<size_t>(std::min<int64_t>(offset - offset_, static_cast<int64_t>(scratch.size())));
    SLUICE_ASSIGN_OR_RETURN(const size_t n, Read(scratch.data(), step));
    if (n == 0) return DataLoss("{}: is shorter than the position to continue from, {} bytes", path_, offset);
  }
  return Status::Ok();
}

Result<std::unique_ptr<ByteInput>> ByteInput::Open(const std::string& path, const std::atomic<bool>* cancel) {
  int fd = STDIN_FILENO;
  bool seekable = false;
  if (path != "-") {
    SLUICE_RETURN_IF_ERROR(CheckRegular(path));
    fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return IoError("{}: cannot open: {}", path, std::strerror(errno));
    seekable = ::lseek(fd, 0, SEEK_CUR) == 0;
    if (seekable) ::posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
  }
  auto file = std::make_unique<File>(fd, seekable ? nullptr : cancel);
  const std::string name = path == "-" ? "standard input" : path;
  std::string head(4, '\0');
  SLUICE_ASSIGN_OR_RETURN(const size_t n, file->Read(name, head.data(), head.size()));
  head.resize(n);
  std::unique_ptr<ByteInput> input;
  if (n >= 2 && head.compare(0, 2, "\x1f\x8b") == 0) {
    input = std::make_unique<GzipInput>(name, std::move(file), head);
  } else if (n == 4 && head == "\x28\xb5\x2f\xfd") {
    input = std::make_unique<ZstdInput>(name, std::move(file), head);
  } else {
    input = std::make_unique<PlainInput>(name, std::move(file), head, seekable);
  }
  return input;
}

Result<std::vector<std::string>> ExpandFiles(const std::vector<std::string>& patterns) {
  std::vector<std::string> files;
  for (const auto& pattern : patterns) {
    if (pattern == "-" || pattern.find_first_of("*?[") == std::string::npos) {
      if (pattern != "-") SLUICE_RETURN_IF_ERROR(CheckRegular(pattern));
      files.push_back(pattern);
      continue;
    }
    glob_t found = {};
    const int code = ::glob(pattern.c_str(), 0, nullptr, &found);  // sorts
    for (size_t i = 0; code == 0 && i < found.gl_pathc; ++i) files.emplace_back(found.gl_pathv[i]);
    ::globfree(&found);
    if (code == GLOB_NOMATCH) return NotFound("{}: no file matches", pattern);
    if (code != 0) return IoError("{}: cannot list files", pattern);
  }
  return files;
}

Result<int64_t> UncompressedSize(const std::string& path) {
  SLUICE_RETURN_IF_ERROR(CheckRegular(path));
  SLUICE_ASSIGN_OR_RETURN(auto input, ByteInput::Open(path));
  if (dynamic_cast<PlainInput*>(input.get()) != nullptr) {
    struct stat info;
    if (::stat(path.c_str(), &info) != 0) return IoError("{}: {}", path, std::strerror(errno));
    if (S_ISREG(info.st_mode)) return static_cast<int64_t>(info.st_size);
  }
  std::vector<char> scratch(1 << 18);
  for (;;) {
    SLUICE_ASSIGN_OR_RETURN(const size_t n, input->Read(scratch.data(), scratch.size()));
    if (n == 0) return input->offset();
  }
}

}  // namespace sluice::data
