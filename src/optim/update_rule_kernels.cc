#include "optim/update_rule_kernels.h"

#include <cmath>

namespace sluice::SLUICE_ISA {

using optim::PreparedRule;
using optim::RowsUpdate;
using optim::RuleKind;

namespace {

template <class T>
inline T Sign(T x) {
  return (x > T(0) ? T(1) : T(0)) - (x < T(0) ? T(1) : T(0));
}

// The gradient after clipping, with the subgradients of L1 and L2 of the weight that is touched.
template <class T>
inline T Regularised(const PreparedRule<T>& r, T g, T w) {
  g = g < -r.clip ? -r.clip : g;
  g = g > r.clip ? r.clip : g;
  return g + (r.l2 * w + r.l1 * Sign(w));
}

template <class T>
void Sgd(const PreparedRule<T>& r, T* __restrict w, const T* __restrict g, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) w[i] -= r.learning_rate * Regularised(r, g[i], w[i]);
}

template <class T>
void Momentum(const PreparedRule<T>& r, T* __restrict w, const T* __restrict g, T* __restrict m, T decay, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    m[i] = r.momentum * (decay * m[i]) + Regularised(r, g[i], w[i]);
    w[i] -= r.learning_rate * m[i];
  }
}

// Duchi et al. 2011, diagonal form.
template <class T>
void Adagrad(const PreparedRule<T>& r, T* __restrict w, const T* __restrict g, T* __restrict acc, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const T gi = Regularised(r, g[i], w[i]);
    acc[i] += gi * gi;
    w[i] -= r.learning_rate * gi / (std::sqrt(acc[i]) + r.epsilon);
  }
}

// One accumulator per row: the running sum of the gradient's mean square (Mudigere et al. 2021).
template <class T>
void RowwiseAdagrad(const PreparedRule<T>& r, T* __restrict w, const T* __restrict g, T* __restrict acc, int64_t n) {
  alignas(64) T sums[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
#pragma omp simd
    for (int lane = 0; lane < kLanes; ++lane) {
      const T gi = Regularised(r, g[i + lane], w[i + lane]);
      sums[lane] += gi * gi;
    }
  }
  for (int lane = 0; i < n; ++i, ++lane) {
    const T gi = Regularised(r, g[i], w[i]);
    sums[lane] += gi * gi;
  }
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int lane = 0; lane < half; ++lane) sums[lane] += sums[lane + half];
  *acc += sums[0] / static_cast<T>(n);
  const T scale = r.learning_rate / (std::sqrt(*acc) + r.epsilon);
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) w[j] -= scale * Regularised(r, g[j], w[j]);
}

// McMahan et al. 2013, algorithm 1; kRoot: learning-rate power 0.5.
template <bool kRoot, class T>
inline void FtrlElement(const PreparedRule<T>& r, T& w, T g, T& z, T& sum) {
  g = g < -r.clip ? -r.clip : g;
  g = g > r.clip ? r.clip : g;
  const T before = kRoot ? std::sqrt(sum) : std::pow(sum, r.ftrl_power);
  sum += g * g;
  const T after = kRoot ? std::sqrt(sum) : std::pow(sum, r.ftrl_power);
  z += g - (after - before) / r.learning_rate * w;
  const T shrunk = z - r.l1 * Sign(z);
  const T stepped = -shrunk / ((r.ftrl_beta + after) / r.learning_rate + r.l2);
  w = std::abs(z) <= r.l1 ? T(0) : stepped;
}

template <class T>
void Ftrl(const PreparedRule<T>& r, T* __restrict w, const T* __restrict g, T* __restrict z, T* __restrict sum,
          int64_t n) {
  if (r.ftrl_power != T(0.5)) {
    for (int64_t i = 0; i < n; ++i) FtrlElement<false>(r, w[i], g[i], z[i], sum[i]);
    return;
  }
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) FtrlElement<true>(r, w[i], g[i], z[i], sum[i]);
}

