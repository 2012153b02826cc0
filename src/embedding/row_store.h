#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <mutex>

#include "base/hash.h"
#include "embedding/reservation.h"
#include "embedding/table.h"

namespace sluice::embedding {

// The 8 bytes of metadata of a row. Written under the lock of the row's stripe.
struct RowMeta {
  static constexpr uint32_t kMaxCount = (1u << 24) - 1;
  static constexpr uint32_t kLive = 1;      // the row is in the index
  static constexpr uint32_t kDefault = 2;   // a vocabulary's default row: no admission, no expiry

  uint32_t last_use = 0;
  uint32_t count_flags = 0;   // count in the upper 24 bits, saturating; six flags are free for dirty and version bits

  uint32_t count() const { return count_flags >> 8; }
  uint32_t flags() const { return count_flags & 0xff; }
  bool live() const { return (count_flags & kLive) != 0; }
  bool is_default() const { return (count_flags & kDefault) != 0; }
  void AddCount(uint32_t sightings) {
    const uint32_t room = kMaxCount - count();
    count_flags += std::min(sightings, room) << 8;
  }
};

// What a row begins with; weights, then slots follow.
struct RowHeader {
  Key key = 0;      // of a live row; of a free one, the next free row
  RowMeta meta;
};
static_assert(sizeof(RowHeader) == 16);

// Rows of one stride, named by 32-bit handles, handed out in chunks. Rows never move and memory is never given back
// before the store is destroyed or cleared.
// Threads      Allocate locks; row() may run beside it.
// Errors       StatusError kResourceExhausted: memory, or 2^32 - 1 rows.
class RowStore {
 public:
  struct Chunk {
    Handle begin = 0;
    uint32_t size = 0;
  };

  explicit RowStore(size_t stride)
      : stride_(stride), memory_(std::min<size_t>(size_t{kNoRow} * stride, MemoryBound())), base_(memory_.data()) {}

  size_t stride() const { return stride_; }
  std::byte* row(Handle handle) const { return base_ + size_t{handle} * stride_; }
  RowHeader& header(Handle handle) const { return *reinterpret_cast<RowHeader*>(row(handle)); }

  // A fresh run of `size` zeroed rows.
  Chunk Allocate(uint32_t size);
  void Clear();

  int64_t bytes() const;

 private:
  const size_t stride_;
  Reservation memory_;
  std::byte* const base_;
  mutable std::mutex mutex_;
  uint64_t next_ = 0;
};

}  // namespace sluice::embedding
