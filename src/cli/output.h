#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace sluice::cli {

// Text to standard output, all of it: a full disk or a closed pipe is kIo, not silence.
Status Print(std::string_view text);

// The same, ending with one newline.
Status PrintLine(std::string_view text);

// A message as one line, whatever it holds.
std::string OneLine(std::string text);

// Text to a file, which is written aside and renamed, or to standard output for "-".
Status WriteOutput(const std::string& path, std::string_view text);

}  // namespace sluice::cli
