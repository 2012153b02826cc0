#pragma once

#include <cstdint>

#include "base/simd.h"

namespace sluice {

// Instantiated for float and double.
SLUICE_DECLARE_KERNELS(
    // out[i] = sum over b of parts[b * stride + i], in the order of b; out may be parts. False where a sum is not
    // finite.
    template <class T> bool SumParts(const T* parts, int64_t stride, int num_parts, T* out, int64_t n);)

}  // namespace sluice
