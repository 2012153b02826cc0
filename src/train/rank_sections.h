#pragma once

#include <string>
#include <vector>

#include "base/sections.h"
#include "embedding/table.h"
#include "placement/ownership.h"

namespace sluice::train {

// Where a rank other than the first writes its shards of a table: all but the table's header, which the first writes.
class RankSections : public SectionWriter {
 public:
  RankSections(SectionWriter* writer, const std::string& prefix, int rank)
      : writer_(writer), header_(prefix + "/table"), rank_(rank) {}

  Status Begin(const std::string& name) override {
    skip_ = rank_ > 0 && name == header_;
    return skip_ ? Status::Ok() : writer_->Begin(name);
  }
  Status Write(std::span<const std::byte> bytes) override { return skip_ ? Status::Ok() : writer_->Write(bytes); }
  Status End() override { return skip_ ? Status::Ok() : writer_->End(); }

 private:
  SectionWriter* writer_;
  std::string header_;
  int rank_;
  bool skip_ = false;
};

// A checkpoint as a rank reads a table from it: shards of other ranks are not there.
class OwnedSections : public SectionReader {
 public:
  OwnedSections(const SectionReader& reader, const std::string& prefix, int rank, int num_ranks)
      : reader_(reader), shards_(prefix + "/shard/"), rank_(rank), num_ranks_(num_ranks) {}

  std::vector<std::string> Names(const std::string& prefix) const override {
    std::vector<std::string> names = reader_.Names(prefix);
    std::erase_if(names, [&](const std::string& name) { return !IsMine(name); });
    return names;
  }
  bool Has(const std::string& name) const override { return IsMine(name) && reader_.Has(name); }
  Result<std::vector<std::byte>> Read(const std::string& name) const override { return reader_.Read(name); }

 private:
  bool IsMine(const std::string& name) const {
    if (!name.starts_with(shards_)) return true;
    return placement::RankOfShard(std::stoi(name.substr(shards_.size())), num_ranks_) == rank_;
  }

  const SectionReader& reader_;
  std::string shards_;
  int rank_, num_ranks_;
};

}  // namespace sluice::train
