#include "data/fingerprint.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/hash.h"
#include "base/rng.h"
#include "data/byte_input.h"

namespace sluice::data {
namespace {

constexpr int64_t kEnd = 1 << 16;
constexpr int64_t kPlace = 1 << 12;
constexpr int kPlaces = 16;

Status HashPlace(std::ifstream& in, const std::string& path, int64_t offset, int64_t length, uint64_t* hash) {
  std::string bytes(static_cast<size_t>(length), '\0');
  in.seekg(offset);
  in.read(bytes.data(), length);
  if (in.gcount() != length) return IoError("{}: cannot be read at offset {}", path, offset);
  *hash = MixPair(*hash, HashBytes(bytes));
  return Status::Ok();
}

Result<FileFingerprint> Fingerprint(const std::string& path) {
  FileFingerprint file;
  file.path = path;
  std::error_code error;
  if (path == "-" || !std::filesystem::is_regular_file(path, error)) return file;
  std::ifstream in(path, std::ios::binary);
  file.bytes = static_cast<int64_t>(std::filesystem::file_size(path, error));
  if (!in || error) return IoError("{}: {}", path, error ? error.message() : std::strerror(errno));
  SLUICE_RETURN_IF_ERROR(HashPlace(in, path, 0, std::min(kEnd, file.bytes), &file.hash));
  if (file.bytes <= kEnd) return file;
  for (int i = 1; i <= kPlaces; ++i) {
    const int64_t offset = (file.bytes - kPlace) / (kPlaces + 1) * i;
    SLUICE_RETURN_IF_ERROR(HashPlace(in, path, offset, kPlace, &file.hash));
  }
  SLUICE_RETURN_IF_ERROR(HashPlace(in, path, file.bytes - kEnd, kEnd, &file.hash));
  return file;
}

}  // namespace

Result<std::vector<FileFingerprint>> FingerprintFiles(const DataConfig& data) {
  std::vector<FileFingerprint> files;
  for (const auto* patterns : {&data.train, &data.eval}) {
    SLUICE_ASSIGN_OR_RETURN(const auto paths, ExpandFiles(*patterns));
    for (const auto& path : paths) {
      SLUICE_ASSIGN_OR_RETURN(auto file, Fingerprint(path));
      files.push_back(std::move(file));
    }
  }
  return files;
}

std::string FormatFingerprints(const std::vector<FileFingerprint>& files) {
  std::string text;
  for (const auto& file : files) text += fmt::format("{} {} {}\n", file.bytes, file.hash, file.path);
  return text;
}

Result<std::vector<FileFingerprint>> ParseFingerprints(const std::string& text) {
  std::vector<FileFingerprint> files;
  const char* p = text.data();
  const char* end = p + text.size();
  while (p < end) {
    FileFingerprint& file = files.emplace_back();
    const char* line_end = static_cast<const char*>(std::memchr(p, '\n', static_cast<size_t>(end - p)));
    const auto malformed = [] { return DataLoss("another rank's list of files is malformed"); };
    if (line_end == nullptr) return malformed();
    const auto bytes = std::from_chars(p, line_end, file.bytes);
    if (bytes.ec != std::errc() || bytes.ptr == line_end || *bytes.ptr != ' ') return malformed();
    const auto hash = std::from_chars(bytes.ptr + 1, line_end, file.hash);
    if (hash.ec != std::errc() || hash.ptr == line_end || *hash.ptr != ' ') return malformed();
    file.path.assign(hash.ptr + 1, line_end);
    p = line_end + 1;
  }
  return files;
}

std::string DifferenceOfFiles(const std::vector<FileFingerprint>& here, const std::vector<FileFingerprint>& there) {
  for (size_t i = 0; i < std::min(here.size(), there.size()); ++i) {
    const FileFingerprint& a = here[i];
    const FileFingerprint& b = there[i];
    if (a.path != b.path) return fmt::format("{} here and {} there", a.path, b.path);
    if (a.bytes != b.bytes) return fmt::format("{} has {} bytes here and {} there", a.path, a.bytes, b.bytes);
    if (a.hash != b.hash) return fmt::format("{} has the same length, but other content", a.path);
  }
  if (here.size() != there.size()) return fmt::format("{} files here and {} there", here.size(), there.size());
  return "";
}

}  // namespace sluice::data
