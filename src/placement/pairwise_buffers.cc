#include "placement/pairwise_buffers.h"

#include <cstddef>
#include <span>
#include <type_traits>
#include <utility>

#include "base/bf16.h"

namespace sluice::placement {
namespace {

template <class T>
std::span<std::byte> Bytes(AlignedBuffer<T>& buffer) {
  return std::as_writable_bytes(std::span(buffer.data(), static_cast<size_t>(buffer.size())));
}

}  // namespace

template <class T>
PairwiseBuffers<T>::PairwiseBuffers(comm::Communicator* comm, comm::Wire wire)
    : comm_(comm),
      bf16_(std::is_same_v<T, float> && wire == comm::Wire::kBf16),
      out_(static_cast<size_t>(comm->size())),
      in_(out_.size()),
      wire_out_(out_.size()),
      wire_in_(out_.size()) {}

template <class T>
void PairwiseBuffers<T>::Resize(const std::vector<int64_t>& out_sizes, const std::vector<int64_t>& in_sizes) {
  for (size_t r = 0; r < out_.size(); ++r) {
    out_[r].Resize(out_sizes[r]);
    in_[r].Resize(in_sizes[r]);
  }
}

template <class T>
Status PairwiseBuffers<T>::Exchange(comm::Traffic traffic) {
  const auto self = static_cast<size_t>(comm_->rank());
  std::vector<std::span<const std::byte>> send(out_.size());
  std::vector<std::span<std::byte>> receive(in_.size());
  for (size_t r = 0; r < out_.size(); ++r) {
    if (r == self) continue;
    if constexpr (std::is_same_v<T, float>) {
      if (bf16_) {
        wire_out_[r].Resize(out_[r].size());
        wire_in_[r].Resize(in_[r].size());
        FloatToBf16(out_[r].data(), wire_out_[r].data(), out_[r].size());
        send[r] = Bytes(wire_out_[r]);
        receive[r] = Bytes(wire_in_[r]);
        continue;
      }
    }
    send[r] = Bytes(out_[r]);
    receive[r] = Bytes(in_[r]);
  }
  SLUICE_RETURN_IF_ERROR(comm_->AllToAll(send, receive, traffic));
  if constexpr (std::is_same_v<T, float>) {
    for (size_t r = 0; bf16_ && r < in_.size(); ++r)
      if (r != self) Bf16ToFloat(wire_in_[r].data(), in_[r].data(), in_[r].size());
  }
  std::swap(in_[self], out_[self]);
  return Status::Ok();
}

template class PairwiseBuffers<float>;
template class PairwiseBuffers<double>;
template class PairwiseBuffers<int64_t>;

}  // namespace sluice::placement
