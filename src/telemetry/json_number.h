#pragma once

#include <cmath>
#include <cstdint>

namespace sluice::telemetry {

// A number as JSON holds it: whole ones without a fraction, NaN and infinity, which JSON lacks, as null.
template <class Json>
Json JsonNumber(double value) {
  if (!std::isfinite(value)) return nullptr;
  if (value == std::trunc(value) && std::abs(value) < 0x1p53) return static_cast<int64_t>(value);
  return value;
}

}  // namespace sluice::telemetry
