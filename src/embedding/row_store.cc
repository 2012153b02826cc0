#include "embedding/row_store.h"

#include "base/status.h"

namespace sluice::embedding {

RowStore::Chunk RowStore::Allocate(uint32_t size) {
  std::lock_guard lock(mutex_);
  const uint64_t end = next_ + size;
  if (end > kNoRow) throw StatusError(ResourceExhausted("a table holds at most {} rows", kNoRow));
  if (!memory_.Commit(end * stride_))
    throw StatusError(ResourceExhausted("a table of {} rows of {} bytes fills this machine's memory ({} MiB)", next_,
                                        stride_, memory_.size() >> 20));
  const Chunk chunk{static_cast<Handle>(next_), size};
  next_ = end;
  return chunk;
}

void RowStore::Clear() {
  std::lock_guard lock(mutex_);
  memory_.Reset();
  next_ = 0;
}

int64_t RowStore::bytes() const {
  std::lock_guard lock(mutex_);
  return static_cast<int64_t>(next_ * stride_);
}

}  // namespace sluice::embedding
