#include "base/output_file.h"

#include <cstdio>
#include <filesystem>

namespace sluice {

OutputFile::~OutputFile() {
  if (place_ && !finished_) place_->Discard();
}

Status OutputFile::Open(const std::string& path) {
  if (path == "-") return Status::Ok();
  if (std::filesystem::is_directory(path)) return IoError("{}: is a folder", path);
  place_.emplace(path);
  return file_.Open(place_->beside);
}

Status OutputFile::Write(std::string_view text) {
  if (place_) return file_.Write(text);
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) return IoError("standard output: write failed");
  return Status::Ok();
}

Status OutputFile::Finish() {
  if (!place_) return std::fflush(stdout) == 0 ? Status::Ok() : IoError("standard output: write failed");
  SLUICE_RETURN_IF_ERROR(file_.Finish(/*sync=*/false));
  SLUICE_RETURN_IF_ERROR(place_->Commit());
  finished_ = true;
  return Status::Ok();
}

}  // namespace sluice
