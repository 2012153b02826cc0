#pragma once

#include <cstdint>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/status.h"
#include "comm/communicator.h"

namespace sluice::placement {

// Numbers for each of the other ranks and from each of them, in one all-to-all. T: float, double, int64_t.
// Wire         as they are; as bf16 where `wire` says so and T is float. What a rank keeps for itself does not travel
//              and is not rounded.
// Memory       kept from call to call; contents are undefined after Resize.
template <class T>
class PairwiseBuffers {
 public:
  PairwiseBuffers(comm::Communicator* comm, comm::Wire wire);

  // out_sizes[r] numbers go to rank r and in_sizes[r] come from it; for the rank itself they are equal.
  void Resize(const std::vector<int64_t>& out_sizes, const std::vector<int64_t>& in_sizes);
  T* out(int rank) { return out_[static_cast<size_t>(rank)].data(); }
  T* in(int rank) { return in_[static_cast<size_t>(rank)].data(); }

  // Fills in(r) from what rank r has in out(this rank). Collective. Errors: those of the communicator.
  Status Exchange(comm::Traffic traffic);

 private:
  comm::Communicator* comm_;
  bool bf16_;
  std::vector<AlignedBuffer<T>> out_, in_;
  std::vector<AlignedBuffer<uint16_t>> wire_out_, wire_in_;
};

}  // namespace sluice::placement
