#include "checkpoint/checkpoint_reader.h"

#include <algorithm>

#include <xxhash.h>

namespace sluice::checkpoint {

Result<std::unique_ptr<CheckpointReader>> CheckpointReader::Open(const std::string& path) {
  auto reader = std::make_unique<CheckpointReader>();
  reader->path_ = path;
  const std::string manifest_path = path + "/" + kManifestName;
  auto text = ReadWholeFile(manifest_path);
  if (text.status().code() == StatusCode::kNotFound)
    return NotFound("{}: not a checkpoint: it has no {}", path, kManifestName);
  if (!text.ok()) return text.status();
  SLUICE_ASSIGN_OR_RETURN(reader->manifest_, ParseManifest(*text, manifest_path));

  std::map<std::string, int64_t> sizes;
  for (const auto& [name, section] : reader->manifest_.sections) {
    int64_t& size = sizes[section.file];
    size = std::max(size, section.offset + section.size);
  }
  for (const auto& [name, size] : sizes) {
    auto file = FileReader::Open(path + "/" + name);
    if (!file.ok()) return DataLoss("the checkpoint is incomplete: {}", file.status().message());
    if (file->size() != size)
      return DataLoss("{}/{}: {} bytes, the manifest says {}", path, name, file->size(), size);
    reader->files_.emplace(name, std::move(file).value());
  }
  return reader;
}

Result<std::string> CheckpointReader::Value(const std::string& name) const {
  const auto it = manifest_.values.find(name);
  if (it == manifest_.values.end()) return DataLoss("{}: the manifest has no value `{}`", path_, name);
  return it->second;
}

std::vector<std::string> CheckpointReader::Names(const std::string& prefix) const {
  std::vector<std::string> names;
  for (auto it = manifest_.sections.lower_bound(prefix); it != manifest_.sections.end(); ++it) {
    if (!it->first.starts_with(prefix)) break;
    names.push_back(it->first);
  }
  return names;
}

bool CheckpointReader::Has(const std::string& name) const { return manifest_.sections.contains(name); }

Result<std::vector<std::byte>> CheckpointReader::Read(const std::string& name) const {
  const auto it = manifest_.sections.find(name);
  if (it == manifest_.sections.end()) return NotFound("{}: no section {}", path_, name);
  const SectionInfo& section = it->second;
  std::vector<std::byte> bytes(static_cast<size_t>(section.size));
  SLUICE_RETURN_IF_ERROR(files_.at(section.file).ReadAt(section.offset, bytes));
  if (XXH3_64bits(bytes.data(), bytes.size()) != section.xxh3)
    return DataLoss("{}/{}: the checksum of section {} (bytes {} to {}) is wrong; the file is damaged", path_, section.file,
                    name, section.offset, section.offset + section.size);
  return bytes;
}

}  // namespace sluice::checkpoint
