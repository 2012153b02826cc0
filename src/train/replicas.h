#pragma once

#include <cstdint>

#include "comm/communicator.h"
#include "train/model_state.h"

namespace sluice::train {

// Compares the dense half of the model on all ranks, bit by bit: parameters, slots and running statistics, by their
// hash.
// Distributed  collective: 8 (N - 1) bytes from each rank.
// Errors       a StatusError: kInternal on every rank, naming the first rank that differs from rank 0 and the step.
template <class T>
void CheckReplicas(const ModelState<T>& state, int64_t step, comm::Communicator& comm);

}  // namespace sluice::train
