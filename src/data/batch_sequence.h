#pragma once

#include <memory>
#include <string>
#include <vector>

#include "data/piece_stream.h"
#include "data/source.h"

namespace sluice::data {

struct StreamOptions {
  int64_t batch_size = 2048;
  int64_t shuffle_window = 0;
  uint64_t seed = 1;
  int64_t max_bad_lines = 0;
  uint64_t fingerprint = 0;  // of the settings that a position depends on
  std::string name;          // of the input, for messages
  bool may_be_empty = false;
};

// Batches from pieces: cuts them up, or shuffles them within windows. A position names the block in which the current
// window starts, the samples of that block before it, and the samples of the window already delivered.
// Rows         Batch: pieces are parsed. SampleRefs: pieces are indexed, and a batch names samples for later parsing.
// Threads      one at a time.
template <class Rows>
class BatchSequence {
 public:
  BatchSequence(Schema schema, std::unique_ptr<PieceStream> stream, StreamOptions options);

  // As the functions of BatchSource.
  const Schema& schema() const { return schema_; }
  Result<bool> Next(Rows* batch);
  std::string position() const;
  Status Seek(const std::string& position);
  const SourceStats& stats() const { return counts_; }
  bool rewindable() const { return stream_->rewindable(); }

 private:
  // A place between two samples.
  struct Anchor {
    int64_t epoch = 0;
    BlockPlace place;
    int64_t skip = 0;    // samples of the block before this place
    int64_t window = 0;  // windows of the epoch before this place
    SourceStats before;  // counts before the block
  };

  enum class Pulled { kSamples, kEndOfEpoch, kEnd };

  Result<Pulled> PullPiece();
  Result<Pulled> FillWindow();
  Status CheckPiece(const Piece& piece);
  Anchor CurrentAnchor() const;
  bool shuffles() const { return options_.shuffle_window > 0; }

  Schema schema_;
  std::unique_ptr<PieceStream> stream_;
  StreamOptions options_;

  Piece* piece_ = nullptr;  // being delivered
  int64_t piece_used_ = 0;  // of its samples
  Anchor next_;             // of piece_, or where the next piece is expected to start
  SourceStats counts_;      // piece_ included; samples: delivered
  int64_t epoch_samples_ = 0;
  bool ended_ = false;

  Rows window_;
  std::vector<uint32_t> order_;
  int64_t window_used_ = 0;
  bool window_ends_epoch_ = false;
  Anchor window_start_;
  int64_t seek_used_ = 0;  // of the window in which Seek's position lies
};

extern template class BatchSequence<Batch>;
extern template class BatchSequence<SampleRefs>;

}  // namespace sluice::data
