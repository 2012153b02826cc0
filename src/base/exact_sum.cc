#include "base/exact_sum.h"

#include <cmath>
#include <limits>

namespace sluice {
namespace {

constexpr int kLimbBits = 40;
constexpr int kLowestExponent = -110;
constexpr int64_t kAddsBeforeCarry = int64_t{1} << 10;  // of at most 2^51 each

// Moves what exceeds 40 bits of every limb into the one above it.
template <class Limbs>
void CarryUp(Limbs& limbs, int count) {
  for (int i = count - 1; i > 0; --i) {
    const int64_t carry = limbs[i] >> kLimbBits;
    limbs[i] -= carry * (int64_t{1} << kLimbBits);
    limbs[i - 1] += carry;
  }
}

}  // namespace

void ExactSum::Add(double x) {
  if (!(std::fabs(x) <= 0x1p61)) {
    ++words_[kLimbs];
    return;
  }
  double rest = x;
  for (int i = 0; i < kLimbs; ++i) {
    const int exponent = kLowestExponent + kLimbBits * (kLimbs - 1 - i);
    const double units = std::nearbyint(std::ldexp(rest, -exponent));
    words_[i] += static_cast<int64_t>(units);
    rest -= std::ldexp(units, exponent);  // exact: both have the bits of `rest`
  }
  if (++added_ == kAddsBeforeCarry) Carry();
}

void ExactSum::Carry() {
  CarryUp(words_, kLimbs);
  added_ = 0;
}

double ExactSum::Value() const {
  if (words_[kLimbs] != 0) return std::numeric_limits<double>::quiet_NaN();
  // One form for every sum: limbs below the first in [0, 2^40).
  auto limbs = words_;
  CarryUp(limbs, kLimbs);
  double sum = 0;
  for (int i = kLimbs - 1; i >= 0; --i)
    sum += std::ldexp(static_cast<double>(limbs[i]), kLowestExponent + kLimbBits * (kLimbs - 1 - i));
  return sum;
}

}  // namespace sluice
