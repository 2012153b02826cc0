#pragma once

#include <memory>
#include <string>
#include <utility>

#include "data/batch_sequence.h"
#include "data/source.h"

namespace sluice::data {

// Whole batches: all that one process trains on.
class StreamSource : public BatchSource {
 public:
  StreamSource(Schema schema, std::unique_ptr<PieceStream> stream, StreamOptions options)
      : sequence_(std::move(schema), std::move(stream), std::move(options)) {}

  const Schema& schema() const override { return sequence_.schema(); }
  Result<bool> Next(Batch* batch) override {
    SLUICE_ASSIGN_OR_RETURN(const bool more, sequence_.Next(batch));
    batch->global_size = batch->size;
    return more;
  }
  std::string position() const override { return sequence_.position(); }
  Status Seek(const std::string& position) override { return sequence_.Seek(position); }
  SourceStats stats() const override { return sequence_.stats(); }

 private:
  BatchSequence<Batch> sequence_;
};

}  // namespace sluice::data
