#include "nn/activation_kernels.h"

#include <bit>
#include <cmath>
#include <type_traits>

#include "base/rng.h"

namespace sluice::SLUICE_ISA {

using nn::Activation;
using nn::Matrix;

namespace {

// Loads to and stores from the type that is computed in.
inline float Load(float x) { return x; }
inline double Load(double x) { return x; }
inline float Load(Bf16 x) { return ToFloat(x); }
inline void Store(float x, float& to) { to = x; }
inline void Store(double x, double& to) { to = x; }
inline void Store(float x, Bf16& to) { to = ToBf16(x); }

// exp for floats: x = n log 2 + r, |r| <= log(2) / 2, a polynomial of degree 6 in r (Cephes' coefficients).
inline float Exp(float x) {
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: adding and subtracting it rounds to an integer
  const float shifted = x * 1.44269504088896341f + kMagic;  // whose lowest bits count from kMagic's: n
  const float n = shifted - kMagic;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  // NaN, which is no integer, passes too: p is NaN then.
  return p * std::bit_cast<float>((std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(kMagic) + 127) << 23);
}
inline double Exp(double x) { return std::exp(x); }

inline float Tanh(float x) {
  const float t = Exp(-2.0f * std::abs(x));
  return std::copysign((1.0f - t) / (1.0f + t), x);
}
inline double Tanh(double x) { return std::tanh(x); }

// log(1 + u) for u in [0, 1], as 2 atanh(u / (2 + u)).
inline float Log1pUnit(float u) {
  const float s = u / (2.0f + u);
  const float q = s * s;
  float p = 1.0f / 13;
  p = p * q + 1.0f / 11;
  p = p * q + 1.0f / 9;
  p = p * q + 1.0f / 7;
  p = p * q + 1.0f / 5;
  p = p * q + 1.0f / 3;
  return 2.0f * (s + s * q * p);
}
inline double Log1pUnit(double u) { return std::log1p(u); }

template <class F>
inline F Sigmoid(F z) {
  return F(1) / (F(1) + Exp(-z));
}

template <Activation kKind, class F>
inline F Value(F z) {
  if constexpr (kKind == Activation::kRelu) return z > F(0) || z != z ? z : F(0);
  if constexpr (kKind == Activation::kLeakyRelu) return z > F(0) ? z : F(0.01) * z;
  if constexpr (kKind == Activation::kSigmoid) return Sigmoid(z);
  if constexpr (kKind == Activation::kTanh) return Tanh(z);
  if constexpr (kKind == Activation::kSilu) return z * Sigmoid(z);
  if constexpr (kKind == Activation::kGelu) {
    return F(0.5) * z * (F(1) + Tanh(F(0.7978845608028654) * (z + F(0.044715) * (z * z * z))));
  }
  if constexpr (kKind == Activation::kSoftplus) return (z > F(0) || z != z ? z : F(0)) + Log1pUnit(Exp(-std::abs(z)));
  if constexpr (kKind == Activation::kNone) return z;
}

// f' from y, or from z where NeedsPreActivation.
template <Activation kKind, class F>
inline F Slope(F x) {
  if constexpr (kKind == Activation::kRelu) return x > F(0) ? F(1) : F(0);
  if constexpr (kKind == Activation::kLeakyRelu) return x > F(0) ? F(1) : F(0.01);
  if constexpr (kKind == Activation::kSigmoid) return x * (F(1) - x);
  if constexpr (kKind == Activation::kTanh) return F(1) - x * x;
  if constexpr (kKind == Activation::kSilu) {
    const F s = Sigmoid(x);
    return s * (F(1) + x * (F(1) - s));
  }
  if constexpr (kKind == Activation::kGelu) {
    constexpr F kRoot = F(0.7978845608028654);
    const F t = Tanh(kRoot * (x + F(0.044715) * (x * x * x)));
    return F(0.5) * (F(1) + t) + F(0.5) * x * (F(1) - t * t) * kRoot * (F(1) + F(0.134145) * x * x);
  }
  if constexpr (kKind == Activation::kSoftplus) return F(1) - Exp(-x);
  if constexpr (kKind == Activation::kNone) return F(1);
}

template <Activation kKind>
struct Kind {
  static constexpr Activation kValue = kKind;
};

// f(Kind<kind>{}) with the activation as a compile-time constant.
template <class F>
void WithKind(Activation kind, const F& f) {
  switch (kind) {
    case Activation::kNone:
      return f(Kind<Activation::kNone>{});
    case Activation::kRelu:
      return f(Kind<Activation::kRelu>{});
    case Activation::kLeakyRelu:
      return f(Kind<Activation::kLeakyRelu>{});
    case Activation::kSigmoid:
      return f(Kind<Activation::kSigmoid>{});
    case Activation::kTanh:
      return f(Kind<Activation::kTanh>{});
    case Activation::kSilu:
      return f(Kind<Activation::kSilu>{});
    case Activation::kGelu:
      return f(Kind<Activation::kGelu>{});
    case Activation::kSoftplus:
      return f(Kind<Activation::kSoftplus>{});
  }
}

template <Activation kKind, class R, class D, class G>
void BackwardRows(Matrix<const R> reference, Matrix<const R> dy, G scale, Matrix<D> dz, G* bias_grad) {
  for (int64_t i = 0; i < dy.rows; ++i) {
    const R* ref = reference.row(i);
    const R* g = dy.row(i);
    D* out = dz.row(i);
    if (bias_grad == nullptr) {
#pragma omp simd
      for (int64_t j = 0; j < dy.cols; ++j) Store(Load(g[j]) * scale * Slope<kKind, G>(Load(ref[j])), out[j]);
      continue;
    }
#pragma omp simd
    for (int64_t j = 0; j < dy.cols; ++j) {
      const G value = Load(g[j]) * scale * Slope<kKind, G>(Load(ref[j]));
      Store(value, out[j]);
      bias_grad[j] += value;
    }
  }
}

// No activation: a conversion with column sums; nothing is written where dz is empty.
template <class R, class D, class G>
void LinearBackward(Matrix<const R> dy, G scale, Matrix<D> dz, G* bias_grad) {
  for (int64_t i = 0; i < dy.rows; ++i) {
    const R* g = dy.row(i);
    if (!dz.empty()) {
      D* out = dz.row(i);
#pragma omp simd
      for (int64_t j = 0; j < dy.cols; ++j) Store(Load(g[j]) * scale, out[j]);
    }
    if (bias_grad != nullptr) {
#pragma omp simd
      for (int64_t j = 0; j < dy.cols; ++j) bias_grad[j] += Load(g[j]) * scale;
    }
  }
}

}  // namespace

template <class A>
void ActivationForwardKernel(Activation kind, Matrix<const A> z, Matrix<A> y) {
  WithKind(kind, [&](auto k) {
    for (int64_t i = 0; i < z.rows; ++i) {
      const A* in = z.row(i);
      A* out = y.row(i);
#pragma omp simd
      for (int64_t j = 0; j < z.cols; ++j) Store(Value<decltype(k)::kValue>(Load(in[j])), out[j]);
    }
  });
}

template <class R, class D, class G>
void ActivationBackwardKernel(Activation kind, Matrix<const R> reference, Matrix<const R> dy, G scale, Matrix<D> dz,
                              G* bias_grad) {
  if (kind == Activation::kNone) return LinearBackward(dy, scale, dz, bias_grad);
  WithKind(kind, [&](auto k) { BackwardRows<decltype(k)::kValue>(reference, dy, scale, dz, bias_grad); });
}

template <class A>
void DropoutKernel(double rate, uint64_t key, int64_t first_sample, Matrix<const A> x, Matrix<A> y) {
  using F = std::conditional_t<std::is_same_v<A, double>, double, float>;
  const F scale = F(1) / static_cast<F>(1 - rate);
  const auto threshold = static_cast<uint32_t>(rate * 4294967296.0);
  for (int64_t i = 0; i < x.rows; ++i) {
    const uint64_t row_key = MixPair(key, static_cast<uint64_t>(first_sample + i));
    const A* in = x.row(i);
    A* out = y.row(i);
#pragma omp simd
    for (int64_t j = 0; j < x.cols; ++j) {
      const uint64_t bits = Mix64(row_key + (static_cast<uint64_t>(j) + 1) * 0x9e3779b97f4a7c15ULL);
      Store(static_cast<uint32_t>(bits >> 32) >= threshold ? Load(in[j]) * scale : F(0), out[j]);
    }
  }
}

template <class From, class To>
void ConvertKernel(Matrix<const From> from, Matrix<To> to) {
  for (int64_t i = 0; i < from.rows; ++i) {
    const From* in = from.row(i);
    To* out = to.row(i);
#pragma omp simd
    for (int64_t j = 0; j < from.cols; ++j) Store(Load(in[j]), out[j]);
  }
}

#define SLUICE_INSTANTIATE(A)                                                       \
  template void ActivationForwardKernel<A>(Activation, Matrix<const A>, Matrix<A>); \
  template void DropoutKernel<A>(double, uint64_t, int64_t, Matrix<const A>, Matrix<A>);
SLUICE_INSTANTIATE(float)
SLUICE_INSTANTIATE(Bf16)
SLUICE_INSTANTIATE(double)
#undef SLUICE_INSTANTIATE
#define SLUICE_INSTANTIATE(R, D, G) \
  template void ActivationBackwardKernel<R, D, G>(Activation, Matrix<const R>, Matrix<const R>, G, Matrix<D>, G*);
SLUICE_INSTANTIATE(float, float, float)
SLUICE_INSTANTIATE(Bf16, Bf16, float)
SLUICE_INSTANTIATE(float, Bf16, float)
SLUICE_INSTANTIATE(double, double, double)
#undef SLUICE_INSTANTIATE
template void ConvertKernel<float, Bf16>(Matrix<const float>, Matrix<Bf16>);
template void ConvertKernel<Bf16, float>(Matrix<const Bf16>, Matrix<float>);

}  // namespace sluice::SLUICE_ISA
