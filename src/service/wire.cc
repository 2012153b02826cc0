#include "service/wire.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>

#include "base/bf16.h"
#include "base/finite_kernels.h"
#include "base/huge_pages.h"

namespace sluice::service {

static_assert(std::endian::native == std::endian::little, "messages are little-endian, and copied as they lie");

namespace {

constexpr uint32_t kOther = 1u << 31;
constexpr uint32_t kLongCount = 255;

// Takes pieces off the front of a message.
class Cursor {
 public:
  explicit Cursor(std::span<const std::byte> bytes) : bytes_(bytes) {}
  size_t left() const { return bytes_.size(); }
  // False where fewer are left.
  bool Take(uint64_t size, std::span<const std::byte>* out) {
    if (size > bytes_.size()) return false;
    *out = bytes_.first(size);
    bytes_ = bytes_.subspan(size);
    return true;
  }
  template <class V>
  bool TakeValue(V* out) {
    std::span<const std::byte> piece;
    if (!Take(sizeof(V), &piece)) return false;
    std::memcpy(out, piece.data(), sizeof(V));
    return true;
  }

 private:
  std::span<const std::byte> bytes_;
};

// Takes parts off the front of a message.
class MessageCursor {
 public:
  explicit MessageCursor(const Pieces& bytes) : bytes_(bytes) {}
  size_t left() const { return bytes_.size() - at_; }
  // False where fewer are left.
  bool Take(uint64_t size, Pieces* out) {
    if (size > left()) return false;
    *out = bytes_.Part(at_, size);
    at_ += size;
    return true;
  }
  template <class V>
  bool TakeValue(V* out) {
    Pieces piece;
    if (!Take(sizeof(V), &piece)) return false;
    std::byte scratch[sizeof(V)];
    std::memcpy(out, PieceReader(piece).Next(sizeof(V), scratch), sizeof(V));
    return true;
  }

