#include "checkpoint/manifest.h"

#include <charconv>
#include <limits>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/hash.h"

namespace sluice::checkpoint {
namespace {

using Json = nlohmann::json;

std::string Hex(uint64_t value) { return fmt::format("{:016x}", value); }

// Thrown by the readers below, caught in ParseManifest.
[[noreturn]] void Malformed(const std::string& what) { throw StatusError(DataLoss("{}", what)); }

const Json& Member(const Json& object, const char* name) {
  const auto it = object.find(name);
  if (it == object.end()) Malformed(fmt::format("member `{}` is missing", name));
  return *it;
}

std::string Text(const Json& object, const char* name) {
  const Json& value = Member(object, name);
  if (!value.is_string()) Malformed(fmt::format("member `{}` is not a string", name));
  return value.get<std::string>();
}

int64_t Count(const Json& object, const char* name) {
  const Json& value = Member(object, name);
  if (!value.is_number_unsigned() || value.get<uint64_t>() > std::numeric_limits<int64_t>::max())
    Malformed(fmt::format("member `{}` is not a count", name));
  return value.get<int64_t>();
}

uint64_t Checksum(const Json& object) {
  const std::string text = Text(object, "xxh3");
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (error != std::errc() || end != text.data() + text.size() || text.size() != 16)
    Malformed("member `xxh3` is not 16 hexadecimal digits");
  return value;
}

const Json& Object(const Json& object, const char* name) {
  const Json& value = Member(object, name);
  if (!value.is_object()) Malformed(fmt::format("member `{}` is not an object", name));
  return value;
}

SectionInfo ParseSection(const Json& json) {
  if (!json.is_object()) Malformed("a section is not an object");
  SectionInfo section{Text(json, "file"), Count(json, "offset"), Count(json, "size"), Checksum(json)};
  // A manifest must not reach out of its folder.
  if (section.file.empty() || section.file.front() == '.' || section.file.find('/') != std::string::npos ||
      section.file.find('\0') != std::string::npos)
    Malformed(fmt::format("`{}` is not a file name", section.file));
  if (section.offset > std::numeric_limits<int64_t>::max() - section.size) Malformed("a section ends beyond 2^63");
  return section;
}

Manifest ParseBody(const Json& body) {
  Manifest manifest;
  manifest.sluice_version = Text(body, "sluice_version");
  manifest.processor = Text(body, "processor");
  manifest.step = Count(body, "step");
  const Json& values = Object(body, "values");
  for (const auto& [name, value] : values.items()) manifest.values[name] = Text(values, name.c_str());
  for (const auto& [name, section] : Object(body, "sections").items()) {
    try {
      manifest.sections[name] = ParseSection(section);
    } catch (const StatusError& error) {
      Malformed(fmt::format("section {}: {}", name, error.what()));
    }
  }
  return manifest;
}

}  // namespace

std::string SerialiseManifest(const Manifest& manifest) {
  Json sections = Json::object();
  for (const auto& [name, section] : manifest.sections)
    sections[name] = {
        {"file", section.file}, {"offset", section.offset}, {"size", section.size}, {"xxh3", Hex(section.xxh3)}};
  const Json body = {{"format_version", manifest.format_version},
                     {"sluice_version", manifest.sluice_version},
                     {"processor", manifest.processor},
                     {"step", manifest.step},
                     {"values", manifest.values},
                     {"sections", std::move(sections)}};
  // The checksum covers the text of the body without spaces, members sorted.
  const Json whole = {{"checkpoint", body}, {"xxh3", Hex(HashBytes(body.dump()))}};
  return whole.dump(1) + "\n";
}

Result<Manifest> ParseManifest(std::string_view text, const std::string& path) {
  try {
    const Json whole = Json::parse(text.begin(), text.end(), nullptr, false);
    if (whole.is_discarded() || !whole.is_object()) Malformed("not JSON; the file is damaged");
    const Json& body = Object(whole, "checkpoint");
    // The version comes first: another version may have another checksum.
    const int64_t version = Count(body, "format_version");
    if (version != kFormatVersion)
      Malformed(fmt::format("checkpoint format {}; this program reads format {} only", version, kFormatVersion));
    if (Checksum(whole) != HashBytes(body.dump())) Malformed("the checksum is wrong; the file is damaged");
    return ParseBody(body);
  } catch (const StatusError& error) {
    return error.status().WithContext(path);
  } catch (const nlohmann::json::exception&) {
    // dump() refuses text that is not UTF-8.
    return DataLoss("{}: text that is not UTF-8; the file is damaged", path);
  }
}

}  // namespace sluice::checkpoint
