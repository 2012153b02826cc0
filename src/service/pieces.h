#pragma once

#include <cstddef>
#include <cstring>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/check.h"

namespace sluice::service {

// Bytes that lie in several places, one after another: a message as the transport delivered it, or a part of one. Does
// not own them.
class Pieces {
 public:
  Pieces() = default;
  // NOLINTBEGIN(google-explicit-constructor): one piece
  Pieces(std::span<const std::byte> whole) { Add(whole); }
  Pieces(const std::vector<std::byte>& whole) { Add(whole); }
  // NOLINTEND(google-explicit-constructor)
  void Add(std::span<const std::byte> piece) {
    if (piece.empty()) return;
    pieces_.push_back(piece);
    size_ += piece.size();
  }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  std::span<const std::span<const std::byte>> list() const { return pieces_; }

  // Bytes [begin, begin + size). REQUIRES: they are there.
  Pieces Part(size_t begin, size_t size) const {
    SLUICE_CHECK(begin <= size_ && size <= size_ - begin, "bytes {} to {} of {}", begin, begin + size, size_);
    Pieces part;
    for (const auto& piece : pieces_) {
      if (size == 0) break;
      if (begin >= piece.size()) {
        begin -= piece.size();
        continue;
      }
      const size_t taken = size < piece.size() - begin ? size : piece.size() - begin;
      part.Add(piece.subspan(begin, taken));
      begin = 0;
      size -= taken;
    }
    return part;
  }
  // In one run: where they lie, or copied to `copy`.
  std::span<const std::byte> Whole(AlignedBuffer<std::byte>* copy) const {
    if (pieces_.empty()) return {};
    if (pieces_.size() == 1) return pieces_[0];
    copy->Resize(static_cast<int64_t>(size_));
    std::byte* to = copy->data();
    for (const auto& piece : pieces_) {
      std::memcpy(to, piece.data(), piece.size());
      to += piece.size();
    }
    return {copy->data(), size_};
  }

 private:
  std::vector<std::span<const std::byte>> pieces_;
  size_t size_ = 0;
};

// Goes through the bytes from the front. The pieces stay where they are until it is done.
class PieceReader {
 public:
  explicit PieceReader(const Pieces& pieces) : list_(pieces.list()) {}
  // The next `size` bytes: where they lie, or copied to `scratch` where they lie apart. REQUIRES: they are there.
  const std::byte* Next(size_t size, std::byte* scratch) {
    if (size <= current_.size()) [[likely]] {
      const std::byte* const at = current_.data();
      current_ = current_.subspan(size);
      return at;
    }
    return NextApart(size, scratch);
  }

 private:
  const std::byte* NextApart(size_t size, std::byte* scratch) {
    if (current_.empty() && next_ < list_.size() && list_[next_].size() >= size) {
      current_ = list_[next_++];
      return Next(size, scratch);
    }
    std::byte* to = scratch;
    for (size_t left = size; left > 0;) {
      if (current_.empty()) {
        SLUICE_CHECK(next_ < list_.size(), "{} bytes too few", left);
        current_ = list_[next_++];
      }
      const size_t taken = left < current_.size() ? left : current_.size();
      std::memcpy(to, current_.data(), taken);
      current_ = current_.subspan(taken);
      to += taken;
      left -= taken;
    }
    return scratch;
  }

  std::span<const std::span<const std::byte>> list_;
  size_t next_ = 0;
  std::span<const std::byte> current_;
};

}  // namespace sluice::service
