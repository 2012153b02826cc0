#include "data/batch_sequence.h"

#include <algorithm>
#include <numeric>
#include <sstream>

#include "base/rng.h"
#include "data/batch_ops.h"

namespace sluice::data {
namespace {

constexpr int kPositionVersion = 1;

// The order of a window's samples: a function of (seed, epoch, window, size) alone.
void Permute(uint64_t seed, int64_t epoch, int64_t window, int64_t size, std::vector<uint32_t>* order) {
  order->resize(static_cast<size_t>(size));
  std::iota(order->begin(), order->end(), 0u);
  const CounterRng rng(MixPair(seed, static_cast<uint64_t>(epoch)), static_cast<uint64_t>(window));
  for (int64_t i = size - 1; i > 0; --i)
    std::swap((*order)[i], (*order)[rng.Below(static_cast<uint64_t>(i), static_cast<uint64_t>(i) + 1)]);
}

void Reset(const Schema& schema, Batch* rows) { ResetBatch(schema, rows); }
void Reset(const Schema&, SampleRefs* rows) { rows->Clear(); }
void Append(const Piece& piece, int64_t begin, int64_t end, Batch* rows) { AppendRows(piece.batch, begin, end, rows); }
void Append(const Piece& piece, int64_t begin, int64_t end, SampleRefs* rows) { rows->Append(piece.block, begin, end); }
void Gather(const Batch& from, std::span<const uint32_t> order, Batch* rows) { GatherRows(from, order, rows); }
void Gather(const SampleRefs& from, std::span<const uint32_t> order, SampleRefs* rows) { rows->Gather(from, order); }

}  // namespace

template <class Rows>
BatchSequence<Rows>::BatchSequence(Schema schema, std::unique_ptr<PieceStream> stream, StreamOptions options)
    : schema_(std::move(schema)), stream_(std::move(stream)), options_(std::move(options)) {
  SLUICE_CHECK(options_.batch_size > 0, "batch size {}", options_.batch_size);
}

template <class Rows>
Status BatchSequence<Rows>::CheckPiece(const Piece& piece) {
  SLUICE_RETURN_IF_ERROR(piece.status);
  if (counts_.skipped_lines > options_.max_bad_lines) {
    return DataLoss("more than data.max_bad_lines = {} bad lines; the last block's first one is {}",
                    options_.max_bad_lines, piece.first_bad);
  }
  return Status::Ok();
}

// Moves on to the next piece with samples, or over the end of the epoch.
template <class Rows>
Result<typename BatchSequence<Rows>::Pulled> BatchSequence<Rows>::PullPiece() {
  for (;;) {
    const int64_t skip = piece_ == nullptr ? next_.skip : 0;
    piece_ = stream_->Pull();
    piece_used_ = 0;
    if (piece_ == nullptr) {
      ended_ = true;
      return Pulled::kEnd;
    }
    next_.before = counts_;
    counts_.bytes += piece_->bytes;
    counts_.skipped_lines += piece_->skipped_lines;
    counts_.dropped_negatives += piece_->dropped_negatives;
    SLUICE_RETURN_IF_ERROR(CheckPiece(*piece_));
    if (piece_->end_of_epoch) {
      next_ = {.epoch = piece_->epoch + 1, .place = {}, .skip = 0, .window = 0, .before = counts_};
      piece_ = nullptr;
      const bool empty = epoch_samples_ == 0;
      epoch_samples_ = 0;
      if (empty && !options_.may_be_empty) return DataLoss("{}: holds no samples", options_.name);
      return Pulled::kEndOfEpoch;
    }
    if (skip > piece_->batch.size)
      return DataLoss("the data has changed since the position to continue from was saved");
    next_.place = piece_->place;
    next_.skip = 0;
    piece_used_ = skip;
    epoch_samples_ += piece_->batch.size;
    if (piece_used_ < piece_->batch.size) return Pulled::kSamples;
  }
}

template <class Rows>
typename BatchSequence<Rows>::Anchor BatchSequence<Rows>::CurrentAnchor() const {
  Anchor anchor = next_;
  if (piece_ != nullptr) anchor.skip = piece_used_;
  return anchor;
}

// Reads the next window and puts it in order; it is shorter where the epoch ends.
template <class Rows>
Result<typename BatchSequence<Rows>::Pulled> BatchSequence<Rows>::FillWindow() {
  window_start_ = CurrentAnchor();
  Reset(schema_, &window_);
  window_used_ = 0;
  window_ends_epoch_ = false;
  while (window_.size < options_.shuffle_window) {
    if (piece_ == nullptr || piece_used_ == piece_->batch.size) {
      SLUICE_ASSIGN_OR_RETURN(const Pulled pulled, PullPiece());
      if (pulled != Pulled::kSamples) {
        if (window_.size == 0) return pulled;
        window_ends_epoch_ = true;
        break;
      }
    }
    const int64_t take = std::min(options_.shuffle_window - window_.size, piece_->batch.size - piece_used_);
    Append(*piece_, piece_used_, piece_used_ + take, &window_);
    piece_used_ += take;
  }
  Permute(options_.seed, window_start_.epoch, window_start_.window, window_.size, &order_);
  if (!window_ends_epoch_) ++next_.window;
  window_used_ = std::min(seek_used_, window_.size);
  seek_used_ = 0;
  return Pulled::kSamples;
}

template <class Rows>
Result<bool> BatchSequence<Rows>::Next(Rows* batch) {
  Reset(schema_, batch);
  batch->first_sample = counts_.samples;
  while (batch->size < options_.batch_size && !ended_) {
    const int64_t wanted = options_.batch_size - batch->size;
    if (shuffles() && window_used_ < window_.size) {
      const int64_t take = std::min(wanted, window_.size - window_used_);
      Gather(window_, std::span(order_).subspan(static_cast<size_t>(window_used_), static_cast<size_t>(take)), batch);
      window_used_ += take;
      batch->epoch = window_start_.epoch;
    } else if (!shuffles() && piece_ != nullptr && piece_used_ < piece_->batch.size) {
      const int64_t take = std::min(wanted, piece_->batch.size - piece_used_);
      Append(*piece_, piece_used_, piece_used_ + take, batch);
      piece_used_ += take;
      batch->epoch = piece_->epoch;
    } else {
      if (shuffles() && window_ends_epoch_ && batch->size > 0) break;
      SLUICE_ASSIGN_OR_RETURN(const Pulled pulled, shuffles() ? FillWindow() : PullPiece());
      if (pulled == Pulled::kEndOfEpoch && batch->size > 0) break;
    }
  }
  counts_.samples += batch->size;
  return batch->size > 0;
}

template <class Rows>
std::string BatchSequence<Rows>::position() const {
  const bool in_window = shuffles() && window_used_ < window_.size;
  const Anchor anchor = in_window ? window_start_ : CurrentAnchor();
  const int64_t used = in_window ? window_used_ : seek_used_;
  return fmt::format("{} {} {} {} {} {} {} {} {} {} {} {} {} {}", kPositionVersion, options_.fingerprint, anchor.epoch,
                     anchor.place.file, anchor.place.offset, anchor.place.line, anchor.place.ordinal, anchor.skip,
                     anchor.window, used, counts_.samples, anchor.before.bytes, anchor.before.skipped_lines,
                     anchor.before.dropped_negatives);
}

template <class Rows>
Status BatchSequence<Rows>::Seek(const std::string& position) {
  if (!stream_->rewindable())
    return InvalidArgument("standard input cannot be continued from a saved position; give a file instead");
  std::istringstream in(position);
  int version = 0;
  uint64_t fingerprint = 0;
  Anchor anchor;
  int64_t used = 0;
  int64_t samples = 0;
  in >> version >> fingerprint >> anchor.epoch >> anchor.place.file >> anchor.place.offset >> anchor.place.line >>
      anchor.place.ordinal >> anchor.skip >> anchor.window >> used >> samples >> anchor.before.bytes >>
      anchor.before.skipped_lines >> anchor.before.dropped_negatives;
  if (!in || version != kPositionVersion || anchor.epoch < 0 || anchor.place.file < 0 || anchor.place.offset < 0 ||
      anchor.skip < 0 || used < 0)
    return DataLoss("not a position of a data source: '{}'", position);
  if (fingerprint != options_.fingerprint) {
    return InvalidArgument(
        "the position was saved with other data settings (files, features, split, shuffle_window, "
        "negative_keep_rate or seed)");
  }
  SLUICE_RETURN_IF_ERROR(stream_->Start(anchor.epoch, anchor.place));
  next_ = anchor;
  counts_ = anchor.before;
  counts_.samples = samples;
  seek_used_ = used;
  epoch_samples_ = samples > 0 ? 1 : 0;
  return Status::Ok();
}

template class BatchSequence<Batch>;
template class BatchSequence<SampleRefs>;

}  // namespace sluice::data
