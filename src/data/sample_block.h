#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "base/chunks.h"
#include "base/status.h"
#include "data/batch.h"

namespace sluice::data {

// Where a block of input starts.
struct BlockPlace {
  int64_t file = 0;     // index into the list of files
  int64_t offset = 0;   // uncompressed bytes; packed: block number
  int64_t line = 1;     // number of the first line within its file
  int64_t ordinal = 0;  // lines (packed: samples) of the epoch before this block, over all files
};

// A block of input whose samples are counted but not parsed: what it takes to parse any of them later.
// Threads      written by PieceReader::Index, then read by any; `batch` is made once, by the first that needs it.
struct SampleBlock {
  BlockPlace place;
  // Text: sample i is text[begins[i], ends[i]), its newline included, and starts at line `lines[i]` of the block.
  std::vector<char> text;
  std::vector<uint32_t> begins, ends, lines;
  std::shared_ptr<const std::vector<int>> columns;
  int file_columns = 0;
  // Packed: samples of the block that the filter keeps; empty: all of them.
  std::vector<uint32_t> rows;
  std::once_flag once;
  Batch batch;
  Status status;
};

// Samples of blocks, in the order of training: what a Batch is to a source that parses everything.
struct SampleRefs {
  struct Ref {
    uint32_t block;   // into blocks
    uint32_t sample;  // of the block
  };
  int64_t size = 0;
  int64_t first_sample = 0;
  int64_t epoch = 0;
  std::vector<std::shared_ptr<SampleBlock>> blocks;
  std::vector<Ref> refs;  // [size]

  void Clear() {
    size = 0;
    blocks.clear();
    refs.clear();
  }
  // Appends samples [begin, end) of a block.
  void Append(const std::shared_ptr<SampleBlock>& block, int64_t begin, int64_t end);
  // Appends samples rows[0], rows[1], ... of `from`.
  void Gather(const SampleRefs& from, std::span<const uint32_t> rows);
  // Keeps [samples) alone, and the blocks that they lie in.
  void Select(Range samples);
};

}  // namespace sluice::data
