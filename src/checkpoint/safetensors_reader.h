#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/status.h"
#include "checkpoint/safetensors_writer.h"

namespace sluice::checkpoint {

// A tensor and where its bytes lie after the header.
struct StoredTensor {
  TensorInfo info;
  int64_t begin = 0, end = 0;
};

struct SafetensorsHeader {
  std::map<std::string, StoredTensor> tensors;
  std::map<std::string, std::string> metadata;
};

// Parses the header's JSON; `data_size` bytes follow it. Errors: kDataLoss naming `path`, the tensor and what is wrong.
Result<SafetensorsHeader> ParseSafetensorsHeader(std::string_view json, int64_t data_size, const std::string& path);

// Reads a safetensors file tensor by tensor.
// Threads      const calls may overlap.
// Errors       kNotFound naming file or tensor; kDataLoss where the file is damaged; kIo.
class SafetensorsReader {
 public:
  static Result<SafetensorsReader> Open(const std::string& path);

  const SafetensorsHeader& header() const { return header_; }
  Result<std::vector<std::byte>> Read(const std::string& tensor) const;

 private:
  FileReader file_;
  int64_t data_begin_ = 0;
  SafetensorsHeader header_;
};

}  // namespace sluice::checkpoint
