#include "metric/logistic_kernels.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace sluice::SLUICE_ISA {
namespace {

// exp(x) for x in [-708, 0]: x = k log 2 + r with |r| <= log(2) / 2, and the Taylor series of exp(r), whose remainder is
// below 2^-56.
inline double ExpOfNegative(double x) {
  constexpr double kRound = 0x1.8p52;  // adding it rounds to an integer, which then lies in the low bits
  constexpr double kLog2High = 0x1.62e42feep-1, kLog2Low = 0x1.a39ef35793c76p-33;
  const double shifted = x * 0x1.71547652b82fep0 + kRound;
  const double k = shifted - kRound;
  const double r = (x - k * kLog2High) - k * kLog2Low;
  double sum = 1.0 / 6227020800;
  sum = sum * r + 1.0 / 479001600;
  sum = sum * r + 1.0 / 39916800;
  sum = sum * r + 1.0 / 3628800;
  sum = sum * r + 1.0 / 362880;
  sum = sum * r + 1.0 / 40320;
  sum = sum * r + 1.0 / 5040;
  sum = sum * r + 1.0 / 720;
  sum = sum * r + 1.0 / 120;
  sum = sum * r + 1.0 / 24;
  sum = sum * r + 1.0 / 6;
  sum = sum * r + 0.5;
  sum = sum * r + 1.0;
  sum = sum * r + 1.0;
  return sum * std::bit_cast<double>((std::bit_cast<uint64_t>(shifted) + 1023) << 52);
}

// log(1 + e) for e in [0, 1] as 2 atanh(s), s = e / (2 + e) <= 1/3: exact to the last bits also where e is tiny.
inline double Log1p(double e) {
  const double s = e / (2 + e);
  const double q = s * s;
  double sum = 1.0 / 35;
  for (int odd = 33; odd >= 1; odd -= 2) sum = sum * q + 1.0 / odd;
  return 2 * s * sum;
}

}  // namespace

void Logistic(const float* x, double* probability, double* softplus, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const double v = x[i];
    const double e = ExpOfNegative(std::max(-std::abs(v), -708.0));
    const double larger = 1 / (1 + e);  // of the probabilities of the two classes
    probability[i] = v >= 0 ? larger : e * larger;
    softplus[i] = std::max(v, 0.0) + Log1p(e);
  }
}

}  // namespace sluice::SLUICE_ISA
