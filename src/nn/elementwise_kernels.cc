#include "nn/elementwise_kernels.h"

namespace sluice::SLUICE_ISA {

template <class T>
void CrossForwardRow(const T* x0, const T* u, const T* x, T* out, int64_t n) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) out[j] = x0[j] * u[j] + x[j];
}

template <class T>
void CrossBackwardRow(const T* g, const T* x0, const T* u, T* du, T* dx0, int64_t n) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) {
    du[j] = g[j] * x0[j];
    dx0[j] += g[j] * u[j];
  }
}

template <class T>
void AddRow(const T* from, T* to, int64_t n) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) to[j] += from[j];
}

template <class T>
void OuterRow(const T* x, int64_t h, const T* x0, int64_t m, T* z) {
  for (int64_t i = 0; i < h; ++i, z += m) {
    const T f = x[i];
#pragma omp simd
    for (int64_t j = 0; j < m; ++j) z[j] = f * x0[j];
  }
}

template <class T>
void OuterGradRow(const T* dz, const T* x, int64_t h, const T* x0, int64_t m, T* dx, T* dx0) {
  for (int64_t i = 0; i < h; ++i, dz += m) {
    T lanes[sluice::kLanes] = {};
    const T f = x[i];
    int64_t j = 0;
    for (; j + sluice::kLanes <= m; j += sluice::kLanes) {
#pragma omp simd
      for (int64_t c = 0; c < sluice::kLanes; ++c) {
        lanes[c] += dz[j + c] * x0[j + c];
        dx0[j + c] += dz[j + c] * f;
      }
    }
    for (int64_t c = 0; j + c < m; ++c) {
      lanes[c] += dz[j + c] * x0[j + c];
      dx0[j + c] += dz[j + c] * f;
    }
    for (int64_t w = sluice::kLanes / 2; w > 0; w /= 2)
      for (int64_t c = 0; c < w; ++c) lanes[c] += lanes[c + w];
    dx[i] = lanes[0];
  }
}

#define SLUICE_INSTANTIATE(T)                                                       \
  template void CrossForwardRow<T>(const T*, const T*, const T*, T*, int64_t);      \
  template void CrossBackwardRow<T>(const T*, const T*, const T*, T*, T*, int64_t); \
  template void AddRow<T>(const T*, T*, int64_t);                                   \
  template void OuterRow<T>(const T*, int64_t, const T*, int64_t, T*);              \
  template void OuterGradRow<T>(const T*, const T*, int64_t, const T*, int64_t, T*, T*);
SLUICE_INSTANTIATE(float)
SLUICE_INSTANTIATE(double)
#undef SLUICE_INSTANTIATE

}  // namespace sluice::SLUICE_ISA
