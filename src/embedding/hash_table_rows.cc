// HashTable: reading and updating the rows of a resolved batch.

#include <algorithm>
#include <cstring>
#include <vector>

#include "embedding/hash_table.h"
#include "embedding/hash_table_inl.h"

namespace sluice::embedding {
namespace {

constexpr int64_t kAhead = 16;   // rows between prefetch and use
constexpr int64_t kLine = 64;

// Rows have no alignment beyond 8 bytes: the last byte may lie on one line more than the size says.
inline void PrefetchRow(const std::byte* row, int64_t bytes) {
  for (int64_t offset = 0; offset < bytes; offset += kLine) __builtin_prefetch(row + offset);
  __builtin_prefetch(row + bytes - 1);
}

// Where rows without one of their own look: blocks are in the order of the keys.
class BlockCursor {
 public:
  explicit BlockCursor(std::span<const KeyBlock> blocks) : blocks_(blocks) {}
  // The block that holds key i; i must not decrease. Size() where none does.
  size_t Of(int64_t i) {
    while (at_ < blocks_.size() && blocks_[at_].end <= i) ++at_;
    return at_ < blocks_.size() && blocks_[at_].begin <= i ? at_ : blocks_.size();
  }

 private:
  std::span<const KeyBlock> blocks_;
  size_t at_ = 0;
};

// Copies rows of a width known at compile time, or of `dim` where kDim is 0.
template <class T, int kDim, class RowOf, class Missing>
void CopyRows(const Handle* handles, Range range, int64_t dim, T* out, const RowOf& row_of, const Missing& missing) {
  const int64_t width = kDim == 0 ? dim : kDim;
  const int64_t bytes = static_cast<int64_t>(sizeof(RowHeader)) + width * static_cast<int64_t>(sizeof(T));
  const auto prefetch = [&](int64_t i) {
    if (handles[i] != kNoRow) PrefetchRow(row_of.Address(handles[i]), bytes);
  };
  for (int64_t i = range.begin; i < std::min(range.end, range.begin + kAhead); ++i) prefetch(i);
  for (int64_t i = range.begin; i < range.end; ++i) {
    if (i + kAhead < range.end) prefetch(i + kAhead);
    if (handles[i] == kNoRow) [[unlikely]] {
      missing(i);
      continue;
    }
    std::memcpy(out + i * width, row_of(i), static_cast<size_t>(width) * sizeof(T));
  }
}

}  // namespace

template <class T>
void HashTable<T>::Gather(const Resolved& resolved, std::span<const Key> keys, std::span<const KeyBlock> blocks,
                          Range range, T* out) const {
  struct RowOf {
    const HashTable& table;
    const Handle* handles;
    std::span<const Key> keys;
    const std::byte* Address(Handle handle) const { return table.rows_.row(handle); }
    const T* operator()(int64_t i) const {
      table.CheckRow(handles[i], keys[static_cast<size_t>(i)]);
      return table.weights(handles[i]);
    }
  };
  const Handle* const handles = resolved.handles.data();
  const RowOf row_of{*this, handles, keys};
  BlockCursor cursor(blocks);
  const auto missing = [&](int64_t i) {
    T* const to = out + i * dim_;
    if (options_.on_missing == OnMissing::kInit) {
      init_.Fill(keys[static_cast<size_t>(i)], to);
      return;
    }
    if (options_.on_missing == OnMissing::kDefault) {
      const size_t b = cursor.Of(i);
      if (b < resolved.defaults.size() && resolved.defaults[b].handle != kNoRow) {
        const Handle handle = resolved.defaults[b].handle;
        CheckRow(handle, DefaultRowKey(blocks[b].salt));
        std::memcpy(to, weights(handle), static_cast<size_t>(dim_) * sizeof(T));
        return;
      }
    }
    std::fill(to, to + dim_, T(0));
  };
  const auto copy = [&](auto width) {
    CopyRows<T, decltype(width)::value>(handles, range, dim_, out, row_of, missing);
  };
  switch (dim_) {
    case 1: return copy(std::integral_constant<int, 1>());
    case 8: return copy(std::integral_constant<int, 8>());
    case 16: return copy(std::integral_constant<int, 16>());
    case 17: return copy(std::integral_constant<int, 17>());
    case 32: return copy(std::integral_constant<int, 32>());
    case 64: return copy(std::integral_constant<int, 64>());
    case 128: return copy(std::integral_constant<int, 128>());
    default: return copy(std::integral_constant<int, 0>());
  }
}

template <class T>
void HashTable<T>::Apply(const Resolved& resolved, std::span<const Key> keys, const T* grads, Range range,
                         const optim::Rule& rule) {
  SLUICE_CHECK(rule.kind == options_.rule.kind, "table {}: its slots belong to another update rule", options_.name);
  constexpr int64_t kBlock = 128;
  const optim::PreparedRule<T> prepared = optim::Prepare<T>(rule, resolved.step);
  const Handle* const handles = resolved.handles.data();
  const bool decays = rule.lazy_decay && track_previous_;
  T* rows[kBlock];
  const T* row_grads[kBlock];
  int64_t missed[kBlock];
  int64_t dropped = 0;
  for (int64_t begin = range.begin; begin < range.end; begin += kBlock) {
    const int64_t end = std::min(range.end, begin + kBlock);
    int64_t n = 0;
    for (int64_t i = begin; i < end; ++i) {
      if (i + kAhead < range.end && handles[i + kAhead] != kNoRow)
        __builtin_prefetch(rows_.row(handles[i + kAhead]), 1);
      if (handles[i] == kNoRow) {
        ++dropped;
        continue;
      }
      CheckRow(handles[i], keys[static_cast<size_t>(i)]);
      rows[n] = weights(handles[i]);
      row_grads[n] = grads + i * dim_;
      if (decays) missed[n] = MissedSteps(resolved.step, resolved.previous_use[static_cast<size_t>(i)]);
      ++n;
    }
    optim::UpdateRows<T>(prepared, {rows, row_grads, decays ? missed : nullptr, n, dim_, dim_});
  }
  if (dropped > 0 && options_.on_missing != OnMissing::kDefault)
    dropped_gradients_.fetch_add(dropped, std::memory_order_relaxed);
}

template <class T>
void HashTable<T>::ApplyDefaults(const Resolved& resolved, std::span<const Key> keys, std::span<const KeyBlock> blocks,
                                 const T* grads, const optim::Rule& rule) {
  std::vector<T> sum;
  for (size_t b = 0; b < resolved.defaults.size(); ++b) {
    const DefaultRow& row = resolved.defaults[b];
    if (row.handle == kNoRow) continue;
    CheckRow(row.handle, DefaultRowKey(blocks[b].salt));
    sum.assign(static_cast<size_t>(dim_), T(0));
    for (int64_t i = blocks[b].begin; i < blocks[b].end; ++i) {
      if (resolved.handles[static_cast<size_t>(i)] != kNoRow) continue;
      for (int64_t c = 0; c < dim_; ++c) sum[static_cast<size_t>(c)] += grads[i * dim_ + c];
    }
    T* const w = weights(row.handle);
    const int64_t missed = track_previous_ ? MissedSteps(resolved.step, row.previous_use) : 0;
    optim::UpdateRow<T>(rule, resolved.step, missed, w, sum.data(), w + dim_, dim_);
  }
}

template class HashTable<float>;
template class HashTable<double>;

}  // namespace sluice::embedding
