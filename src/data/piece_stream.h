#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "data/piece.h"

namespace sluice::data {

// Runs a PieceReader on threads and hands out its pieces in order: cutting is done by one thread at a time, parsing by
// all at once. Between epochs a marker piece (end_of_epoch) is handed out.
// Memory       2 * threads + 2 pieces, recycled.
// Threads      one consumer. With 0 threads Pull itself cuts and parses.
// Errors       in the status of the piece at whose place they arose; nothing follows such a piece.
class PieceStream {
 public:
  enum class Work { kParse, kIndex };
  PieceStream(std::unique_ptr<PieceReader> reader, int num_threads, int64_t epochs, Work work = Work::kParse);
  ~PieceStream();
  PieceStream(const PieceStream&) = delete;
  PieceStream& operator=(const PieceStream&) = delete;

  // Where to start. REQUIRES: before the first Pull.
  Status Start(int64_t epoch, const BlockPlace& place);

  // The next piece, valid until the next Pull; nullptr after the last epoch's marker.
  Piece* Pull();

  bool rewindable() const { return reader_->rewindable(); }

 private:
  struct Slot {
    Piece piece;
    bool ready = false;
    bool end = false;  // no more pieces
  };

  void Run();
  bool CutInto(Slot* slot);
  void ParseSlot(Slot* slot);

  std::unique_ptr<PieceReader> reader_;
  int num_threads_;
  int64_t epochs_;
  Work work_;
  int64_t epoch_ = 0;

  std::vector<Slot> slots_;
  std::vector<std::thread> threads_;
  std::mutex cut_mutex_;  // held while cutting; taken before mutex_
  std::mutex mutex_;
  std::condition_variable free_;   // a slot was given back, or stop
  std::condition_variable ready_;  // a slot became ready
  int64_t next_cut_ = 0;           // sequence numbers: slot = number % slots
  int64_t next_pull_ = 0;
  bool holding_ = false;   // the consumer holds the piece next_pull_ - 1
  bool finished_ = false;  // nothing is left to cut; under cut_mutex_
  bool stop_ = false;
};

}  // namespace sluice::data
