#pragma once

// Members that several files of HashTable share.

#include <algorithm>

#include "embedding/hash_table.h"

namespace sluice::embedding {

// Steps between a row's previous sighting, hence update, and `step`; 0 for a row that was not seen before.
inline int64_t MissedSteps(int64_t step, uint32_t previous_use) {
  return previous_use == 0 ? 0 : std::max<int64_t>(0, step - previous_use - 1);
}

template <class T>
template <class Visit>
void HashTable<T>::ForEachLive(const Shard& shard, const Visit& visit) const {
  constexpr uint32_t kAhead = 8;
  for (size_t c = 0; c < shard.chunks.size(); ++c) {
    const RowStore::Chunk chunk = shard.chunks[c];
    const bool last = c + 1 == shard.chunks.size();
    const uint32_t used = last ? shard.used : chunk.size;
    if (!last)
      for (uint32_t i = 0; i < std::min(kAhead, shard.chunks[c + 1].size); ++i)
        __builtin_prefetch(rows_.row(shard.chunks[c + 1].begin + i));
    for (uint32_t i = 0; i < used; ++i) {
      if (i + kAhead < used) __builtin_prefetch(rows_.row(chunk.begin + i + kAhead));
      if (rows_.header(chunk.begin + i).meta.live()) visit(chunk.begin + i);
    }
  }
}

template <class T>
void HashTable<T>::CheckRow(Handle handle, Key key) const {
  SLUICE_CHECK(rows_.header(handle).key == key,
               "table {}: row {} belongs to key {:#x}, not to {:#x}; it is used without a pin", options_.name, handle,
               rows_.header(handle).key, key);
}

}  // namespace sluice::embedding
