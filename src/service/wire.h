#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/chunks.h"
#include "base/hash.h"
#include "base/status.h"
#include "embedding/table.h"
#include "service/parameter_client.h"
#include "service/pieces.h"

// Messages of the row streams: a fixed header, then sections whose lengths it states, all little-endian.
//   request  header | keys of the pull | keys of the push | row gradients | dense gradients | buffers
//   reply    header | rows | dense parameters | buffers        or, on failure, header | text
// docs/algorithms/parameter-service.md has the format field by field.
namespace sluice::service {

inline constexpr uint32_t kProtocol = 4;
inline constexpr uint32_t kRequestMagic = 0x31515350;  // "PSQ1"
inline constexpr uint32_t kReplyMagic = 0x31415350;    // "PSA1"

inline constexpr int64_t kMaxClock = 0xffffffff;  // steps of tables fit 32 bits

// RequestHeader::flags.
using RequestFlag = uint32_t;
inline constexpr RequestFlag kPull = 1 << 0;
inline constexpr RequestFlag kPush = 1 << 1;
inline constexpr RequestFlag kLookup = 1 << 2;  // a pull that changes nothing; its clock means nothing
inline constexpr RequestFlag kWantParams = 1 << 3;
inline constexpr RequestFlag kWantBuffers = 1 << 4;
inline constexpr RequestFlag kRowsBf16 = 1 << 5;
inline constexpr RequestFlag kDenseBf16 = 1 << 6;
inline constexpr RequestFlag kRowGradientsBf16 = 1 << 7;
inline constexpr RequestFlag kDenseGradientsBf16 = 1 << 8;
inline constexpr RequestFlag kDensePacked = 1 << 9;  // service/packing.h
inline constexpr RequestFlag kDenseGradientsPacked = 1 << 10;
inline constexpr RequestFlag kAllFlags = (1 << 11) - 1;

struct RequestHeader {
  uint32_t magic = kRequestMagic;
  uint32_t flags = 0;
  uint64_t request = 0;  // comes back with the reply
  int64_t pull_clock = 0;
  int64_t push_clock = 0;
  uint64_t sequence = 0;  // of the push among the client's, from 1 on
  double weight = 0;
  int64_t samples = 0;
  int64_t lease = -1;
  int64_t next_lease = -1;         // of the last samples, where a batch spans two leases
  int64_t next_lease_samples = 0;  // of `samples`
  uint64_t pull_key_bytes = 0;
  uint64_t push_key_bytes = 0;  // 0: the keys of the open batch of push_clock
  uint64_t row_gradient_bytes = 0;
  uint64_t dense_gradient_bytes = 0;
  uint64_t buffer_bytes = 0;
  uint64_t initial_rows = 0;  // of a pull: rows equal to these may be left out (initial_rows.h); 0: none
};
static_assert(sizeof(RequestHeader) == 128);

struct ReplyHeader {
  uint32_t magic = kReplyMagic;
  uint32_t status = 0;  // StatusCode; other than kOk: row_bytes of text follow
  uint64_t request = 0;
  uint64_t durable = 0;   // the client's pushes up to this one are in a checkpoint
  int64_t staleness = 0;  // pushes of others between the pull of the pushed batch and the push
  uint64_t row_bytes = 0;
  uint64_t dense_bytes = 0;
  uint64_t buffer_bytes = 0;
};
static_assert(sizeof(ReplyHeader) == 56);

// A run of bytes with memory of its own, aligned to a cache line.
class Bytes {
 public:
  Bytes() = default;
  explicit Bytes(size_t size);
  std::byte* data() const { return data_.get(); }
  size_t size() const { return size_; }
  std::span<const std::byte> span() const { return {data_.get(), size_}; }
  // Keeps the first bytes. REQUIRES: size <= size().
  void Truncate(size_t size) { size_ = size; }
  // Hands the memory over; std::free ends it.
  void* release() {
    size_ = 0;
    return data_.release();
  }

 private:
  struct Free {
    void operator()(std::byte* p) const { std::free(p); }
  };
  std::unique_ptr<std::byte, Free> data_;
  size_t size_ = 0;
};

// A request, its sections within the message.
struct Request {
  RequestHeader header;
  Pieces pull_keys, push_keys, row_gradients, dense_gradients, buffers;

