#include "embedding/row_init_kernels.h"

#include <bit>
#include <cmath>

#include "base/rng.h"

namespace sluice::SLUICE_ISA {
namespace {

inline uint64_t Bits(uint64_t key, uint64_t i) { return Mix64(key + (i + 1) * 0x9e3779b97f4a7c15ULL); }

// In [1, 2), from the upper 52 bits.
inline double OneToTwo(uint64_t bits) { return std::bit_cast<double>(0x3ff0000000000000ULL | (bits >> 12)); }

// Natural logarithm of a normal x > 0: x = 2^e * m with m in [sqrt(1/2), sqrt(2)), ln m = 2 atanh((m-1)/(m+1)).
inline double Log(double x) {
  constexpr uint64_t kSqrtHalf = 0x3fe6a09e667f3bcdULL;
  const uint64_t bits = std::bit_cast<uint64_t>(x);
  const uint64_t shifted = bits - kSqrtHalf;
  const int64_t exponent = static_cast<int64_t>(shifted) >> 52;
  const double m = std::bit_cast<double>(bits - (static_cast<uint64_t>(exponent) << 52));
  // Exact for |exponent| < 2^51, and vectorised everywhere: an integer added to the bits of 1.5 * 2^52.
  const double e =
      std::bit_cast<double>(0x4338000000000000ULL + static_cast<uint64_t>(exponent)) - 6755399441055744.0;
  const double s = (m - 1) / (m + 1);
  const double z = s * s;
  const double series =
      1 + z * (1.0 / 3 + z * (1.0 / 5 + z * (1.0 / 7 + z * (1.0 / 9 + z * (1.0 / 11 + z * (1.0 / 13))))));
  return e * 0.6931471805599453 + 2 * s * series;
}

// cos(2 pi t) for t in [0, 1): minus cos of x = 2 pi (t - 1/2), |x| <= pi, by cos x = 1 - 2 sin^2(x / 2) and Taylor.
inline double CosTurns(double t) {
  const double h = 3.141592653589793 * (t - 0.5);
  const double z = h * h;
  const double sine =
      h * (1 - z * (1.0 / 6 - z * (1.0 / 120 - z * (1.0 / 5040 -
           z * (1.0 / 362880 - z * (1.0 / 39916800 - z * (1.0 / 6227020800.0 - z * (1.0 / 1307674368000.0))))))));
  return 2 * sine * sine - 1;
}

}  // namespace

template <class T>
void FillUniformKernel(uint64_t key, int64_t begin, int64_t end, double scale, T* out) {
#pragma omp simd
  for (int64_t c = begin; c < end; ++c) {
    const double u = OneToTwo(Bits(key, static_cast<uint64_t>(c))) - 1.0;
    out[c] = static_cast<T>(scale * (2 * u - 1));
  }
}

template <class T>
void FillNormalKernel(uint64_t key, int64_t begin, int64_t end, double scale, T* out) {
#pragma omp simd
  for (int64_t c = begin; c < end; ++c) {
    const double u = 2.0 - OneToTwo(Bits(key, 2 * static_cast<uint64_t>(c)));  // (0, 1]
    const double t = OneToTwo(Bits(key, 2 * static_cast<uint64_t>(c) + 1)) - 1.0;
    const double radius_squared = -2.0 * Log(u);
    out[c] = static_cast<T>(scale * (std::sqrt(radius_squared < 0 ? 0.0 : radius_squared) * CosTurns(t)));
  }
}

template void FillUniformKernel<float>(uint64_t, int64_t, int64_t, double, float*);
template void FillUniformKernel<double>(uint64_t, int64_t, int64_t, double, double*);
template void FillNormalKernel<float>(uint64_t, int64_t, int64_t, double, float*);
template void FillNormalKernel<double>(uint64_t, int64_t, int64_t, double, double*);

}  // namespace sluice::SLUICE_ISA
