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
  uint64_t fingerprint = 0;   // of the settings that a position depends on
  std::string name;           // of the input, for messages
  bool may_be_empty = false;
};

// Batches from pieces: slices them, or shuffles them within windows. A position names the block in which the current
// window starts, the samples of that block before it, and the samples of the window already delivered.
class StreamSource : public BatchSource {
 public:
  StreamSource(Schema schema, std::unique_ptr<PieceStream> stream, StreamOptions options);

  const Schema& schema() const override { return schema_; }
  Result<bool> Next(Batch* batch) override;
  std::string position() const override;
  Status Seek(const std::string& position) override;
  SourceStats stats() const override;

 private:
  // A place between two samples.
  struct Anchor {
    int64_t epoch = 0;
    BlockPlace place;
    int64_t skip = 0;         // samples of the block before this place
    int64_t window = 0;       // windows of the epoch before this place
    SourceStats before;       // counts before the block
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

  Piece* piece_ = nullptr;      // being delivered
  int64_t piece_used_ = 0;      // of its samples
  Anchor next_;                 // of piece_, or where the next piece is expected to start
  SourceStats counts_;          // piece_ included; samples: delivered
  int64_t epoch_samples_ = 0;
  bool ended_ = false;

  Batch window_;
  std::vector<uint32_t> order_;
  int64_t window_used_ = 0;
  bool window_ends_epoch_ = false;
  Anchor window_start_;
  int64_t seek_used_ = 0;       // of the window in which Seek's position lies
};

}  // namespace sluice::data
