#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/status.h"

namespace sluice::telemetry {

// A TensorBoard event file of scalars: records of the TFRecord format, each an Event message, written by hand since the
// messages have five fields.
// Threads      one at a time.
// Errors       kIo naming the file.
class EventFile {
 public:
  // Makes a new file in `folder`. Where a run goes on after `resume_step` >= 0, TensorBoard is told to forget what older
  // files say of later steps.
  Status Open(const std::string& folder, int64_t resume_step = -1);
  bool is_open() const { return open_; }
  // Values that are not finite are left out.
  Status Write(int64_t step, const std::string& prefix, const std::vector<std::pair<std::string, double>>& values);
  Status Close();

 private:
  Status WriteRecord(std::string_view message);

  FileWriter file_;
  bool open_ = false;
};

// CRC-32C (Castagnoli) of the bytes.
uint32_t Crc32c(std::string_view bytes);

}  // namespace sluice::telemetry
