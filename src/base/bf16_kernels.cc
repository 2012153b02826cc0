#include <cstdint>

#include "base/bf16.h"

namespace sluice::SLUICE_ISA {

void FloatToBf16Kernel(const float* in, uint16_t* out, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) out[i] = ToBf16(in[i]).bits;
}

void Bf16ToFloatKernel(const uint16_t* in, float* out, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) out[i] = ToFloat(Bf16{in[i]});
}

}  // namespace sluice::SLUICE_ISA
