#include "cli/output.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/file.h"

namespace sluice::cli {

Status Print(std::string_view text) {
  const size_t written = std::fwrite(text.data(), 1, text.size(), stdout);
  if (written != text.size() || std::fflush(stdout) != 0)
    return IoError("standard output cannot be written: {}", std::strerror(errno));
  return Status::Ok();
}

Status PrintLine(std::string_view text) {
  while (text.ends_with('\n')) text.remove_suffix(1);
  SLUICE_RETURN_IF_ERROR(Print(text));
  return Print("\n");
}

Status WriteOutput(const std::string& path, std::string_view text) {
  return path == "-" ? Print(text) : WriteFileAtomically(path, text);
}

std::string OneLine(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

}  // namespace sluice::cli
