#pragma once

#include <cmath>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/rng.h"
#include "base/sections.h"

namespace sluice::metric {

// Scored samples for tests: scores on a coarse grid, so that ties abound; small integers for weights.
struct TestData {
  std::vector<float> scores, labels, weights;
  std::vector<uint64_t> groups;
};

inline TestData RandomData(int64_t n, uint64_t seed) {
  const CounterRng rng(seed, 0);
  TestData data;
  for (int64_t i = 0; i < n; ++i) {
    data.scores.push_back(static_cast<float>(static_cast<double>(rng.Below(4 * i, 64)) / 8 - 4));
    data.labels.push_back(rng.Uniform(4 * i + 1) < 0.3 ? 1.0f : 0.0f);
    data.weights.push_back(static_cast<float>(1 + rng.Below(4 * i + 2, 3)));
    data.groups.push_back(Mix64(rng.Below(4 * i + 3, 40)));
  }
  return data;
}

// Sections in memory.
class MemorySections : public SectionWriter, public SectionReader {
 public:
  Status Begin(const std::string& name) override {
    open_ = name;
    sections_[name];
    return Status::Ok();
  }
  Status Write(std::span<const std::byte> bytes) override {
    auto& section = sections_[open_];
    section.insert(section.end(), bytes.begin(), bytes.end());
    return Status::Ok();
  }
  Status End() override { return Status::Ok(); }

  std::vector<std::string> Names(const std::string& prefix) const override {
    std::vector<std::string> names;
    for (const auto& [name, bytes] : sections_)
      if (name.starts_with(prefix)) names.push_back(name);
    return names;
  }
  bool Has(const std::string& name) const override { return sections_.contains(name); }
  Result<std::vector<std::byte>> Read(const std::string& name) const override {
    const auto it = sections_.find(name);
    if (it == sections_.end()) return NotFound("no section {}", name);
    return it->second;
  }

 private:
  std::map<std::string, std::vector<std::byte>> sections_;
  std::string open_;
};

}  // namespace sluice::metric
