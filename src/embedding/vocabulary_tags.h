#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

#include "base/check.h"
#include "embedding/reservation.h"
#include "embedding/table.h"

namespace sluice::embedding {

// The vocabulary, by its salt, that each row of a table belongs to, which a key does not tell. Checkpoints carry it, so
// that rows find the rank that holds their vocabulary whole (placement/ownership.h).
// Memory       2 bytes per row from the second vocabulary on, none before.
// Threads      Number and Set lock where they have to; Set and Of of different rows may run concurrently.
class VocabularyTags {
 public:
  static constexpr uint64_t kUnknown = 0;  // salt of rows that were made without one
  using Tag = uint16_t;

  VocabularyTags() : memory_(std::min<size_t>(size_t{kNoRow} * sizeof(Tag), MemoryBound())) {}

  // A number for the salt, the same until Clear.
  Tag Number(uint64_t salt) {
    std::lock_guard lock(mutex_);
    const auto found = std::find(salts_.begin(), salts_.end(), salt);
    if (found != salts_.end()) return static_cast<Tag>(found - salts_.begin());
    if (salts_.size() > UINT16_MAX) throw StatusError(ResourceExhausted("a table serves at most 65,536 vocabularies"));
    salts_.push_back(salt);
    return static_cast<Tag>(salts_.size() - 1);
  }

  void Set(Handle handle, Tag tag) {
    const size_t end = (size_t{handle} + 1) * sizeof(Tag);
    if (end > committed_.load(std::memory_order_acquire)) {
      if (tag == 0) return;  // what memory starts with
      std::lock_guard lock(mutex_);
      if (!memory_.Commit(end))
        throw StatusError(ResourceExhausted("no memory for the vocabularies of {} rows", handle));
      committed_.store(std::max(end, committed_.load(std::memory_order_relaxed)), std::memory_order_release);
    }
    tags()[handle] = tag;
  }

  uint64_t Of(Handle handle) const {
    const size_t end = (size_t{handle} + 1) * sizeof(Tag);
    const Tag tag = end > committed_.load(std::memory_order_acquire) ? Tag{0} : tags()[handle];
    return tag < salts_.size() ? salts_[tag] : kUnknown;
  }

  void Clear() {
    memory_.Reset();
    salts_.clear();
  }

  int64_t bytes() const { return static_cast<int64_t>(committed_.load(std::memory_order_relaxed)); }

 private:
  Tag* tags() const { return reinterpret_cast<Tag*>(memory_.data()); }

  Reservation memory_;
  std::atomic<size_t> committed_{0};
  std::vector<uint64_t> salts_;
  std::mutex mutex_;
};

}  // namespace sluice::embedding
