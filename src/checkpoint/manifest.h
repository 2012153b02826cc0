#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/status.h"

namespace sluice::checkpoint {

inline constexpr int kFormatVersion = 1;
inline constexpr const char* kManifestName = "manifest.json";

// Where a section lies.
struct SectionInfo {
  std::string file;    // name within the checkpoint's folder
  int64_t offset = 0;
  int64_t size = 0;
  uint64_t xxh3 = 0;
};

// What a checkpoint holds. It is written last, so a folder without one is no checkpoint.
struct Manifest {
  int format_version = kFormatVersion;
  std::string sluice_version;
  std::string processor;                        // model name; bit-equal resume is promised on the same one
  int64_t step = 0;
  std::map<std::string, std::string> values;    // the writer's own: schema, position, settings, ...
  std::map<std::string, SectionInfo> sections;
};

// As JSON, with a checksum of its own.
std::string SerialiseManifest(const Manifest& manifest);

// Errors: kDataLoss naming `path` and what is wrong: not JSON, a checksum that does not fit, a member that is missing or
// out of range, another format version.
Result<Manifest> ParseManifest(std::string_view text, const std::string& path);

}  // namespace sluice::checkpoint
