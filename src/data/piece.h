#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "data/batch.h"
#include "data/sample_block.h"
#include "data/source.h"

namespace sluice::data {

// A block of input on its way to columns. Recycled: nothing is allocated once capacities have grown.
struct Piece {
  // Set by PieceReader::Cut.
  BlockPlace place;
  int64_t epoch = 0;
  bool end_of_epoch = false;  // no block: the marker between epochs
  std::vector<char> buffer;   // text, ends in a newline, 64 bytes of padding behind it
  size_t text_size = 0;       // without the padding
  int64_t lines = 0;
  int64_t bytes = 0;                                // of input, uncompressed
  std::shared_ptr<const std::vector<int>> columns;  // file column of each of Plan::columns, -1 where absent
  int file_columns = 0;                             // columns that every line of the file has
  // Set by PieceReader::Parse.
  Batch batch;
  int64_t skipped_lines = 0;
  int64_t dropped_negatives = 0;
  int64_t first_bad_line = 0;  // number within the file, 0: none
  std::string first_bad;       // message of it
  Status status;               // of Cut or Parse
  // Set by PieceReader::Index, beside batch.size.
  std::shared_ptr<SampleBlock> block;
  // A rank's share of one global batch (data/sliced_source.h): its samples, and what the source says after it.
  SampleRefs samples;
  int64_t global_size = 0;
  SourceStats stats;
  std::string position;
  // Text that ParseSamples put together: where lines come from, in the order of their places in the text.
  struct Origin {
    int64_t line_in_text;
    int64_t file;
    int64_t line;
  };
  bool assembled = false;
  std::vector<Origin> origins;

  // Scratch of the parsers.
  Batch whole;  // packed: the block before columns are chosen
  std::vector<uint32_t> begins, ends, line_ends, rows, row_lines;
  std::vector<uint8_t> bad_rows;
  bool odd_text = false;  // NUL or non-ASCII bytes somewhere

  void Reset() {
    end_of_epoch = false;
    text_size = 0;
    lines = bytes = skipped_lines = dropped_negatives = first_bad_line = 0;
    first_bad.clear();
    status = Status::Ok();
    assembled = false;
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
  // In place of Parse: finds the samples that the filter keeps without making columns; batch.size is their number and
  // `block` what ParseSamples takes. What only a sample's own columns would show (a malformed number) is found there.
  virtual void Index(Piece* piece) const = 0;
  // Columns of out->batch from indexed samples, in their order; failures go to out->status. Concurrent as Parse.
  virtual void ParseSamples(const SampleRefs& samples, Piece* out) const = 0;
  // Goes to a block's start: {} is the start of the data.
  virtual Status Rewind(const BlockPlace& place) = 0;
  // Whether Rewind can go anywhere but forward (standard input cannot).
  virtual bool rewindable() const = 0;
  // Makes a Cut that waits for input give up. From any thread.
  virtual void Cancel() {}
};

}  // namespace sluice::data
