#include "metric/external_sorter.h"

#include <algorithm>
#include <utility>

#include "metric/loser_tree.h"
#include "metric/radix_sort.h"
#include "metric/spill_file.h"

namespace sluice::metric {
namespace {

constexpr int64_t kMinBlock = 1024;    // records read at once from a run
constexpr int64_t kVisitBlock = 4096;  // records handed to the visitor at once
constexpr int64_t kCopyBlock = 65536;  // records copied at once out of a run

// The records of one run, read block by block; a run in memory is one block.
template <class Record>
class RunCursor {
 public:
  RunCursor(std::shared_ptr<SpillFile> file, int64_t begin, int64_t size, int64_t block)
      : file_(std::move(file)), next_(begin), left_(size), block_(block) {}
  explicit RunCursor(std::vector<Record> records) : records_(std::move(records)) {}

  Status Load() {
    at_ = 0;
    records_.resize(static_cast<size_t>(std::min(left_, block_)));
    SLUICE_RETURN_IF_ERROR(
        file_->ReadAt(next_ * static_cast<int64_t>(sizeof(Record)), std::as_writable_bytes(std::span(records_))));
    next_ += static_cast<int64_t>(records_.size());
    left_ -= static_cast<int64_t>(records_.size());
    return Status::Ok();
  }
  bool exhausted() const { return at_ == records_.size(); }
  const Record& head() const { return records_[at_]; }
  Status Advance() { return ++at_ == records_.size() && left_ > 0 ? Load() : Status::Ok(); }

 private:
  std::shared_ptr<SpillFile> file_;
  int64_t next_ = 0, left_ = 0, block_ = 0;
  std::vector<Record> records_;
  size_t at_ = 0;
};

}  // namespace

template <class Record>
ExternalSorter<Record>::ExternalSorter(int64_t max_in_memory, std::string folder)
    : max_in_memory_(std::max<int64_t>(max_in_memory, 1)), folder_(std::move(folder)) {}
template <class Record>
ExternalSorter<Record>::~ExternalSorter() = default;
template <class Record>
ExternalSorter<Record>::ExternalSorter(ExternalSorter&&) noexcept = default;
template <class Record>
ExternalSorter<Record>& ExternalSorter<Record>::operator=(ExternalSorter&&) noexcept = default;

template <class Record>
Status ExternalSorter<Record>::Spill() {
  RadixSort(buffer_);
  if (!file_) {
    SLUICE_ASSIGN_OR_RETURN(file_, SpillFile::Create(folder_));
  }
  const int64_t begin = file_->size() / static_cast<int64_t>(sizeof(Record));
  SLUICE_RETURN_IF_ERROR(file_->Append(std::as_bytes(std::span(buffer_))));
  const auto size = static_cast<int64_t>(buffer_.size());
  runs_.push_back({file_, begin, size});
  spilled_ += size;
  buffer_.clear();
  return Status::Ok();
}

template <class Record>
Status ExternalSorter<Record>::Add(std::span<const Record> records) {
  while (!records.empty()) {
    const size_t room = static_cast<size_t>(max_in_memory_) - buffer_.size();
    const size_t n = std::min(room, records.size());
    if (buffer_.capacity() < buffer_.size() + n)
      buffer_.reserve(std::min<size_t>(max_in_memory_, std::max(buffer_.size() + n, 2 * buffer_.capacity())));
    buffer_.insert(buffer_.end(), records.begin(), records.begin() + n);
    records = records.subspan(n);
    if (static_cast<int64_t>(buffer_.size()) == max_in_memory_) SLUICE_RETURN_IF_ERROR(Spill());
  }
  return Status::Ok();
}

template <class Record>
Status ExternalSorter<Record>::Absorb(ExternalSorter&& other) {
  if (!other.runs_.empty()) {
    if (!buffer_.empty()) SLUICE_RETURN_IF_ERROR(Spill());
    runs_.insert(runs_.end(), other.runs_.begin(), other.runs_.end());
    spilled_ += other.spilled_;
  }
  SLUICE_RETURN_IF_ERROR(Add(other.buffer_));
  other = ExternalSorter(other.max_in_memory_, other.folder_);
  return Status::Ok();
}

template <class Record>
Status ExternalSorter<Record>::Drain(const std::function<void(std::span<const Record>)>& visit) {
  Status status;
  RadixSort(buffer_);
  if (runs_.empty()) {
    visit(buffer_);
  } else {
    status = Merge(visit);
  }
  *this = ExternalSorter(max_in_memory_, std::move(folder_));
  return status;
}

template <class Record>
Status ExternalSorter<Record>::Visit(const std::function<Status(std::span<const Record>)>& visit) const {
  std::vector<Record> block;
  for (const Run& run : runs_) {
    for (int64_t at = 0; at < run.size; at += static_cast<int64_t>(block.size())) {
      block.resize(static_cast<size_t>(std::min(run.size - at, kCopyBlock)));
      SLUICE_RETURN_IF_ERROR(run.file->ReadAt((run.begin + at) * static_cast<int64_t>(sizeof(Record)),
                                              std::as_writable_bytes(std::span(block))));
      SLUICE_RETURN_IF_ERROR(visit(block));
    }
  }
  return visit(buffer_);
}

template <class Record>
Status ExternalSorter<Record>::Merge(const std::function<void(std::span<const Record>)>& visit) {
  const int64_t block = std::max(kMinBlock, max_in_memory_ / static_cast<int64_t>(runs_.size()));
  std::vector<RunCursor<Record>> cursors;
  for (const Run& run : runs_) {
    cursors.emplace_back(run.file, run.begin, run.size, block);
    SLUICE_RETURN_IF_ERROR(cursors.back().Load());
  }
  // The records that never left memory came last, hence the last run.
  cursors.emplace_back(std::exchange(buffer_, {}));

  LoserTree tree(static_cast<int>(cursors.size()), [&cursors](int a, int b) {
    const auto &x = cursors[a], &y = cursors[b];
    if (x.exhausted() || y.exhausted()) return x.exhausted() == y.exhausted() ? a < b : y.exhausted();
    if (x.head() < y.head()) return true;
    if (y.head() < x.head()) return false;
    return a < b;
  });
  std::vector<Record> out;
  out.reserve(kVisitBlock);
  while (!cursors[tree.winner()].exhausted()) {
    RunCursor<Record>& cursor = cursors[tree.winner()];
    out.push_back(cursor.head());
    if (out.size() == kVisitBlock) {
      visit(out);
      out.clear();
    }
    SLUICE_RETURN_IF_ERROR(cursor.Advance());
    tree.Advance();
  }
  visit(out);
  return Status::Ok();
}

template class ExternalSorter<ScoreRecord>;
template class ExternalSorter<GroupRecord>;

}  // namespace sluice::metric
