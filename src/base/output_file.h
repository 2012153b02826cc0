#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/file.h"

namespace sluice {

// Output of a command: standard output ("-"), or a file that comes into being whole when it is finished.
// Threads      one at a time.
// Errors       kIo, naming the file; what was not finished leaves no trace.
class OutputFile {
 public:
  OutputFile() = default;
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  Status Open(const std::string& path);
  Status Write(std::string_view text);
  // Gives the file its name.
  Status Finish();

 private:
  std::optional<WritePlace> place_;  // nothing: standard output
  FileWriter file_;
  bool finished_ = false;
};

}  // namespace sluice
