#pragma once

#include <cstdint>

#include "base/simd.h"

namespace sluice {

// Loops over one row of n elements, for float and double. No argument overlaps another unless it is the same.
SLUICE_DECLARE_KERNELS(
    // out = x0 * u + x
    template <class T> void CrossForwardRow(const T* x0, const T* u, const T* x, T* out, int64_t n);
    // du = g * x0, dx0 += g * u
    template <class T> void CrossBackwardRow(const T* g, const T* x0, const T* u, T* du, T* dx0, int64_t n);
    // to += from
    template <class T> void AddRow(const T* from, T* to, int64_t n);
    // z[i * m + j] = x[i] * x0[j]
    template <class T> void OuterRow(const T* x, int64_t h, const T* x0, int64_t m, T* z);
    // dx[i] = sum over j of dz[i * m + j] x0[j], dx0[j] += sum over i of dz[i * m + j] x[i]
    template <class T> void OuterGradRow(const T* dz, const T* x, int64_t h, const T* x0, int64_t m, T* dx, T* dx0);)

}  // namespace sluice
