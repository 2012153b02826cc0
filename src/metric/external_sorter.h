#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "metric/records.h"

namespace sluice::metric {

class SpillFile;

// Sorts any number of records in bounded memory: past `max_in_memory` records it sorts what it holds and spills it as a
// run to a nameless file in `folder`, which vanishes with the process however that ends.
// Memory       2 * max_in_memory records at most, whatever the number of records.
// Semantics    stable: equal records keep the order in which they came, spilled or not.
// Errors       kIo naming the folder; the sorter then takes nothing more.
// Cost         radix sort; 8 or 16 bytes per record written and read once where it spills.
template <class Record>
class ExternalSorter {
 public:
  ExternalSorter(int64_t max_in_memory, std::string folder);
  ~ExternalSorter();
  ExternalSorter(ExternalSorter&&) noexcept;
  ExternalSorter& operator=(ExternalSorter&&) noexcept;

  Status Add(std::span<const Record> records);
  // Takes over the records of `other`, as if they had been added after those that are here.
  Status Absorb(ExternalSorter&& other);
  // Gives all records in order, block by block, and empties the sorter.
  Status Drain(const std::function<void(std::span<const Record>)>& visit);

  // Gives all records, in no order but one whose stable sort is that of Drain, and keeps them.
  Status Visit(const std::function<Status(std::span<const Record>)>& visit) const;

  int64_t size() const { return spilled_ + static_cast<int64_t>(buffer_.size()); }
  int64_t spilled() const { return spilled_; }

 private:
  struct Run {
    std::shared_ptr<SpillFile> file;
    int64_t begin = 0, size = 0;  // in records
  };

  Status Spill();
  Status Merge(const std::function<void(std::span<const Record>)>& visit);

  int64_t max_in_memory_;
  std::string folder_;
  std::vector<Record> buffer_;
  std::vector<Run> runs_;
  std::shared_ptr<SpillFile> file_;
  int64_t spilled_ = 0;
};

extern template class ExternalSorter<ScoreRecord>;
extern template class ExternalSorter<GroupRecord>;

}  // namespace sluice::metric
