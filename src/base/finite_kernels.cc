#include "base/finite_kernels.h"

#include <bit>

namespace sluice::SLUICE_ISA {
namespace {

// An exponent of ones marks infinities and NaN; found with integers, so that no compiler flag about them matters.
template <class Bits, class T>
bool AllFiniteImpl(const T* x, int64_t n, Bits exponent) {
  Bits bad = 0;
#pragma omp simd reduction(| : bad)
  for (int64_t i = 0; i < n; ++i) bad |= static_cast<Bits>((std::bit_cast<Bits>(x[i]) & exponent) == exponent);
  return bad == 0;
}

}  // namespace

bool AllFiniteF32(const float* x, int64_t n) { return AllFiniteImpl<uint32_t>(x, n, 0x7f800000u); }
bool AllFiniteF64(const double* x, int64_t n) { return AllFiniteImpl<uint64_t>(x, n, 0x7ff0000000000000ull); }

}  // namespace sluice::SLUICE_ISA