// Kingma and Ba 2015 with the weight scale of AdamW (Loshchilov and Hutter 2019; 1 for Adam).
template <class T>
void Adam(const PreparedRule<T>& r, T* __restrict w, const T* __restrict g, T* __restrict m, T* __restrict v, T decay1,
          T decay2, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const T gi = Regularised(r, g[i], w[i]);
    m[i] = r.beta1 * (decay1 * m[i]) + (T(1) - r.beta1) * gi;
    v[i] = r.beta2 * (decay2 * v[i]) + (T(1) - r.beta2) * (gi * gi);
    const T denominator = std::sqrt(v[i]) * r.inverse_root_correction + r.epsilon;
    w[i] = r.weight_scale * w[i] - r.step_size * m[i] / denominator;
  }
}

template <class T>
void UpdateOne(const PreparedRule<T>& r, int64_t missed, T* w, const T* g, T* slot0, T* slot1, int64_t n) {
  const bool decays = r.lazy_decay && missed > 0;
  switch (r.kind) {
    case RuleKind::kSgd:
      return Sgd(r, w, g, n);
    case RuleKind::kMomentum:
      return Momentum(r, w, g, slot0, decays ? static_cast<T>(optim::IntegerPower(r.momentum, missed)) : T(1), n);
    case RuleKind::kAdagrad:
      return Adagrad(r, w, g, slot0, n);
    case RuleKind::kRowwiseAdagrad:
      return RowwiseAdagrad(r, w, g, slot0, n);
    case RuleKind::kFtrl:
      return Ftrl(r, w, g, slot0, slot1, n);
    case RuleKind::kAdam:
    case RuleKind::kAdamW:
      return Adam(r, w, g, slot0, slot1, decays ? static_cast<T>(optim::IntegerPower(r.beta1, missed)) : T(1),
                  decays ? static_cast<T>(optim::IntegerPower(r.beta2, missed)) : T(1), n);
  }
}

}  // namespace

template <class T>
void UpdateElementsKernel(const PreparedRule<T>& rule, int64_t missed, T* w, const T* g, T* slot0, T* slot1,
                          int64_t n) {
  UpdateOne(rule, missed, w, g, slot0, slot1, n);
}

template <class T>
void UpdateRowsKernel(const PreparedRule<T>& r, const RowsUpdate<T>& u) {
  constexpr int64_t kAhead = 12;
  constexpr int64_t kLine = 64;
  const int64_t row_bytes = (u.slots_offset + optim::NumSlots(r.kind, u.dim)) * static_cast<int64_t>(sizeof(T));
  for (int64_t i = 0; i < u.n && i < kAhead; ++i)
    for (int64_t b = 0; b < row_bytes; b += kLine) __builtin_prefetch(reinterpret_cast<char*>(u.rows[i]) + b, 1);
  for (int64_t i = 0; i < u.n; ++i) {
    if (i + kAhead < u.n) {
      for (int64_t b = 0; b < row_bytes; b += kLine)
        __builtin_prefetch(reinterpret_cast<char*>(u.rows[i + kAhead]) + b, 1);
    }
    T* slots = u.rows[i] + u.slots_offset;
    UpdateOne(r, u.missed ? u.missed[i] : 0, u.rows[i], u.grads[i], slots, slots + u.dim, u.dim);
  }
}

template <class T>
double SumOfSquaresKernel(const T* x, int64_t n) {
  alignas(64) double sums[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
#pragma omp simd
    for (int lane = 0; lane < kLanes; ++lane) {
      const double value = x[i + lane];
      sums[lane] += value * value;
    }
  }
  for (int lane = 0; i < n; ++i, ++lane) sums[lane] += static_cast<double>(x[i]) * x[i];
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int lane = 0; lane < half; ++lane) sums[lane] += sums[lane + half];
  return sums[0];
}

template <class T>
void ScaleKernel(T* x, int64_t n, T factor) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) x[i] *= factor;
}

#define SLUICE_INSTANTIATE(T)                                                                            \
  template void UpdateRowsKernel<T>(const PreparedRule<T>&, const RowsUpdate<T>&);                       \
  template void UpdateElementsKernel<T>(const PreparedRule<T>&, int64_t, T*, const T*, T*, T*, int64_t); \
  template double SumOfSquaresKernel<T>(const T*, int64_t);                                              \
  template void ScaleKernel<T>(T*, int64_t, T);
SLUICE_INSTANTIATE(float)
SLUICE_INSTANTIATE(double)
#undef SLUICE_INSTANTIATE

}  // namespace sluice::SLUICE_ISA
