#pragma once

#include <cstdint>

namespace sluice {

// A half-open range of samples or indices.
struct Range {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
  bool empty() const { return begin >= end; }
};

// A batch is cut into this many logical chunks whose boundaries depend on its size alone, so 1, 2, 3, 4, 6, 8, 12 or 24
// ranks or threads take whole chunks (docs/architecture.md).
inline constexpr int kNumChunks = 24;

// Bounds of logical chunk `chunk` of `size` samples; some are empty when size < kNumChunks.
constexpr Range ChunkRange(int64_t size, int chunk) {
  return {size * chunk / kNumChunks, size * (chunk + 1) / kNumChunks};
}

// The samples of a batch that the `part`-th of `parts` computes: whole logical chunks; empty for some where parts >
// kNumChunks.
constexpr Range ChunksOfPart(int64_t size, int part, int parts) {
  return {ChunkRange(size, part * kNumChunks / parts).begin, ChunkRange(size, (part + 1) * kNumChunks / parts).begin};
}

// The `part`-th of `parts` nearly equal consecutive pieces of [0, size).
constexpr Range PartRange(int64_t size, int part, int parts) {
  return {size * part / parts, size * (part + 1) / parts};
}

}  // namespace sluice
