#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/status.h"

namespace sluice::checkpoint {

enum class DType { kF32, kF64, kBf16, kU32, kI64, kU64 };

int64_t SizeOf(DType dtype);
const char* DTypeName(DType dtype);  // as safetensors spells it: "F32", ...

// A tensor of a safetensors file: name, element type, shape; row-major.
struct TensorInfo {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;

  int64_t num_elements() const;
  int64_t size_bytes() const { return num_elements() * SizeOf(dtype); }
};

// Writes a safetensors file of tensors that may be larger than memory: names and shapes are declared first, then the
// bytes of each tensor are appended piece by piece, the tensors in any interleaving, so that one pass over a table fills
// its keys and its weights.
// Memory       256 KiB per tensor.
// Semantics    written beside `path` and renamed by Finish; until then, and on failure, nothing lies at `path` that was not
//              there before.
// Threads      one at a time.
// Errors       kIo naming the file (disk full, permission); kInvalidArgument for two tensors of one name.
class SafetensorsWriter {
 public:
  static Result<std::unique_ptr<SafetensorsWriter>> Create(const std::string& path, std::vector<TensorInfo> tensors,
                                                           const std::map<std::string, std::string>& metadata = {});
  ~SafetensorsWriter();
  SafetensorsWriter(const SafetensorsWriter&) = delete;
  SafetensorsWriter& operator=(const SafetensorsWriter&) = delete;

  // The next bytes of tensor `index`, as declared. REQUIRES: they fit in it.
  Status Append(size_t index, std::span<const std::byte> bytes);
  template <class T>
  Status Append(size_t index, std::span<const T> values) {
    return Append(index, std::as_bytes(values));
  }

  // REQUIRES: every tensor is filled.
  Status Finish();

 private:
  struct Part {
    int64_t at = 0, end = 0;         // in the file; `at` is where the buffer goes
    std::vector<std::byte> buffer;
  };

  SafetensorsWriter(std::string path, std::vector<TensorInfo> tensors);
  Status WriteAt(int64_t offset, std::span<const std::byte> bytes);
  Status Flush(Part* part);

  std::string path_;
  WritePlace place_;
  std::vector<TensorInfo> tensors_;
  std::vector<Part> parts_;
  int fd_ = -1;
};

}  // namespace sluice::checkpoint
