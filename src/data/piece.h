#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

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

// A block of input on its way to columns. Recycled: nothing is allocated once capacities have grown.
struct Piece {
  // Set by PieceReader::Cut.
  BlockPlace place;
  int64_t epoch = 0;
  bool end_of_epoch = false;           // no block: the marker between epochs
  std::vector<char> buffer;            // text, ends in a newline, 64 bytes of padding behind it
  size_t text_size = 0;                // without the padding
  int64_t lines = 0;
  int64_t bytes = 0;                   // of input, uncompressed
  std::shared_ptr<const std::vector<int>> columns;  // file column of each of Plan::columns, -1 where absent
  int file_columns = 0;                // columns that every line of the file has
  // Set by PieceReader::Parse.
  Batch batch;
  int64_t skipped_lines = 0;
  int64_t dropped_negatives = 0;
  int64_t first_bad_line = 0;          // number within the file, 0: none
  std::string first_bad;               // message of it
  Status status;                       // of Cut or Parse

  // Scratch of the parsers.
  Batch whole;            // packed: the block before columns are chosen
  std::vector<uint32_t> begins, ends, line_ends, rows, row_lines;
  std::vector<uint8_t> bad_rows;
  bool odd_text = false;  // NUL or non-ASCII bytes somewhere

  void Reset() {
    end_of_epoch = false;
    text_size = 0;
    lines = bytes = skipped_lines = dropped_negatives = first_bad_line = 0;
    first_bad.clear();
    status = Status::Ok();
  }
};

// Takes input apart into blocks, and blocks into columns.
// Threads      Cut and Rewind: one at a time, in order. Parse: concurrent on different pieces, also with Cut.
class PieceReader {
 public:
  virtual ~PieceReader() = default;
  // The next block; false at the end of the data. A failure ends the stream.
  virtual Result<bool> Cut(Piece* piece) = 0;
  // Columns of piece->batch from the block; failures go to piece->status.
  virtual void Parse(Piece* piece) const = 0;
  // Goes to a block's start: {} is the start of the data.
  virtual Status Rewind(const BlockPlace& place) = 0;
  // Whether Rewind can go anywhere but forward (standard input cannot).
  virtual bool rewindable() const = 0;
  // Makes a Cut that waits for input give up. From any thread.
  virtual void Cancel() {}
};

}  // namespace sluice::data
