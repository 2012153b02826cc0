#pragma once

#include <memory>
#include <string>

#include "data/batch_sequence.h"
#include "data/open.h"
#include "data/piece_stream.h"
#include "data/source.h"

namespace sluice::data {

// One rank's share of every global batch, parsing nothing else. Blocks are cut and indexed in order; once a global
// batch's samples are counted, those of this rank are put together and parsed, several batches at once on the reader
// threads.
// Memory       the text (packed: the columns, once read) of the shuffle window and of the batches under way.
// Threads      as BatchSource.
class SlicedSource : public BatchSource {
 public:
  SlicedSource(const Schema& schema, std::unique_ptr<PieceReader> reader, const StreamOptions& options, int num_threads,
               int64_t epochs, Slice slice);

  const Schema& schema() const override { return schema_; }
  Result<bool> Next(Batch* batch) override;
  std::string position() const override { return position_; }
  Status Seek(const std::string& position) override;
  SourceStats stats() const override { return stats_; }

 private:
  class ShareReader;

  Schema schema_;
  ShareReader* reader_;  // of stream_
  std::unique_ptr<PieceStream> stream_;
  SourceStats stats_;
  std::string position_;
};

// The same from a source of whole batches, for input that cannot be counted without being parsed.
class SelectingSource : public BatchSource {
 public:
  SelectingSource(std::unique_ptr<BatchSource> source, Slice slice);

  const Schema& schema() const override { return source_->schema(); }
  Result<bool> Next(Batch* batch) override;
  std::string position() const override { return source_->position(); }
  Status Seek(const std::string& position) override { return source_->Seek(position); }
  SourceStats stats() const override { return source_->stats(); }

 private:
  std::unique_ptr<BatchSource> source_;
  Slice slice_;
  Batch whole_;
};

}  // namespace sluice::data
