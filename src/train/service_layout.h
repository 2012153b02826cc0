#pragma once

#include "service/parameter_client.h"
#include "train/model_state.h"

namespace sluice::train {

// What servers and workers of a parameter service must agree on.
template <class T>
service::ModelLayout LayoutOf(const ModelState<T>& state);

}  // namespace sluice::train
