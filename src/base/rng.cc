#include "base/rng.h"

#include <cmath>
#include <numbers>

namespace sluice {

double CounterRng::Normal(uint64_t i) const {
  const double u = 1.0 - Uniform(2 * i);  // (0, 1]
  return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * Uniform(2 * i + 1));
}

}  // namespace sluice
