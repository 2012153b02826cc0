#include "nn/sparse_fixed_kernels.h"

#include "nn/fixed_point_kernels_inl.h"
#include "nn/sparse_op_kernels_inl.h"

namespace sluice::SLUICE_ISA {
namespace {

// Flaws of several columns at once, so that a row's columns share no register.
constexpr int64_t kFlawLanes = 8;
struct Flaws {
  uint64_t lanes[kFlawLanes] = {};
  bool none() const {
    uint64_t all = 0;
    for (const uint64_t lane : lanes) all |= lane;
    return all == 0;
  }
};

// sums[d] += value(d) for d in [0, width).
template <int kWidth, class Value>
inline void AddColumns(int64_t width, double scale, int64_t* sums, Flaws& flaws, const Value& value) {
  const int64_t n = kWidth > 0 ? kWidth : width;
  int64_t d = 0;
  for (; d + kFlawLanes <= n; d += kFlawLanes) {
#pragma omp simd
    for (int64_t i = 0; i < kFlawLanes; ++i)
      AddFixed(static_cast<double>(value(d + i)), scale, sums[d + i], flaws.lanes[i]);
  }
  if constexpr (kWidth == 0 || kWidth % kFlawLanes != 0)
    for (; d < n; ++d) AddFixed(static_cast<double>(value(d)), scale, sums[d], flaws.lanes[0]);
}

template <class T, int kWidth, bool kTerm, bool kListed>
bool Pool(const FieldSlice<T>& field, int64_t column, int64_t width, Range samples, bool accumulate, int64_t* out,
          int64_t ld, PairTerm<int64_t> term) {
  const double scale = nn::kPartialFixed.scale();
  const int64_t n = kWidth > 0 ? kWidth : width;
  const auto here = [](int64_t r) { return r >= 0; };
  Occurrences<kListed, T, decltype(here)> occurrences(field, samples, here);
  Flaws flaws;
  for (int64_t i = samples.begin; i < samples.end; ++i, out += ld) {
    const int64_t begin = field.offsets != nullptr ? field.offsets[i] : i;
    const int64_t end = field.offsets != nullptr ? field.offsets[i + 1] : i + 1;
    const T bag = BagScale(field, begin, end);
    if (!accumulate)
      for (int64_t d = 0; d < n; ++d) out[d] = 0;
    for (int64_t j = occurrences.Next(end); j < end; j = occurrences.Next(end)) {
      const int64_t ahead = occurrences.RowAhead();
      if (ahead >= 0) PrefetchRow<false>(field.rows + ahead * field.dim + column, n);
      const int64_t r = field.index[j];
      const T* v = field.rows + r * field.dim + column;
      const T c = field.weights != nullptr ? static_cast<T>(field.weights[j]) * bag : bag;
      AddColumns<kWidth>(n, scale, out, flaws, [&](int64_t d) { return c * v[d]; });
      if constexpr (kTerm) {
        T lanes[kSquares] = {};
        AddSquares<kWidth>(v, n, c * c, lanes);
        const T w = term.weight_column >= 0 ? c * field.rows[r * field.dim + term.weight_column] : T(0);
        AddFixed(static_cast<double>(w - T(0.5) * SumLanes(lanes)), scale, term.q[(i - samples.begin) * term.q_ld],
                 flaws.lanes[0]);
      }
    }
  }
  return flaws.none();
}

template <class T, int kWidth, bool kTerm, bool kListed>
bool AddGrad(const FieldSlice<T>& field, int64_t column, int64_t width, Range samples, Range owned, const T* grad,
             int64_t ld, PairTerm<const T> term, double scale, int64_t* row_grads) {
  const int64_t n = kWidth > 0 ? kWidth : width;
  const uint64_t num_owned = static_cast<uint64_t>(owned.size());
  const auto is_owned = [&](int64_t r) { return static_cast<uint64_t>(r - owned.begin) < num_owned; };
  Occurrences<kListed, T, decltype(is_owned)> occurrences(field, samples, is_owned);
  Flaws flaws;
  for (int64_t i = samples.begin; i < samples.end; ++i) {
    const int64_t begin = field.offsets != nullptr ? field.offsets[i] : i;
    const int64_t end = field.offsets != nullptr ? field.offsets[i + 1] : i + 1;
    const T bag = BagScale(field, begin, end);
    const T* g = grad + (i - samples.begin) * ld;
    for (int64_t j = occurrences.Next(end); j < end; j = occurrences.Next(end)) {
      const int64_t ahead = occurrences.RowAhead();
      if (ahead >= 0) PrefetchRow<true>(row_grads + (ahead - owned.begin) * field.dim + column, n);
      const int64_t r = field.index[j];
      int64_t* target = row_grads + (r - owned.begin) * field.dim;
      const T c = field.weights != nullptr ? static_cast<T>(field.weights[j]) * bag : bag;
      if constexpr (kTerm) {
        const T dq = term.q[(i - samples.begin) * term.q_ld];
        const T* v = field.rows + r * field.dim + column;
        const T self = dq * (c * c);
        AddColumns<kWidth>(n, scale, target + column, flaws, [&](int64_t d) { return c * g[d] - self * v[d]; });
        if (term.weight_column >= 0)
          AddFixed(static_cast<double>(c * dq), scale, target[term.weight_column], flaws.lanes[0]);
      } else {
        AddColumns<kWidth>(n, scale, target + column, flaws, [&](int64_t d) { return c * g[d]; });
      }
    }
  }
  return flaws.none();
}

template <class T, bool kListed>
bool AddMaxGrad(const FieldSlice<T>& field, int64_t column, int64_t width, Range samples, Range owned, const T* partial,
                int64_t partial_ld, const T* grad, int64_t ld, double scale, int64_t* row_grads) {
  const uint64_t num_owned = static_cast<uint64_t>(owned.size());
  const auto is_owned = [&](int64_t r) { return static_cast<uint64_t>(r - owned.begin) < num_owned; };
  Occurrences<kListed, T, decltype(is_owned)> occurrences(field, samples, is_owned);
  uint64_t flaws = 0;
  for (int64_t i = samples.begin; i < samples.end; ++i, partial += partial_ld, grad += ld) {
    const int64_t begin = field.offsets != nullptr ? field.offsets[i] : i;
    const int64_t end = field.offsets != nullptr ? field.offsets[i + 1] : i + 1;
    const auto attains = [&](int64_t j, int64_t d) {
      const T c = field.weights != nullptr ? static_cast<T>(field.weights[j]) : T(1);
      return c * field.rows[field.index[j] * field.dim + column + d] == partial[d];
    };
    for (int64_t j = occurrences.Next(end); j < end; j = occurrences.Next(end)) {
      const int64_t r = field.index[j];
      for (int64_t d = 0; d < width; ++d) {
        if (!attains(j, d)) continue;
        bool first = true;
        for (int64_t before = begin; before < j && first; ++before)
          first = field.index[before] != r || !attains(before, d);
        if (!first) continue;
        const T c = field.weights != nullptr ? static_cast<T>(field.weights[j]) : T(1);
        AddFixed(static_cast<double>(c * grad[d]), scale, row_grads[(r - owned.begin) * field.dim + column + d], flaws);
      }
    }
  }
  return flaws == 0;
}

}  // namespace

template <class T>
bool PoolFieldFixed(const FieldSlice<T>& field, int64_t column, int64_t width, Range samples, bool accumulate,
                    int64_t* out, int64_t ld, PairTerm<int64_t> term) {
  bool good = true;
  WithWidth(width, [&]<int kWidth>() {
    WithFlag(term.q != nullptr, [&]<bool kTerm>() {
      WithFlag(!field.whole, [&]<bool kListed>() {
        good = Pool<T, kWidth, kTerm, kListed>(field, column, width, samples, accumulate, out, ld, term);
      });
    });
  });
  return good;
}

template <class T>
bool AddFieldGradFixed(const FieldSlice<T>& field, int64_t column, int64_t width, Range samples, Range owned,
                       const T* grad, int64_t ld, PairTerm<const T> term, double scale, int64_t* row_grads) {
  bool good = true;
  WithWidth(width, [&]<int kWidth>() {
    WithFlag(term.q != nullptr, [&]<bool kTerm>() {
      WithFlag(!ReadsOnly(field, owned), [&]<bool kListed>() {
        good =
            AddGrad<T, kWidth, kTerm, kListed>(field, column, width, samples, owned, grad, ld, term, scale, row_grads);
      });
    });
  });
  return good;
}

template <class T>
bool AddMaxGradFixed(const FieldSlice<T>& field, int64_t column, int64_t width, Range samples, Range owned,
                     const T* partial, int64_t partial_ld, const T* grad, int64_t ld, double scale,
                     int64_t* row_grads) {
  bool good = true;
  WithFlag(!ReadsOnly(field, owned), [&]<bool kListed>() {
    good =
        AddMaxGrad<T, kListed>(field, column, width, samples, owned, partial, partial_ld, grad, ld, scale, row_grads);
  });
  return good;
}

#define SLUICE_INSTANTIATE(T)                                                                                         \
  template bool PoolFieldFixed<T>(const FieldSlice<T>&, int64_t, int64_t, Range, bool, int64_t*, int64_t,             \
                                  PairTerm<int64_t>);                                                                 \
  template bool AddFieldGradFixed<T>(const FieldSlice<T>&, int64_t, int64_t, Range, Range, const T*, int64_t,         \
                                     PairTerm<const T>, double, int64_t*);                                            \
  template bool AddMaxGradFixed<T>(const FieldSlice<T>&, int64_t, int64_t, Range, Range, const T*, int64_t, const T*, \
                                   int64_t, double, int64_t*);
SLUICE_INSTANTIATE(float)
SLUICE_INSTANTIATE(double)
#undef SLUICE_INSTANTIATE

}  // namespace sluice::SLUICE_ISA
