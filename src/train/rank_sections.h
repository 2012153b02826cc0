#pragma once

#include <cstdlib>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/sections.h"
#include "placement/ownership.h"

namespace sluice::train {

// Where one of several ranks writes its rows of a table: the table's header from the first rank alone, and under a name
// of its own a shard that another rank owns, of which it holds the vocabularies that it is the home of.
class RankSections : public SectionWriter {
 public:
  RankSections(SectionWriter* writer, const std::string& prefix, const placement::Ownership& ownership)
      : writer_(writer), header_(prefix + "/table"), shards_(prefix + "/shard/"), ownership_(ownership) {}

  Status Begin(const std::string& name) override {
    skip_ = ownership_.rank() > 0 && name == header_;
    if (skip_) return Status::Ok();
    const bool others = name.starts_with(shards_) && !ownership_.whole_shards() &&
                        ownership_.OfShard(std::atoi(name.c_str() + shards_.size())) != ownership_.rank();
    return writer_->Begin(others ? name + "-" + std::to_string(ownership_.rank()) : name);
  }
  Status Write(std::span<const std::byte> bytes) override { return skip_ ? Status::Ok() : writer_->Write(bytes); }
  Status End() override { return skip_ ? Status::Ok() : writer_->End(); }

 private:
  SectionWriter* writer_;
  std::string header_, shards_;
  const placement::Ownership& ownership_;
  bool skip_ = false;
};

// A checkpoint as a rank reads a table from it: sections without a row of its own are not there, but for shards that it
// reads all the same.
class OwnedSections : public SectionReader {
 public:
  OwnedSections(const SectionReader& reader, const std::string& prefix, const placement::Ownership& ownership,
                std::set<int> others = {})
      : reader_(reader), shards_(prefix + "/shard/"), ownership_(ownership), others_(std::move(others)) {}

  std::vector<std::string> Names(const std::string& prefix) const override {
    std::vector<std::string> names = reader_.Names(prefix);
    std::erase_if(names, [&](const std::string& name) { return !IsMine(name); });
    return names;
  }
  bool Has(const std::string& name) const override { return IsMine(name) && reader_.Has(name); }
  Result<std::vector<std::byte>> Read(const std::string& name) const override { return reader_.Read(name); }

 private:
  // A rank that is home to a vocabulary has rows in every shard.
  bool IsMine(const std::string& name) const {
    if (!name.starts_with(shards_) || ownership_.is_home()) return true;
    const int shard = std::atoi(name.c_str() + shards_.size());
    return ownership_.OfShard(shard) == ownership_.rank() || others_.contains(shard);
  }

  const SectionReader& reader_;
  std::string shards_;
  const placement::Ownership& ownership_;
  std::set<int> others_;
};

}  // namespace sluice::train
