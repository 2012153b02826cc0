#include <limits>

#include "nn/sparse_op_kernels.h"
#include "nn/sparse_op_kernels_inl.h"

namespace sluice::SLUICE_ISA {
namespace {

using nn::FieldSlice;
using nn::PairTerm;
using nn::Pooling;

constexpr int64_t kNearBytes = 32 << 10;  // that the first-level cache holds beside what streams through

// kWhole: every sample has its row here. Otherwise, for widths known to the compiler, a row of zeros stands for one
// that is not here, so that no branch depends on data.
template <class T, int kWidth, bool kTerm, bool kWhole>
void PoolOneHot(const FieldSlice<T>& field, int64_t column, int64_t width, Range samples, bool accumulate, T* out,
                int64_t ld, PairTerm<T> term) {
  static constexpr T kZeros[kWidth > 0 ? kWidth : 1] = {};
  const int64_t n = kWidth > 0 ? kWidth : width;
  for (int64_t i = samples.begin; i < samples.end; ++i, out += ld) {
    const int64_t next = i + kAhead;
    if (next < field.nnz && (kWhole || field.index[next] >= 0))
      PrefetchRow<false>(field.rows + field.index[next] * field.dim + column, n);
    const int64_t r = field.index[i];
    const T* v = nullptr;
    T w = T(0);
    if constexpr (kWhole || kWidth == 0) {
      if (!kWhole && r < 0) {
        if (!accumulate)
          for (int64_t d = 0; d < n; ++d) out[d] = T(0);
        continue;
      }
      v = field.rows + r * field.dim + column;
      if (kTerm && term.weight_column >= 0) w = field.rows[r * field.dim + term.weight_column];
    } else {
      const int64_t at = r < 0 ? 0 : r * field.dim;
      v = (r < 0 ? kZeros : field.rows + column) + at;
      if constexpr (kTerm) w = (r < 0 || term.weight_column < 0 ? kZeros : field.rows + at + term.weight_column)[0];
    }
    if (accumulate) {
#pragma omp simd
      for (int64_t d = 0; d < n; ++d) out[d] += v[d];
    } else {
#pragma omp simd
      for (int64_t d = 0; d < n; ++d) out[d] = v[d];
    }
    if constexpr (kTerm) {
      T lanes[kSquares] = {};
      AddSquares<kWidth>(v, n, T(1), lanes);
      term.q[(i - samples.begin) * term.q_ld] += w - T(0.5) * SumLanes(lanes);
    }
  }
}

template <class T, int kWidth, bool kTerm, bool kListed>
void PoolBags(const FieldSlice<T>& field, int64_t column, int64_t width, Range samples, bool accumulate, T* out,
              int64_t ld, PairTerm<T> term) {
  const int64_t n = kWidth > 0 ? kWidth : width;
  const auto here = [](int64_t r) { return r >= 0; };
  Occurrences<kListed, T, decltype(here)> occurrences(field, samples, here);
  for (int64_t i = samples.begin; i < samples.end; ++i, out += ld) {
    const int64_t begin = field.offsets != nullptr ? field.offsets[i] : i;
    const int64_t end = field.offsets != nullptr ? field.offsets[i + 1] : i + 1;
    const T scale = BagScale(field, begin, end);
    T local[kWidth > 0 ? kWidth : 1] = {};
    T lanes[kSquares] = {};
    T linear = 0;
    T* sum = kWidth > 0 ? local : out;
    if (kWidth > 0 ? accumulate : !accumulate)
      for (int64_t d = 0; d < n; ++d) sum[d] = kWidth > 0 ? out[d] : T(0);
    for (int64_t j = occurrences.Next(end); j < end; j = occurrences.Next(end)) {
      const int64_t ahead = occurrences.RowAhead();
      if (ahead >= 0) PrefetchRow<false>(field.rows + ahead * field.dim + column, n);
      const int64_t r = field.index[j];
      const T* v = field.rows + r * field.dim + column;
      const T c = field.weights != nullptr ? static_cast<T>(field.weights[j]) * scale : scale;
#pragma omp simd
      for (int64_t d = 0; d < n; ++d) sum[d] += c * v[d];
      if constexpr (kTerm) {
        AddSquares<kWidth>(v, n, c * c, lanes);
        if (term.weight_column >= 0) linear += c * field.rows[r * field.dim + term.weight_column];
      }
    }
    if constexpr (kWidth > 0)
      for (int64_t d = 0; d < n; ++d) out[d] = local[d];
    if constexpr (kTerm) term.q[(i - samples.begin) * term.q_ld] += linear - T(0.5) * SumLanes(lanes);
  }
}

// One column, one unweighted key per sample, into gradients that stay in the first-level cache: nothing is prefetched.
template <class T>
void AddGradOfOneColumn(const FieldSlice<T>& field, int64_t column, Range samples, const T* grad, int64_t ld,
                        T* row_grads) {
  T* const target = row_grads + column;
  for (int64_t i = samples.begin; i < samples.end; ++i, grad += ld) target[field.index[i] * field.dim] += *grad;
}

template <class T, int kWidth, bool kTerm, bool kListed>
void AddGrad(const FieldSlice<T>& field, int64_t column, int64_t width, Range samples, Range owned, const T* grad,
             int64_t ld, PairTerm<const T> term, T* row_grads) {
  const int64_t n = kWidth > 0 ? kWidth : width;
  const uint64_t num_owned = static_cast<uint64_t>(owned.size());
  const auto is_owned = [&](int64_t r) { return static_cast<uint64_t>(r - owned.begin) < num_owned; };
  Occurrences<kListed, T, decltype(is_owned)> occurrences(field, samples, is_owned);
  const auto add = [&](int64_t i, int64_t j, T scale) {
    const T* g = grad + (i - samples.begin) * ld;
    const int64_t ahead = occurrences.RowAhead();
    if (ahead >= 0) {
      PrefetchRow<true>(row_grads + ahead * field.dim + column, n);
      if constexpr (kTerm) PrefetchRow<false>(field.rows + ahead * field.dim + column, n);
    }
    const int64_t r = field.index[j];
    T* target = row_grads + r * field.dim + column;
    const T c = field.weights != nullptr ? static_cast<T>(field.weights[j]) * scale : scale;
    if constexpr (kTerm) {
      const T dq = term.q[(i - samples.begin) * term.q_ld];
      const T* v = field.rows + r * field.dim + column;
      const T self = dq * (c * c);
#pragma omp simd
      for (int64_t d = 0; d < n; ++d) target[d] += c * g[d] - self * v[d];
      if (term.weight_column >= 0) row_grads[r * field.dim + term.weight_column] += c * dq;
    } else {
#pragma omp simd
      for (int64_t d = 0; d < n; ++d) target[d] += c * g[d];
    }
  };
  if (field.offsets == nullptr && field.weights == nullptr) {
    for (int64_t i = occurrences.Next(samples.end); i < samples.end; i = occurrences.Next(samples.end)) {
      if (i + kAhead / 2 < samples.end) PrefetchRow<false>(grad + (i - samples.begin + kAhead / 2) * ld, n);
      add(i, i, T(1));
    }
    return;
  }
  for (int64_t i = samples.begin; i < samples.end; ++i) {
    const int64_t begin = field.offsets != nullptr ? field.offsets[i] : i;
    const int64_t end = field.offsets != nullptr ? field.offsets[i + 1] : i + 1;
    const T scale = BagScale(field, begin, end);
    if (i + kAhead / 2 < samples.end) PrefetchRow<false>(grad + (i - samples.begin + kAhead / 2) * ld, n);
    for (int64_t j = occurrences.Next(end); j < end; j = occurrences.Next(end)) add(i, j, scale);
  }
}

// out = max(out, what occurrence j adds).
template <class T>
inline void MaxWithRow(const FieldSlice<T>& field, int64_t j, int64_t column, int64_t width, T* out) {
  const T* v = field.rows + field.index[j] * field.dim + column;
  const T c = field.weights != nullptr ? static_cast<T>(field.weights[j]) : T(1);
#pragma omp simd
  for (int64_t d = 0; d < width; ++d) {
    const T x = c * v[d];
    out[d] = x > out[d] ? x : out[d];
  }
}

// MaxField where some rows live with another owner.
template <class T>
void MaxOfSome(const FieldSlice<T>& field, int64_t column, int64_t width, Range samples, T* out, int64_t ld) {
  const auto here = [](int64_t r) { return r >= 0; };
  Occurrences<true, T, decltype(here)> occurrences(field, samples, here);
  for (int64_t i = samples.begin; i < samples.end; ++i, out += ld) {
    const int64_t end = field.offsets != nullptr ? field.offsets[i + 1] : i + 1;
    for (int64_t d = 0; d < width; ++d) out[d] = -std::numeric_limits<T>::infinity();
    for (int64_t j = occurrences.Next(end); j < end; j = occurrences.Next(end)) {
      const int64_t ahead = occurrences.RowAhead();
      if (ahead >= 0) PrefetchRow<false>(field.rows + ahead * field.dim + column, width);
      MaxWithRow(field, j, column, width, out);
    }
  }
}

// At most kMaxColumns columns. Occurrence after occurrence; a column whose maximum was found looks for nothing more,
// since NaN equals no number.
constexpr int64_t kMaxColumns = 64;
template <class T, bool kListed>
void AddMaxGradOfColumns(const FieldSlice<T>& field, int64_t column, int64_t width, Range samples, Range owned,
                         const T* partial, int64_t partial_ld, const T* grad, int64_t ld, T* row_grads) {
  const auto here = [](int64_t r) { return r >= 0; };
  Occurrences<kListed, T, decltype(here)> occurrences(field, samples, here);
  T wanted[kMaxColumns];
  for (int64_t i = samples.begin; i < samples.end; ++i, partial += partial_ld, grad += ld) {
    const int64_t end = field.offsets != nullptr ? field.offsets[i + 1] : i + 1;
    for (int64_t d = 0; d < width; ++d) wanted[d] = partial[d];
    for (int64_t j = occurrences.Next(end); j < end; j = occurrences.Next(end)) {
      const int64_t r = field.index[j];
      const T* v = field.rows + r * field.dim + column;
      const T c = field.weights != nullptr ? static_cast<T>(field.weights[j]) : T(1);
      if (r >= owned.begin && r < owned.end) {
        T* target = row_grads + r * field.dim + column;
#pragma omp simd
        for (int64_t d = 0; d < width; ++d) target[d] = c * v[d] == wanted[d] ? target[d] + c * grad[d] : target[d];
      }
#pragma omp simd
      for (int64_t d = 0; d < width; ++d)
        wanted[d] = c * v[d] == wanted[d] ? std::numeric_limits<T>::quiet_NaN() : wanted[d];
    }
  }
}

}  // namespace

template <class T>
void PoolField(const FieldSlice<T>& field, int64_t column, int64_t width, Range samples, bool accumulate, T* out,
               int64_t ld, PairTerm<T> term) {
  const bool one_hot = field.offsets == nullptr && field.weights == nullptr;
  WithWidth(width, [&]<int kWidth>() {
    WithFlag(term.q != nullptr, [&]<bool kTerm>() {
      WithFlag(field.whole, [&]<bool kWhole>() {
        if (one_hot)
          PoolOneHot<T, kWidth, kTerm, kWhole>(field, column, width, samples, accumulate, out, ld, term);
        else
          PoolBags<T, kWidth, kTerm, !kWhole>(field, column, width, samples, accumulate, out, ld, term);
      });
    });
  });
}

template <class T>
void AddFieldGrad(const FieldSlice<T>& field, int64_t column, int64_t width, Range samples, Range owned, const T* grad,
                  int64_t ld, PairTerm<const T> term, T* row_grads) {
  const bool all = ReadsOnly(field, owned);
  if (all && width == 1 && term.q == nullptr && field.offsets == nullptr && field.weights == nullptr &&
      owned.size() * field.dim * static_cast<int64_t>(sizeof(T)) <= kNearBytes)
    return AddGradOfOneColumn(field, column, samples, grad, ld, row_grads);
  WithWidth(width, [&]<int kWidth>() {
    WithFlag(term.q != nullptr, [&]<bool kTerm>() {
      WithFlag(!all, [&]<bool kListed>() {
        AddGrad<T, kWidth, kTerm, kListed>(field, column, width, samples, owned, grad, ld, term, row_grads);
      });
    });
  });
}

template <class T>
void MaxField(const FieldSlice<T>& field, int64_t column, int64_t width, Range samples, T* out, int64_t ld) {
  if (!field.whole) return MaxOfSome(field, column, width, samples, out, ld);
  for (int64_t i = samples.begin; i < samples.end; ++i, out += ld) {
    const int64_t begin = field.offsets != nullptr ? field.offsets[i] : i;
    const int64_t end = field.offsets != nullptr ? field.offsets[i + 1] : i + 1;
    for (int64_t d = 0; d < width; ++d) out[d] = -std::numeric_limits<T>::infinity();
    for (int64_t j = begin; j < end; ++j) {
      const int64_t next = j + kAhead;
      if (next < field.nnz) PrefetchRow<false>(field.rows + field.index[next] * field.dim + column, width);
      MaxWithRow(field, j, column, width, out);
    }
  }
}

template <class T>
void AddMaxGrad(const FieldSlice<T>& field, int64_t column, int64_t width, Range samples, Range owned, const T* partial,
                int64_t partial_ld, const T* grad, int64_t ld, T* row_grads) {
  WithFlag(!field.whole, [&]<bool kListed>() {
    for (int64_t d = 0; d < width; d += kMaxColumns)
      AddMaxGradOfColumns<T, kListed>(field, column + d, width - d < kMaxColumns ? width - d : kMaxColumns, samples,
                                      owned, partial + d, partial_ld, grad + d, ld, row_grads);
  });
}

#define SLUICE_INSTANTIATE(T)                                                                                    \
  template void PoolField<T>(const FieldSlice<T>&, int64_t, int64_t, Range, bool, T*, int64_t, PairTerm<T>);     \
  template void AddFieldGrad<T>(const FieldSlice<T>&, int64_t, int64_t, Range, Range, const T*, int64_t,         \
                                PairTerm<const T>, T*);                                                          \
  template void MaxField<T>(const FieldSlice<T>&, int64_t, int64_t, Range, T*, int64_t);                         \
  template void AddMaxGrad<T>(const FieldSlice<T>&, int64_t, int64_t, Range, Range, const T*, int64_t, const T*, \
                              int64_t, T*);
SLUICE_INSTANTIATE(float)
SLUICE_INSTANTIATE(double)
#undef SLUICE_INSTANTIATE

}  // namespace sluice::SLUICE_ISA
