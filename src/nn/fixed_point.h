#pragma once

#include <cmath>
#include <cstdint>

#include "base/simd.h"

namespace sluice::nn {

// Deterministic mode sums in 64-bit fixed point wherever addends may meet in another order on another number of ranks:
// integers add up to the same bits in every order. docs/determinism.md.
// Numerics     an addend x counts as the integer nearest to x 2^bits: an error of at most 2^-(bits + 1) each.
// Errors       an addend must stay below 2^(51 - bits), a sum below 2^(58 - bits), so that the sums of 24 ranks still
//              fit 64 bits; what does not (NaN is none of them) is told by the functions that add.
struct FixedPoint {
  int bits = 0;
  double scale() const { return std::ldexp(1.0, bits); }
  double unit() const { return std::ldexp(1.0, -bits); }
  double addend_limit() const { return std::ldexp(1.0, 51 - bits); }
};

// Partials: values of rows times coefficients. Addends below 32,768, to 1.5e-11.
inline constexpr FixedPoint kPartialFixed{36};
// A logical chunk's share of a dense gradient, which is a mean over the batch. Below 128, to 5.7e-14.
inline constexpr FixedPoint kDenseGradientFixed{44};
// A sample's share of a row's gradient, which is divided by `weight`, the batch's sum of sample weights: that of the
// partials before the division.
inline FixedPoint RowGradientFixed(double weight) {
  return {kPartialFixed.bits + (weight > 0 ? std::ilogb(weight) + 1 : 0)};
}

inline constexpr int64_t kFixedSumLimit = int64_t{1} << 58;

}  // namespace sluice::nn

namespace sluice {

// For T = float and double.
SLUICE_DECLARE_KERNELS(
    // out[i] = sum over b of parts[b * stride + i] as fixed point. False where one is out of range.
    template <class T>
    bool SumPartsFixed(const T* parts, int64_t stride, int num_parts, double scale, int64_t* out, int64_t n);
    // out[i] = x[i] * unit. False where a sum is out of range.
    template <class T> bool FromFixed(const int64_t* x, double unit, T* out, int64_t n);
    // sum[i] += x[i]. False where a sum is out of range.
    bool AddFixedSums(const int64_t* x, int64_t* sum, int64_t n);)

}  // namespace sluice
