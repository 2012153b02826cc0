#include "nn/fixed_point.h"
#include "nn/fixed_point_kernels_inl.h"

namespace sluice::SLUICE_ISA {

template <class T>
bool SumPartsFixed(const T* parts, int64_t stride, int num_parts, double scale, int64_t* out, int64_t n) {
  // Blocks that stay in the first-level cache while the parts are added one after another.
  constexpr int64_t kBlock = 1024;
  uint64_t flaws = 0;
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t end = begin + kBlock < n ? begin + kBlock : n;
    for (int64_t i = begin; i < end; ++i) out[i] = 0;
    for (int part = 0; part < num_parts; ++part) {
      const T* from = parts + part * stride;
#pragma omp simd reduction(| : flaws)
      for (int64_t i = begin; i < end; ++i) AddFixed(static_cast<double>(from[i]), scale, out[i], flaws);
    }
  }
  return flaws == 0;
}

template <class T>
bool FromFixed(const int64_t* x, double unit, T* out, int64_t n) {
  uint64_t flaws = 0;
#pragma omp simd reduction(| : flaws)
  for (int64_t i = 0; i < n; ++i) {
    flaws |= SumFlaw(x[i]);
    out[i] = static_cast<T>(FixedToDouble(x[i]) * unit);
  }
  return flaws == 0;
}

bool AddFixedSums(const int64_t* x, int64_t* sum, int64_t n) {
  uint64_t flaws = 0;
#pragma omp simd reduction(| : flaws)
  for (int64_t i = 0; i < n; ++i) {
    sum[i] = static_cast<int64_t>(static_cast<uint64_t>(sum[i]) + static_cast<uint64_t>(x[i]));
    flaws |= SumFlaw(sum[i]);
  }
  return flaws == 0;
}

template bool SumPartsFixed<float>(const float*, int64_t, int, double, int64_t*, int64_t);
template bool SumPartsFixed<double>(const double*, int64_t, int, double, int64_t*, int64_t);
template bool FromFixed<float>(const int64_t*, double, float*, int64_t);
template bool FromFixed<double>(const int64_t*, double, double*, int64_t);

}  // namespace sluice::SLUICE_ISA
