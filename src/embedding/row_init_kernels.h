#pragma once

#include <cstdint>

#include "base/simd.h"

namespace sluice {

// out[c] for c in [begin, end), each from the counter-based stream `key` alone (Mix64 of key + a counter, as CounterRng).
SLUICE_DECLARE_KERNELS(
    template <class T> void FillUniformKernel(uint64_t key, int64_t begin, int64_t end, double scale, T* out);
    template <class T> void FillNormalKernel(uint64_t key, int64_t begin, int64_t end, double scale, T* out);)

}  // namespace sluice
