#include "train/replicas.h"

#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "base/hash.h"
#include "base/status.h"
#include "train/must.h"

namespace sluice::train {

template <class T>
void CheckReplicas(const ModelState<T>& state, int64_t step, comm::Communicator& comm) {
  uint64_t hash = 0;
  for (const auto* part : {&state.params, &state.slots, &state.buffers})
    hash =
        HashBytes({reinterpret_cast<const char*>(part->data()), static_cast<size_t>(part->size()) * sizeof(T)}, hash);
  const auto mine = static_cast<int64_t>(hash);
  const std::vector<int64_t> counts(static_cast<size_t>(comm.size()), 1);
  std::vector<int64_t> all(counts.size());
  Must(comm.AllGather<int64_t>({&mine, 1}, counts, all, comm::Traffic::kStatistics));
  for (size_t r = 1; r < all.size(); ++r)
    if (all[r] != all[0])
      throw StatusError(
          Status(StatusCode::kInternal,
                 fmt::format("step {}: dense parameters of rank {} are not those of rank 0, bit for bit", step, r)));
}

template void CheckReplicas<float>(const ModelState<float>&, int64_t, comm::Communicator&);
template void CheckReplicas<double>(const ModelState<double>&, int64_t, comm::Communicator&);

}  // namespace sluice::train
