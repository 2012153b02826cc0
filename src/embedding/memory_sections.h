#pragma once

// Checkpoint sections in memory, for tests.

#include <map>
#include <string>
#include <vector>

#include "base/sections.h"

namespace sluice::embedding {

class MemorySections final : public SectionWriter, public SectionReader {
 public:
  Status Begin(const std::string& name) override {
    SLUICE_CHECK(!sections.contains(name), "section {} written twice", name);
    open_ = &sections[name];
    return Status::Ok();
  }
  Status Write(std::span<const std::byte> bytes) override {
    if (room_bytes < static_cast<int64_t>(bytes.size())) return IoError("no space left");
    room_bytes -= static_cast<int64_t>(bytes.size());
    open_->insert(open_->end(), bytes.begin(), bytes.end());
    return Status::Ok();
  }
  Status End() override { return Status::Ok(); }

  std::vector<std::string> Names(const std::string& prefix) const override {
    std::vector<std::string> names;
    for (const auto& [name, bytes] : sections)
      if (name.starts_with(prefix)) names.push_back(name);
    return names;
  }
  bool Has(const std::string& name) const override { return sections.contains(name); }
  Result<std::vector<std::byte>> Read(const std::string& name) const override {
    const auto at = sections.find(name);
    if (at == sections.end()) return NotFound("no section {}", name);
    return at->second;
  }

  std::map<std::string, std::vector<std::byte>> sections;
  int64_t room_bytes = INT64_MAX;

 private:
  std::vector<std::byte>* open_ = nullptr;
};

}  // namespace sluice::embedding
