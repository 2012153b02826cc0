#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace sluice::cli {

// What the first lines of a delimited text file look like, for `sluice init`. Guesses carry their reason, which the
// written configuration says in a comment.
struct CsvGuess {
  char separator = ',';
  bool header = true;
  std::vector<std::string> columns;  // of the header, or c1, c2, ...
  std::string label;
  std::string label_reason;
  std::string positive_label;  // empty: labels are numbers
  std::string positive_reason;
  bool regression = false;         // label values lie outside [0, 1]
  std::vector<std::string> ids;    // columns with another value in every line
  std::vector<std::string> multi;  // columns with values parted by |
  size_t lines = 0;                // looked at
};

// `text` is the start of the file; its last line may be cut. `label` empty: guess it.
// Errors       kInvalidArgument: no such label column, or none that looks like one; kDataLoss: no whole line.
Result<CsvGuess> GuessCsv(std::string_view text, const std::string& path, const std::string& label);

}  // namespace sluice::cli
