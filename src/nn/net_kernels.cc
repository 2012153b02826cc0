#include "nn/net_kernels.h"

namespace sluice::SLUICE_ISA {

template <class T>
bool SumParts(const T* parts, int64_t stride, int num_parts, T* out, int64_t n) {
  // Blocks that stay in the first-level cache while the parts are added one after another.
  constexpr int64_t kBlock = 2048;
  T check = 0;  // x - x is 0 for finite x, else NaN
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t end = begin + kBlock < n ? begin + kBlock : n;
    if (out != parts) {
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) out[i] = parts[i];
    }
    for (int part = 1; part < num_parts; ++part) {
      const T* from = parts + part * stride;
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) out[i] += from[i];
    }
#pragma omp simd reduction(+ : check)
    for (int64_t i = begin; i < end; ++i) check += out[i] - out[i];
  }
  return check == T(0);
}

template bool SumParts<float>(const float*, int64_t, int, float*, int64_t);
template bool SumParts<double>(const double*, int64_t, int, double*, int64_t);

}  // namespace sluice::SLUICE_ISA
