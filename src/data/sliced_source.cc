#include "data/sliced_source.h"

#include <utility>

#include "base/chunks.h"
#include "data/batch_ops.h"

namespace sluice::data {
namespace {

// Columns of a batch without samples, which appending leaves shapeless.
void ShapeEmpty(const Schema& schema, Batch* batch) {
  if (batch->size > 0) return;
  for (size_t f = 0; f < schema.fields.size(); ++f)
    if (!schema.fields[f].one_hot) batch->fields[f].offsets.assign(1, 0);
}

}  // namespace

// "Blocks" that are shares of global batches.
class SlicedSource::ShareReader : public PieceReader {
 public:
  ShareReader(const Schema& schema, std::unique_ptr<PieceReader> reader, const StreamOptions& options, int64_t epochs,
              Slice slice)
      : reader_(reader.get()),
        sequence_(schema, std::make_unique<PieceStream>(std::move(reader), 0, epochs, PieceStream::Work::kIndex),
                  options),
        slice_(slice) {}

  BatchSequence<SampleRefs>& sequence() { return sequence_; }

  Result<bool> Cut(Piece* piece) override {
    piece->Reset();
    SLUICE_ASSIGN_OR_RETURN(const bool more, sequence_.Next(&piece->samples));
    piece->global_size = piece->samples.size;
    piece->samples.Select(ChunksOfPart(piece->samples.size, slice_.rank, slice_.size));
    piece->stats = sequence_.stats();
    piece->position = sequence_.position();
    return more;
  }
  void Parse(Piece* piece) const override {
    reader_->ParseSamples(piece->samples, piece);
    piece->batch.epoch = piece->samples.epoch;
    piece->batch.first_sample = piece->samples.first_sample;
    piece->batch.global_size = piece->global_size;
  }
  void Index(Piece*) const override { SLUICE_CHECK(false, "a share is parsed"); }
  void ParseSamples(const SampleRefs&, Piece*) const override { SLUICE_CHECK(false, "a share is parsed"); }
  Status Rewind(const BlockPlace&) override { return Status::Ok(); }
  bool rewindable() const override { return sequence_.rewindable(); }
  void Cancel() override { reader_->Cancel(); }

 private:
  PieceReader* reader_;  // of sequence_
  BatchSequence<SampleRefs> sequence_;
  Slice slice_;
};

SlicedSource::SlicedSource(const Schema& schema, std::unique_ptr<PieceReader> reader, const StreamOptions& options,
                           int num_threads, int64_t epochs, Slice slice)
    : schema_(schema) {
  auto shares = std::make_unique<ShareReader>(schema, std::move(reader), options, epochs, slice);
  reader_ = shares.get();
  position_ = reader_->sequence().position();
  stream_ = std::make_unique<PieceStream>(std::move(shares), num_threads, 1);
}

Status SlicedSource::Seek(const std::string& position) {
  SLUICE_RETURN_IF_ERROR(reader_->sequence().Seek(position));
  position_ = position;
  stats_ = reader_->sequence().stats();
  return Status::Ok();
}

Result<bool> SlicedSource::Next(Batch* batch) {
  ResetBatch(schema_, batch);
  Piece* piece = stream_->Pull();
  if (piece == nullptr) return false;
  SLUICE_RETURN_IF_ERROR(piece->status);
  if (piece->end_of_epoch) {  // of all epochs; nothing is cut any more
    stats_ = reader_->sequence().stats();
    position_ = reader_->sequence().position();
    return false;
  }
  std::swap(*batch, piece->batch);
  ShapeEmpty(schema_, batch);
  stats_ = piece->stats;
  position_ = piece->position;
  return true;
}

SelectingSource::SelectingSource(std::unique_ptr<BatchSource> source, Slice slice)
    : source_(std::move(source)), slice_(slice) {}

Result<bool> SelectingSource::Next(Batch* batch) {
  ResetBatch(schema(), batch);
  SLUICE_ASSIGN_OR_RETURN(const bool more, source_->Next(&whole_));
  const Range mine = ChunksOfPart(whole_.size, slice_.rank, slice_.size);
  AppendRows(whole_, mine.begin, mine.end, batch);
  batch->first_sample = whole_.first_sample + mine.begin;
  batch->global_size = whole_.size;
  batch->epoch = whole_.epoch;
  if (more) ShapeEmpty(schema(), batch);
  return more;
}

}  // namespace sluice::data
