#pragma once

// Fixed parts of the packed format (data/packed.h), shared by its writer and its reader.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "base/hash.h"
#include "base/rng.h"

namespace sluice::data::packed {

inline constexpr char kMagic[8] = {'S', 'L', 'U', 'I', 'C', 'E', 'P', 'K'};
inline constexpr char kEndMagic[8] = {'S', 'L', 'U', 'I', 'C', 'E', 'N', 'D'};
inline constexpr size_t kHeaderBytes = 64;
inline constexpr size_t kAlign = 8;

struct Header {
  char magic[8];
  uint32_t version;
  uint32_t json_bytes;
  uint64_t hash;
  char zeros[40];
};
static_assert(sizeof(Header) == kHeaderBytes);

struct Trailer {
  uint64_t index_offset;
  uint64_t num_blocks;
  uint64_t num_samples;
  uint64_t hash;
  char magic[8];
};

inline uint64_t Hash(std::span<const std::byte> bytes, uint64_t seed = 0) {
  return HashBytes({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, seed);
}

inline uint64_t TrailerHash(const Trailer& trailer, std::span<const std::byte> index) {
  return MixPair(MixPair(Hash(index), trailer.index_offset), MixPair(trailer.num_blocks, trailer.num_samples));
}

inline size_t Aligned(size_t size) { return (size + kAlign - 1) / kAlign * kAlign; }

// Everything before the first block, with the hash taken as 0.
inline uint64_t HeaderHash(std::span<const std::byte> bytes) {
  Header header;
  std::memcpy(&header, bytes.data(), sizeof header);
  header.hash = 0;
  return Hash(bytes.subspan(sizeof header), Hash(std::as_bytes(std::span(&header, 1))));
}

}  // namespace sluice::data::packed
