#pragma once

#include "base/status.h"

namespace sluice::train {

// In a step, where results are values: a failure as an exception, which the trainer makes a Status again.
inline void Must(const Status& status) {
  if (!status.ok()) throw StatusError(status);
}

}  // namespace sluice::train
