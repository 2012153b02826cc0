#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "data/piece.h"

namespace sluice::data {

// What those who open stretch after stretch of the same input need not find out again.
struct RangeSearch {
  std::vector<int64_t> file_starts;  // bytes (packed: samples) before each file, and of all; empty: not known yet
  BlockPlace place;                  // the block after the last stretch that was read to its end
};

// A stretch of one pass over the training data: the blocks that begin in part `index` of `count` equal parts of the
// bytes (packed: of the samples). The stretches of all indices hold every sample once, whoever opens them.
struct InputRange {
  int64_t index = 0;
  int64_t count = 0;                    // 0: no stretch, the whole input
  int64_t epoch = 0;                    // what a shuffle within the stretch is a function of, beside seed and index
  std::shared_ptr<RangeSearch> search;  // may be null. REQUIRES: this stretch is not before the last one read with it
};

// The blocks of another reader that begin in a range. Blocks between the place where searching starts and the range are
// cut but not parsed.
class RangeReader : public PieceReader {
 public:
  // `file_starts` [files + 1]: samples (`by_samples`) or bytes before each file, and of all.
  RangeReader(std::unique_ptr<PieceReader> reader, InputRange range, std::vector<int64_t> file_starts, bool by_samples);

  Result<bool> Cut(Piece* piece) override;
  void Parse(Piece* piece) const override { reader_->Parse(piece); }
  void Index(Piece* piece) const override { reader_->Index(piece); }
  void ParseSamples(const SampleRefs& samples, Piece* out) const override { reader_->ParseSamples(samples, out); }
  Status Rewind(const BlockPlace& place) override;
  bool rewindable() const override { return reader_->rewindable(); }
  void Cancel() override { reader_->Cancel(); }

 private:
  std::unique_ptr<PieceReader> reader_;
  InputRange range_;
  std::vector<int64_t> file_starts_;
  bool by_samples_;
  int64_t begin_, end_;
  bool ended_ = false;
};

}  // namespace sluice::data
