#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "data/byte_input.h"
#include "data/filter.h"
#include "data/piece.h"
#include "data/plan.h"
#include "data/records.h"

namespace sluice::data {

struct TextOptions {
  std::vector<std::string> files;
  int64_t block_bytes = 1 << 18;
  int64_t max_line_bytes = 1 << 20;
  bool skip_bad_lines = false;
  bool utf8 = true;
  char separator = '\t';
  bool quotes = false;                    // csv: newlines inside quoted values do not end a record
  bool header = false;                    // csv: the first record names the columns
  std::vector<std::string> column_names;  // without header: of every file
  SampleFilter filter;
};

// Cuts text files into blocks of whole lines; deriving classes parse them.
class TextReader : public PieceReader {
 public:
  TextReader(Plan plan, TextOptions options) : plan_(std::move(plan)), options_(std::move(options)) {}

  Result<bool> Cut(Piece* piece) override;
  Status Rewind(const BlockPlace& place) override;
  bool rewindable() const override;
  void Cancel() override { cancelled_ = true; }
  void Index(Piece* piece) const override;
  void ParseSamples(const SampleRefs& samples, Piece* out) const override;

 protected:
  // Fills block->begins, ends and lines with the samples of piece->buffer that the filter keeps; may fail by
  // AddBadLine. `block` has everything but these and the text, which is taken from the piece's buffer afterwards.
  virtual void FindSamples(Piece* piece, SampleBlock* block) const = 0;
  // The samples of text that was put together were chosen already.
  const SampleFilter& FilterOf(const Piece& piece) const { return piece.assembled ? everything_ : options_.filter; }
  // Name of a line for messages: "file:line".
  std::string LineName(const Piece& piece, int64_t line_in_block) const;
  // Counts a bad line; keeps the message of the first. `column` (of values; libsvm, libffm: of characters) counts from
  // 1; 0: the whole line.
  void AddBadLine(Piece* piece, int64_t line_in_block, int column, const std::string& what) const;
  // After parsing: turns bad lines into a failure where they are not skipped.
  void FinishBadLines(Piece* piece) const;
  // Sizes the batch's columns for `size` samples whose values follow; columns of several keys are left empty.
  void StartBatch(Piece* piece, int64_t size) const;

  Plan plan_;
  TextOptions options_;

 private:
  void Assemble(const SampleRefs& samples, std::span<const uint8_t> group_of_block, uint8_t group, Piece* out) const;
  Status OpenFile();
  Status ReadHeader();
  Status MapColumns(const std::vector<std::string>& names);
  Status FillBlock(Piece* piece);
  Status DropLongLine(Piece* piece, size_t text_size);

  SampleFilter everything_;
  std::atomic<bool> cancelled_{false};
  std::unique_ptr<ByteInput> input_;
  BlockPlace place_;         // of the next block
  std::vector<char> carry_;  // bytes read beyond the last block
  bool at_end_of_file_ = false;
  std::shared_ptr<const std::vector<int>> columns_;
  int file_columns_ = 0;
};

}  // namespace sluice::data
