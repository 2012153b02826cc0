#include "data/range_reader.h"

#include <utility>

#include "base/chunks.h"

namespace sluice::data {

RangeReader::RangeReader(std::unique_ptr<PieceReader> reader, InputRange range, std::vector<int64_t> file_starts,
                         bool by_samples)
    : reader_(std::move(reader)),
      range_(std::move(range)),
      file_starts_(std::move(file_starts)),
      by_samples_(by_samples) {
  const Range part = PartRange(file_starts_.back(), static_cast<int>(range_.index), static_cast<int>(range_.count));
  begin_ = part.begin;
  end_ = part.end;
}

Result<bool> RangeReader::Cut(Piece* piece) {
  while (!ended_) {
    SLUICE_ASSIGN_OR_RETURN(const bool more, reader_->Cut(piece));
    if (!more) break;
    const BlockPlace& place = piece->place;
    const int64_t at = by_samples_ ? place.ordinal : file_starts_[static_cast<size_t>(place.file)] + place.offset;
    if (at < begin_) continue;
    if (at < end_) return true;
    if (range_.search != nullptr) range_.search->place = place;
    break;
  }
  ended_ = true;
  return false;
}

Status RangeReader::Rewind(const BlockPlace& place) {
  ended_ = false;
  const bool start = place.file == 0 && place.offset == 0;
  return reader_->Rewind(start && range_.search != nullptr ? range_.search->place : place);
}

}  // namespace sluice::data
