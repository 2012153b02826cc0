#include "service/packing.h"

#include <algorithm>
#include <cstring>

namespace sluice::service {
namespace {

// Blocks that lie in one piece are read where they are; one that lies in several is put together first.
class Unpacker {
 public:
  Unpacker(int64_t n, float* out) : n_(n), out_(out) {}

  bool Take(std::span<const std::byte> piece) {
    if (held_ > 0 && !FinishHeld(&piece)) return !damaged_;
    const UnpackedBlocks read = Read(piece.data(), static_cast<int64_t>(piece.size()), n_ - done_);
    Hold(piece.subspan(static_cast<size_t>(read.bytes)));
    return !damaged_;
  }
  bool complete() const { return !damaged_ && done_ == n_ && held_ == 0; }
  bool finite() const { return finite_; }

 private:
  static constexpr int64_t kMost = PackedBound(kPackedBlock);

  UnpackedBlocks Read(const std::byte* from, int64_t bytes, int64_t most) {
    if (bytes == 0) return {};
    const UnpackedBlocks read = SLUICE_DISPATCH(UnpackKernel)(from, bytes, most, out_ + done_);
    done_ += read.numbers;
    damaged_ = damaged_ || read.damaged;
    finite_ = finite_ && read.finite;
    return read;
  }
  void Hold(std::span<const std::byte> rest) {
    damaged_ = damaged_ || held_ + static_cast<int64_t>(rest.size()) > kMost;
    if (damaged_ || rest.empty()) return;
    std::memcpy(held_bytes_ + held_, rest.data(), rest.size());
    held_ += static_cast<int64_t>(rest.size());
  }
  // The block that was begun; its bytes are taken off the piece. False: it is not complete yet, or damaged.
  bool FinishHeld(std::span<const std::byte>* piece) {
    const int64_t before = held_;
    Hold(piece->first(std::min(piece->size(), static_cast<size_t>(kMost - held_))));
    const UnpackedBlocks read = Read(held_bytes_, held_, std::min(kPackedBlock, n_ - done_));
    if (read.numbers == 0) {
      damaged_ = damaged_ || held_ == kMost;
      return false;
    }
    *piece = piece->subspan(static_cast<size_t>(read.bytes - before));
    held_ = 0;
    return true;
  }

  const int64_t n_;
  float* const out_;
  int64_t done_ = 0, held_ = 0;
  bool damaged_ = false, finite_ = true;
  std::byte held_bytes_[kMost];
};

}  // namespace

bool UnpackFloats(const Pieces& in, int64_t n, float* out, bool* finite) {
  Unpacker unpacker(n, out);
  for (const auto& piece : in.list())
    if (!unpacker.Take(piece)) return false;
  if (finite != nullptr) *finite = unpacker.finite();
  return unpacker.complete();
}

}  // namespace sluice::service