 private:
  const Pieces& bytes_;
  size_t at_ = 0;
};

template <class V>
V At(std::span<const std::byte> values, size_t i) {
  V value;
  std::memcpy(&value, values.data() + i * sizeof(V), sizeof(V));
  return value;
}

struct KeysHeader {
  uint32_t blocks = 0, keys = 0, new_keys = 0, others = 0;
};

}  // namespace

Bytes::Bytes(size_t size) : size_(size) {
  if (size == 0) return;
  // Dense spans have megabytes: one huge page each in place of hundreds of small ones, where it would not be half
  // empty.
  const size_t alignment = size >= kHugePageBytes / 4 * 3 ? kHugePageBytes : 64;
  const size_t rounded = (size + alignment - 1) / alignment * alignment;
  data_.reset(static_cast<std::byte*>(std::aligned_alloc(alignment, rounded)));
  if (data_ == nullptr) throw std::bad_alloc();
  if (alignment == kHugePageBytes) AdviseHugePages(data_.get(), rounded);
}

Result<Request> ParseRequest(const Pieces& message) {
  MessageCursor cursor(message);
  Request request;
  RequestHeader& header = request.header;
  if (!cursor.TakeValue(&header))
    return InvalidArgument("a request of {} bytes is shorter than its header", message.size());
  if (header.magic != kRequestMagic)
    return InvalidArgument("a request begins with {:#x}, not {:#x}", header.magic, kRequestMagic);
  if ((header.flags & ~kAllFlags) != 0) return InvalidArgument("a request has unknown flags {:#x}", header.flags);
  if (!cursor.Take(header.pull_key_bytes, &request.pull_keys) ||
      !cursor.Take(header.push_key_bytes, &request.push_keys) ||
      !cursor.Take(header.row_gradient_bytes, &request.row_gradients) ||
      !cursor.Take(header.dense_gradient_bytes, &request.dense_gradients) ||
      !cursor.Take(header.buffer_bytes, &request.buffers) || cursor.left() > 0)
    return InvalidArgument("the sections of a request do not fill its {} bytes", message.size());
  if ((request.has(kDenseBf16) && request.has(kDensePacked)) ||
      (request.has(kDenseGradientsBf16) && request.has(kDenseGradientsPacked)))
    return InvalidArgument("a request's dense spans are in bf16 and packed");
  const bool pulls = request.has(kPull), pushes = request.has(kPush);
  if (!pulls && !pushes) return InvalidArgument("a request neither pulls nor pushes");
  if (!pulls && (!request.pull_keys.empty() || request.has(kWantParams) || request.has(kWantBuffers) ||
                 request.has(kLookup) || header.initial_rows != 0))
    return InvalidArgument("a request that does not pull has keys or wishes of a pull");
  if (!pushes && (!request.push_keys.empty() || !request.row_gradients.empty() || !request.dense_gradients.empty() ||
                  !request.buffers.empty()))
    return InvalidArgument("a request that does not push has gradients");
  if (pushes && (header.sequence == 0 || header.push_clock < 1 || !(header.weight >= 0) || !(header.weight < 1e30) ||
                 header.samples < 0 || header.samples > (int64_t{1} << 40)))
    return InvalidArgument("a push has sequence number {}, clock {}, weight {}, {} samples", header.sequence,
                           header.push_clock, header.weight, header.samples);
  if (header.next_lease_samples < 0 || header.next_lease_samples > std::max<int64_t>(0, header.samples) ||
      (header.next_lease < 0 && header.next_lease_samples != 0) || (header.lease < 0 && header.next_lease >= 0))
    return InvalidArgument("a push of {} samples has {} of lease {} after those of lease {}", header.samples,
                           header.next_lease_samples, header.next_lease, header.lease);
  if (header.push_clock > kMaxClock ||
      (pulls && !request.has(kLookup) && (header.pull_clock < 1 || header.pull_clock > kMaxClock)))
    return InvalidArgument("a request has clock {}", pulls ? header.pull_clock : header.push_clock);
  return request;
}

Result<Reply> ParseReply(const Pieces& message) {
  MessageCursor cursor(message);
  Reply reply;
  if (!cursor.TakeValue(&reply.header))
    return DataLoss("a reply of {} bytes is shorter than its header", message.size());
  const ReplyHeader& header = reply.header;
  if (header.magic != kReplyMagic) return DataLoss("a reply begins with {:#x}, not {:#x}", header.magic, kReplyMagic);
  if (!cursor.Take(header.row_bytes, &reply.rows) || !cursor.Take(header.dense_bytes, &reply.dense) ||
      !cursor.Take(header.buffer_bytes, &reply.buffers) || cursor.left() > 0)
    return DataLoss("the sections of a reply do not fill its {} bytes", message.size());
  if (header.status != 0) {
    if (header.status > static_cast<uint32_t>(StatusCode::kInternal))
      return DataLoss("a reply has status {}", header.status);
    AlignedBuffer<std::byte> copy;
    const auto text = reply.rows.Whole(&copy);
    reply.status = Status(static_cast<StatusCode>(header.status),
                          std::string(reinterpret_cast<const char*>(text.data()), text.size()));
    reply.rows = {};
  }
  return reply;
}

void KeyList::Clear() {
  blocks.clear();
  keys.clear();
  counts.clear();
  first_named.clear();
}

Status ParseKeys(std::span<const std::byte> section, const KeyLimits& limits, KeyDictionary* dictionary,
                 KeyList* keys) {
  keys->Clear();
  Cursor cursor(section);
  KeysHeader header;
  if (!cursor.TakeValue(&header))
    return InvalidArgument("a list of keys of {} bytes is shorter than its header", section.size());
  if (header.keys > limits.max_keys)
    return ResourceExhausted("a request asks for {} rows; at most {} are allowed (service.max_request_rows)",
                             header.keys, limits.max_keys);
  if (header.blocks > static_cast<uint64_t>(limits.num_vocabularies) || header.new_keys > header.keys ||
      header.others > header.keys)
    return InvalidArgument("a list of {} keys has {} blocks, {} new keys and {} others", header.keys, header.blocks,
                           header.new_keys, header.others);
  if (!dictionary->HasRoomFor(header.new_keys)) return ResourceExhausted("a session's keys exceed service.max_handles");
  std::span<const std::byte> refs, new_keys, others, blocks, counts;
  if (!cursor.Take(uint64_t{header.keys} * 4, &refs) || !cursor.Take(uint64_t{header.new_keys} * 8, &new_keys) ||
      !cursor.Take(uint64_t{header.others} * 8, &others) || !cursor.Take(uint64_t{header.blocks} * 8, &blocks) ||
      !cursor.Take(header.keys, &counts))
    return InvalidArgument("a list of {} keys is cut short at {} bytes", header.keys, section.size());

  const auto owned = [&](Key key) {
    const int shard = embedding::ShardOf(key);
    return shard >= limits.shards.begin && shard < limits.shards.end;
  };
  for (uint32_t i = 0; i < header.new_keys; ++i) {
    const Key key = At<Key>(new_keys, i);
    if (!owned(key))
      return InvalidArgument("key {:#x} belongs to shard {} of another server", key, embedding::ShardOf(key));
    dictionary->Add(key);
  }
  keys->keys.resize(header.keys);
  keys->first_named.reserve(header.new_keys + header.others);
  const auto known_before = static_cast<uint64_t>(dictionary->size()) - header.new_keys;
  const auto known = static_cast<uint64_t>(dictionary->size());
  const Key* const table = dictionary->data();
  constexpr uint32_t kAhead = 16;
  for (uint32_t i = 0; i < header.keys; ++i) {
    if (i + kAhead < header.keys) {
      const auto later = At<uint32_t>(refs, i + kAhead);
      if (later < known) __builtin_prefetch(table + later);
    }
    const auto ref = At<uint32_t>(refs, i);
    if (ref < known) [[likely]] {
      keys->keys[i] = table[ref];
      if (ref >= known_before) keys->first_named.push_back(static_cast<int32_t>(i));
    } else if ((ref & kOther) != 0 && (ref & ~kOther) < header.others) {
      const Key key = At<Key>(others, ref & ~kOther);
      if (!owned(key))
        return InvalidArgument("key {:#x} belongs to shard {} of another server", key, embedding::ShardOf(key));
      keys->keys[i] = key;
      keys->first_named.push_back(static_cast<int32_t>(i));
    } else {
      return InvalidArgument("a list of keys refers to handle {:#x}; {} are known", ref, known);
    }
  }
  int64_t at = 0;
  int32_t previous = -1;
  for (uint32_t b = 0; b < header.blocks; ++b) {
    const auto vocabulary = At<uint32_t>(blocks, 2 * b), size = At<uint32_t>(blocks, 2 * b + 1);
    if (vocabulary >= static_cast<uint64_t>(limits.num_vocabularies) || static_cast<int32_t>(vocabulary) <= previous ||
        size > header.keys - at)
      return InvalidArgument("block {} of a list of keys: {} keys of vocabulary {}", b, size, vocabulary);
    previous = static_cast<int32_t>(vocabulary);
    keys->blocks.push_back({previous, {at, at + size}});
    at += size;
  }
  if (at != header.keys) return InvalidArgument("the blocks of a list of {} keys hold {}", header.keys, at);
  keys->counts.resize(header.keys);
  for (uint32_t i = 0; i < header.keys; ++i) {
    auto count = static_cast<uint32_t>(counts[i]);
    if (count == kLongCount && !cursor.TakeValue(&count)) return InvalidArgument("a list of keys lacks a long count");
    if (count > INT32_MAX) return InvalidArgument("a key has count {}", count);
    keys->counts[i] = static_cast<int32_t>(count);
  }
  if (cursor.left() > 0) return InvalidArgument("a list of keys has {} bytes too many", cursor.left());
  return Status::Ok();
}

HandleMap::HandleMap(int64_t max_keys) : max_keys_(max_keys), slots_(1024) {}

void HandleMap::Grow() {
  std::vector<Slot> old(slots_.size() * 2);
  old.swap(slots_);
  const size_t mask = slots_.size() - 1;
  for (const Slot& from : old) {
    if (from.handle == kNone) continue;
    size_t slot = Mix64(from.key) & mask;
    while (slots_[slot].handle != kNone) slot = (slot + 1) & mask;
    slots_[slot] = from;
  }
}

uint32_t HandleMap::FindOrAdd(Key key, bool* is_new) {
  *is_new = false;
  const size_t mask = slots_.size() - 1;
  size_t slot = Mix64(key) & mask;
  for (; slots_[slot].handle != kNone; slot = (slot + 1) & mask)
    if (slots_[slot].key == key) return slots_[slot].handle;
  if (size_ >= max_keys_) return kNone;
  const auto handle = static_cast<uint32_t>(size_);
  slots_[slot] = {key, handle};
  *is_new = true;
  if (2 * ++size_ > static_cast<int64_t>(slots_.size())) Grow();
  return handle;
}

Bytes EncodeKeys(const KeyList& list, HandleMap* map) {
  const size_t n = list.keys.size();
  std::vector<uint32_t> refs(n), long_counts;
  std::vector<Key> new_keys, others;
  constexpr size_t kAhead = 16;
  for (size_t i = 0; i < n; ++i) {
    if (map != nullptr && i + kAhead < n) map->Prefetch(list.keys[i + kAhead]);
    bool is_new = false;
    const uint32_t handle = map != nullptr ? map->FindOrAdd(list.keys[i], &is_new) : HandleMap::kNone;
    if (is_new) new_keys.push_back(list.keys[i]);
    refs[i] = handle;
    if (handle == HandleMap::kNone) {
      refs[i] = kOther | static_cast<uint32_t>(others.size());
      others.push_back(list.keys[i]);
    }
    if (list.counts[i] >= static_cast<int32_t>(kLongCount))
      long_counts.push_back(static_cast<uint32_t>(list.counts[i]));
  }
  const KeysHeader header{static_cast<uint32_t>(list.blocks.size()), static_cast<uint32_t>(n),
                          static_cast<uint32_t>(new_keys.size()), static_cast<uint32_t>(others.size())};
  Bytes out(sizeof(header) + n * 5 + (new_keys.size() + others.size() + list.blocks.size()) * 8 +
            long_counts.size() * 4);
  std::byte* at = out.data();
  const auto put = [&](const void* data, size_t size) {
    if (size > 0) std::memcpy(at, data, size);
    at += size;
  };
  put(&header, sizeof(header));
  put(refs.data(), n * 4);
  put(new_keys.data(), new_keys.size() * 8);
  put(others.data(), others.size() * 8);
  for (const auto& block : list.blocks) {
    const uint32_t words[2] = {static_cast<uint32_t>(block.vocabulary), static_cast<uint32_t>(block.keys.size())};
    put(words, sizeof(words));
  }
  for (size_t i = 0; i < n; ++i)
    *at++ = static_cast<std::byte>(std::min<int32_t>(std::max(list.counts[i], 0), static_cast<int32_t>(kLongCount)));
  put(long_counts.data(), long_counts.size() * 4);
  return out;
}

template <class T>
void EncodeNumbers(const T* from, int64_t n, bool bf16, std::byte* to) {
  if (n == 0) return;
  if (!bf16) {
    std::memcpy(to, from, static_cast<size_t>(n) * sizeof(T));
    return;
  }
  constexpr int64_t kBlock = 512;
  uint16_t bits[kBlock];
  float floats[kBlock];
  for (int64_t i = 0; i < n; i += kBlock) {
    const int64_t count = std::min(kBlock, n - i);
    const float* source = nullptr;
    if constexpr (sizeof(T) == sizeof(float)) {
      source = from + i;
    } else {
      for (int64_t k = 0; k < count; ++k) floats[k] = static_cast<float>(from[i + k]);
      source = floats;
    }
    FloatToBf16(source, bits, count);
    std::memcpy(to + i * 2, bits, static_cast<size_t>(count) * 2);
  }
}

template <class T>
void DecodeNumbers(const std::byte* from, int64_t n, bool bf16, T* to) {
  if (n == 0) return;
  if (!bf16) {
    std::memcpy(to, from, static_cast<size_t>(n) * sizeof(T));
    return;
  }
  constexpr int64_t kBlock = 512;
  uint16_t bits[kBlock];
  float floats[kBlock];
  for (int64_t i = 0; i < n; i += kBlock) {
    const int64_t count = std::min(kBlock, n - i);
    std::memcpy(bits, from + i * 2, static_cast<size_t>(count) * 2);
    if constexpr (sizeof(T) == sizeof(float)) {
      Bf16ToFloat(bits, to + i, count);
    } else {
      Bf16ToFloat(bits, floats, count);
      for (int64_t k = 0; k < count; ++k) to[i + k] = floats[k];
    }
  }
}

template <class T>
void DecodeNumbers(const Pieces& from, int64_t n, bool bf16, T* to) {
  constexpr int64_t kBlock = 512;
  std::byte scratch[kBlock * 2];
  if (bf16) {
    PieceReader reader(from);
    for (int64_t i = 0; i < n; i += kBlock) {
      const int64_t count = std::min(kBlock, n - i);
      DecodeNumbers(reader.Next(static_cast<size_t>(count) * 2, scratch), count, true, to + i);
    }
    return;
  }
  auto* at = reinterpret_cast<std::byte*>(to);
  for (const auto& piece : from.list()) {
    std::memcpy(at, piece.data(), piece.size());
    at += piece.size();
  }
}

namespace {

// Whether check(numbers, how many) holds for all numbers, block by block.
template <class V, class Check>
bool HoldsForAll(const Pieces& numbers, const Check& check) {
  constexpr size_t kBlock = 1024;
  alignas(64) V scratch[kBlock];
  PieceReader reader(numbers);
  for (size_t left = numbers.size() / sizeof(V); left > 0;) {
    const size_t n = std::min(kBlock, left);
    const std::byte* at = reader.Next(n * sizeof(V), reinterpret_cast<std::byte*>(scratch));
    if (reinterpret_cast<uintptr_t>(at) % alignof(V) != 0) {
      std::memcpy(scratch, at, n * sizeof(V));
      at = reinterpret_cast<const std::byte*>(scratch);
    }
    if (!check(reinterpret_cast<const V*>(at), static_cast<int64_t>(n))) return false;
    left -= n;
  }
  return true;
}

// No exponent of ones.
bool AllFiniteBf16(const uint16_t* x, int64_t n) {
  constexpr uint16_t kExponent = 0x7f80;
  uint16_t special = 0;
  for (int64_t i = 0; i < n; ++i) special |= static_cast<uint16_t>((x[i] & kExponent) == kExponent);
  return special == 0;
}

}  // namespace

bool WireFinite(const Pieces& numbers, bool bf16, int scalar_bytes) {
  if (bf16) return HoldsForAll<uint16_t>(numbers, AllFiniteBf16);
  const auto check = [](const auto* x, int64_t n) { return AllFinite(x, n); };
  return scalar_bytes == 8 ? HoldsForAll<double>(numbers, check) : HoldsForAll<float>(numbers, check);
}

template void EncodeNumbers(const float*, int64_t, bool, std::byte*);
template void EncodeNumbers(const double*, int64_t, bool, std::byte*);
template void DecodeNumbers(const std::byte*, int64_t, bool, float*);
template void DecodeNumbers(const std::byte*, int64_t, bool, double*);
template void DecodeNumbers(const Pieces&, int64_t, bool, float*);
template void DecodeNumbers(const Pieces&, int64_t, bool, double*);

}  // namespace sluice::service
