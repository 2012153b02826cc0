#include "service/initial_rows.h"

#include <algorithm>
#include <cstring>

#include "base/aligned_buffer.h"

namespace sluice::service {

template <class T>
uint64_t InitialRows<T>::fingerprint() const {
  if (tables_.empty()) return 0;
  uint64_t hash = tables_.size();
  for (const auto& table : tables_) hash = MixPair(hash, table.Fingerprint());
  return std::max<uint64_t>(hash, 1);
}

template <class T>
void InitialRows<T>::Fill(size_t table, Key key, int64_t dim, bool bf16, T* row) const {
  tables_[table].Fill(key, row);
  if (!bf16) return;
  thread_local std::vector<std::byte> rounded;
  rounded.resize(static_cast<size_t>(WireBytes(dim, true, sizeof(T))));
  EncodeNumbers(row, dim, true, rounded.data());
  DecodeNumbers(rounded.data(), dim, true, row);
}

template <class T>
void InitialRows<T>::LeaveOut(const RowOrder& order, const KeyList& keys, bool bf16, Bytes* message) const {
  std::vector<std::byte> marks(static_cast<size_t>(MarkBytes(order.Rows(keys))));
  std::byte* const data = message->data();
  // Bytes [kept, ...) are still where they were, those before went to [0, to).
  size_t kept = 0, to = 0, block_begin = 0;
  int64_t row = 0;
  const auto keep = [&](size_t end) {
    if (to != kept) std::memmove(data + to, data + kept, end - kept);
    to += end - kept;
    kept = end;
  };
  AlignedBuffer<T> initial;
  std::vector<std::byte> encoded;
  order.ForEachBlock(keys, [&](size_t t, Range block) {
    const int64_t dim = order.dim(t);
    const auto width = static_cast<size_t>(WireBytes(dim, bf16, sizeof(T)));
    initial.Resize(dim);
    encoded.resize(width);
    const auto& named = keys.first_named;
    for (auto i = std::lower_bound(named.begin(), named.end(), block.begin); i != named.end() && *i < block.end; ++i) {
      const int64_t at = *i - block.begin;
      const size_t begin = block_begin + static_cast<size_t>(at) * width;
      tables_[t].Fill(keys.keys[static_cast<size_t>(*i)], initial.data());
      EncodeNumbers(initial.data(), dim, bf16, encoded.data());
      if (std::memcmp(data + begin, encoded.data(), width) != 0) continue;
      marks[static_cast<size_t>((row + at) / 8)] |= std::byte{1} << ((row + at) % 8);
      keep(begin);
      kept = begin + width;
    }
    block_begin += static_cast<size_t>(block.size()) * width;
    row += block.size();
  });
  keep(block_begin);
  if (!marks.empty()) std::memcpy(data + to, marks.data(), marks.size());
  message->Truncate(to + marks.size());
}

bool RowMarks::Take(int64_t num_rows, Pieces* rows) {
  const auto size = static_cast<size_t>(InitialRows<float>::MarkBytes(num_rows));
  if (rows->size() < size) return false;
  marks_.resize(size);
  const Pieces part = rows->Part(rows->size() - size, size);
  const std::byte* const from = PieceReader(part).Next(size, marks_.data());
  if (size > 0 && from != marks_.data()) std::memcpy(marks_.data(), from, size);
  *rows = rows->Part(0, rows->size() - size);
  return true;
}

template class InitialRows<float>;
template class InitialRows<double>;

}  // namespace sluice::service