  bool has(RequestFlag flag) const { return (header.flags & flag) != 0; }
};
// Errors: kInvalidArgument saying what is wrong with the message.
Result<Request> ParseRequest(const Pieces& message);

struct Reply {
  ReplyHeader header;
  Pieces rows, dense, buffers;
  Status status;  // of the request
};
Result<Reply> ParseReply(const Pieces& message);

// ---- keys

// Keys of a request: unique within a block, blocks with ascending vocabularies.
struct KeyList {
  struct Block {
    int32_t vocabulary = 0;
    Range keys;
  };
  std::vector<Block> blocks;
  std::vector<Key> keys;
  std::vector<int32_t> counts;
  std::vector<int32_t> first_named;  // ascending: of a parsed list, the keys that travelled whole

  int64_t size() const { return static_cast<int64_t>(keys.size()); }
  void Clear();
};

// The keys that a session has sent, by the number that each got when it was first sent: a key travels whole once, as a
// 32-bit handle from then on. Handles name keys, not rows, and die with the session, so neither expiry nor a restart
// can make one mean another row.
class KeyDictionary {
 public:
  explicit KeyDictionary(int64_t max_keys = 0) : max_keys_(max_keys) {}
  int64_t size() const { return static_cast<int64_t>(keys_.size()); }
  int64_t memory_bytes() const { return static_cast<int64_t>(keys_.capacity() * sizeof(Key)); }
  const Key* data() const { return keys_.data(); }
  bool HasRoomFor(int64_t n) const { return size() + n <= max_keys_; }
  void Add(Key key) { keys_.push_back(key); }

 private:
  int64_t max_keys_;
  std::vector<Key> keys_;
};

// What keys of a request must satisfy.
struct KeyLimits {
  int64_t max_keys = 0;
  int num_vocabularies = 0;
  Range shards{0, embedding::kNumShards};  // of this server
};

// Section: u32 blocks, keys, new keys, other keys | u32 refs[keys] | u64 new[] | u64 others[] |
//          {u32 vocabulary, u32 keys}[blocks] | u8 counts[keys] (255: the next of the long ones) | u32 long[].
// A ref below 2^31 is a handle, the new keys taking the next free ones in order; with the upper bit it is an index into
// the others.
// Semantics    where it fails, dictionary and list are as far as parsing came; the session is then not to be used any
// more.
Status ParseKeys(std::span<const std::byte> section, const KeyLimits& limits, KeyDictionary* dictionary, KeyList* keys);

// A client's side of a dictionary: keys to handles.
class HandleMap {
 public:
  explicit HandleMap(int64_t max_keys = 0);
  // The key's handle; or the next free one, *is_new; or kNone where the dictionary is full.
  static constexpr uint32_t kNone = 0xffffffffu;
  uint32_t FindOrAdd(Key key, bool* is_new);
  void Prefetch(Key key) const { __builtin_prefetch(&slots_[Mix64(key) & (slots_.size() - 1)]); }
  int64_t size() const { return size_; }

 private:
  struct Slot {
    Key key = 0;
    uint32_t handle = kNone;  // kNone: empty
  };
  void Grow();
  int64_t max_keys_;
  int64_t size_ = 0;
  std::vector<Slot> slots_;
};

// The section for `keys`; with `map` null every key travels whole.
Bytes EncodeKeys(const KeyList& keys, HandleMap* map);

// ---- numbers

inline int64_t WireBytes(int64_t scalars, bool bf16, size_t scalar_bytes) {
  return scalars * static_cast<int64_t>(bf16 ? 2 : scalar_bytes);
}
// n numbers of T to the wire and back; bytes need no alignment.
template <class T>
void EncodeNumbers(const T* from, int64_t n, bool bf16, std::byte* to);
template <class T>
void DecodeNumbers(const std::byte* from, int64_t n, bool bf16, T* to);
// REQUIRES: from.size() == WireBytes(n, bf16, sizeof(T)).
template <class T>
void DecodeNumbers(const Pieces& from, int64_t n, bool bf16, T* to);
// Whether no number on the wire is infinite or none.
bool WireFinite(const Pieces& numbers, bool bf16, int scalar_bytes);

// Lock groups of keys (backend.h): bits of the hash after those of the shard.
inline constexpr int kGroupBits = 4;
inline constexpr int kGroups = 1 << kGroupBits;
inline int GroupOf(Key key) {
  return static_cast<int>(Mix64(key) >> (64 - embedding::kShardBits - kGroupBits)) & (kGroups - 1);
}

// The spans of one server of several: scalars [begin, end) of n, cut at multiples of 16.
inline Range SpanOfServer(int64_t n, int server, int servers) {
  constexpr int64_t kAlign = 16;
  const Range blocks = PartRange((n + kAlign - 1) / kAlign, server, servers);
  return {std::min(n, blocks.begin * kAlign), std::min(n, blocks.end * kAlign)};
}
inline Range ShardsOfServer(int server, int servers) { return PartRange(embedding::kNumShards, server, servers); }

}  // namespace sluice::service
