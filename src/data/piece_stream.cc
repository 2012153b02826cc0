#include "data/piece_stream.h"

#include <exception>

namespace sluice::data {

PieceStream::PieceStream(std::unique_ptr<PieceReader> reader, int num_threads, int64_t epochs, Work work)
    : reader_(std::move(reader)),
      num_threads_(num_threads),
      epochs_(epochs),
      work_(work),
      slots_(num_threads > 0 ? 2 * num_threads + 2 : 1) {}

PieceStream::~PieceStream() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  free_.notify_all();
  reader_->Cancel();
  for (auto& thread : threads_) thread.join();
}

Status PieceStream::Start(int64_t epoch, const BlockPlace& place) {
  epoch_ = epoch;
  finished_ = epoch >= epochs_;
  return reader_->Rewind(place);
}

// Cuts the next block, or an epoch's end, into the slot. False where the piece is not to be parsed.
bool PieceStream::CutInto(Slot* slot) {
  Piece& piece = slot->piece;
  slot->end = false;
  piece.Reset();
  piece.epoch = epoch_;
  if (finished_) {
    slot->end = true;
    return false;
  }
  try {
    Result<bool> cut = reader_->Cut(&piece);
    if (!cut.ok()) {
      piece.status = cut.status();
      finished_ = true;
      return false;
    }
    if (cut.value()) return true;
    piece.Reset();
    piece.end_of_epoch = true;
    if (++epoch_ >= epochs_) {
      finished_ = true;
      return false;
    }
    piece.status = reader_->Rewind({});
  } catch (const std::exception& error) {
    piece.status = ResourceExhausted("reading data: {}", error.what());
  }
  if (!piece.status.ok()) finished_ = true;
  return false;
}

void PieceStream::ParseSlot(Slot* slot) {
  try {
    if (work_ == Work::kParse) {
      reader_->Parse(&slot->piece);
    } else {
      reader_->Index(&slot->piece);
    }
  } catch (const std::exception& error) {
    slot->piece.status = ResourceExhausted("parsing data: {}", error.what());
  }
}

void PieceStream::Run() {
  for (;;) {
    Slot* slot = nullptr;
    bool parse = false;
    bool last = false;
    {
      std::lock_guard cutting(cut_mutex_);
      {
        std::unique_lock lock(mutex_);
        const int64_t capacity = static_cast<int64_t>(slots_.size());
        free_.wait(lock, [&] { return stop_ || next_cut_ - (next_pull_ - (holding_ ? 1 : 0)) < capacity; });
        if (stop_) return;
        slot = &slots_[next_cut_ % capacity];
        ++next_cut_;
      }
      parse = CutInto(slot);
      last = slot->end;
    }
    if (parse) ParseSlot(slot);
    {
      std::lock_guard lock(mutex_);
      slot->ready = true;
    }
    ready_.notify_one();
    if (last) return;
  }
}

Piece* PieceStream::Pull() {
  if (num_threads_ == 0) {
    if (CutInto(&slots_[0])) ParseSlot(&slots_[0]);
    return slots_[0].end ? nullptr : &slots_[0].piece;
  }
  if (threads_.empty())
    for (int i = 0; i < num_threads_; ++i) threads_.emplace_back([this] { Run(); });
  std::unique_lock lock(mutex_);
  if (holding_) {
    holding_ = false;
    free_.notify_one();
  }
  Slot* slot = &slots_[next_pull_ % static_cast<int64_t>(slots_.size())];
  ready_.wait(lock, [&] { return slot->ready; });
  if (slot->end) return nullptr;
  slot->ready = false;
  ++next_pull_;
  holding_ = true;
  return &slot->piece;
}

}  // namespace sluice::data
