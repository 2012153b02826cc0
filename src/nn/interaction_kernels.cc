#include "nn/interaction_kernels.h"

namespace sluice::SLUICE_ISA {
namespace {

using nn::VectorEdge;
using nn::VectorEdges;

constexpr int64_t kRows = 8;  // rows of a register tile
constexpr int64_t kColumns = sluice::kLanes;

inline int64_t RoundUp(int64_t n, int64_t to) { return (n + to - 1) / to * to; }
inline int64_t TriangleStart(int64_t v) { return v * (v - 1) / 2; }

// vectors[v] for the sample's vectors, then zeros up to a whole number of tiles.
template <class T>
inline void PointAt(const VectorEdges<const T>& x, int64_t i, const T* zeros, const T** vectors) {
  int64_t v = 0;
  for (int64_t u = 0; u < x.first.num_vectors; ++u) vectors[v++] = x.first.data + i * x.first.ld + u * x.width;
  for (int64_t u = 0; u < x.second.num_vectors; ++u) vectors[v++] = x.second.data + i * x.second.ld + u * x.width;
  for (const int64_t end = RoundUp(v, kRows); v < end;) vectors[v++] = zeros;
}

// tile[r][c] = sum over d of rows[r][d] * columns[d * ld + c].
template <class T>
inline void ProductTile(const T* const* rows, int64_t width, const T* columns, int64_t ld, T* out, int64_t out_ld) {
  T tile[kRows][kColumns] = {};
  for (int64_t d = 0; d < width; ++d) {
    const T* column = columns + d * ld;
    for (int64_t r = 0; r < kRows; ++r) {
      const T x = rows[r][d];
#pragma omp simd
      for (int64_t c = 0; c < kColumns; ++c) tile[r][c] += x * column[c];
    }
  }
  for (int64_t r = 0; r < kRows; ++r)
    for (int64_t c = 0; c < kColumns; ++c) out[r * out_ld + c] = tile[r][c];
}

// What the gradients of vectors [v0, v0 + kRows) are made from, and where they go.
template <class T>
struct GradRows {
  int64_t v0 = 0, end = 0, num_vectors = 0;   // end: of the vectors that there are
  const T* before[kRows];                     // factors of vectors u < v0: before[r][u]
  T inside[kRows][kRows];                     // of vectors v0 + u: inside[u][r]
  const T* g = nullptr;                       // of vectors u >= end: g[TriangleStart(u) + v0 + r]
  T* to[kRows];
  bool accumulate[kRows];
};

template <class T>
inline void PrepareRows(const VectorEdges<T>& grad, int64_t i, int64_t v0, const T* g, GradRows<T>* rows) {
  const int64_t n = grad.num_vectors();
  rows->v0 = v0;
  rows->end = v0 + kRows < n ? v0 + kRows : n;
  rows->num_vectors = n;
  rows->g = g;
  for (int64_t r = 0; r < kRows; ++r) {
    const int64_t v = v0 + r;
    rows->before[r] = g + TriangleStart(v < n ? v : v0);
    rows->to[r] = nullptr;
    rows->inside[r][r] = T(0);
    if (v >= n) {
      for (int64_t u = 0; u < r; ++u) rows->inside[u][r] = rows->inside[r][u] = T(0);
      continue;
    }
    for (int64_t u = 0; u < r; ++u) rows->inside[u][r] = rows->inside[r][u] = rows->before[r][v0 + u];
    const bool in_first = v < grad.first.num_vectors;
    const VectorEdge<T>& edge = in_first ? grad.first : grad.second;
    rows->accumulate[r] = edge.accumulate;
    if (edge.data != nullptr)
      rows->to[r] = edge.data + i * edge.ld + (in_first ? v : v - grad.first.num_vectors) * grad.width;
  }
}

// Columns [d, d + n) of the gradients, n <= kColumns.
template <bool kWhole, class T>
inline void GradTile(const GradRows<T>& rows, const T* const* vectors, int64_t d, int64_t n) {
  const int64_t columns = kWhole ? kColumns : n;
  T sum[kRows][kColumns] = {};
  for (int64_t u = 0; u < rows.v0; ++u) {
    const T* x = vectors[u] + d;
    for (int64_t r = 0; r < kRows; ++r) {
      const T f = rows.before[r][u];
#pragma omp simd
      for (int64_t c = 0; c < columns; ++c) sum[r][c] += f * x[c];
    }
  }
  for (int64_t u = rows.v0; u < rows.end; ++u) {
    const T* x = vectors[u] + d;
    for (int64_t r = 0; r < kRows; ++r) {
      const T f = rows.inside[u - rows.v0][r];
#pragma omp simd
      for (int64_t c = 0; c < columns; ++c) sum[r][c] += f * x[c];
    }
  }
  const T* after = rows.g + TriangleStart(rows.end) + rows.v0;
  for (int64_t u = rows.end; u < rows.num_vectors; after += u, ++u) {
    const T* x = vectors[u] + d;
    for (int64_t r = 0; r < kRows; ++r) {
      const T f = after[r];
#pragma omp simd
      for (int64_t c = 0; c < columns; ++c) sum[r][c] += f * x[c];
    }
  }
  for (int64_t r = 0; r < kRows; ++r) {
    T* to = rows.to[r];
    if (to == nullptr) continue;
    to += d;
    if (rows.accumulate[r]) {
#pragma omp simd
      for (int64_t c = 0; c < columns; ++c) to[c] += sum[r][c];
    } else {
#pragma omp simd
      for (int64_t c = 0; c < columns; ++c) to[c] = sum[r][c];
    }
  }
}

}  // namespace

template <class T>
void DotPairs(const VectorEdges<const T>& x, T* out, int64_t ld, T* scratch, const T** vectors) {
  const int64_t n = x.num_vectors();
  const int64_t padded = RoundUp(n, kColumns);
  T* transposed = scratch;                      // [width, padded]
  T* products = transposed + padded * x.width;  // [kRows, padded]
  T* zeros = products + kRows * padded;         // [width]
  for (int64_t d = 0; d < x.width; ++d) {
    zeros[d] = T(0);
    for (int64_t v = n; v < padded; ++v) transposed[d * padded + v] = T(0);
  }
  const int64_t size = TriangleStart(n);
  for (int64_t i = 0; i < x.rows; ++i, out += ld) {
    PointAt(x, i, zeros, vectors);
    for (int64_t v = 0; v < n; ++v)
      for (int64_t d = 0; d < x.width; ++d) transposed[d * padded + v] = vectors[v][d];
    for (int64_t v0 = 0; v0 < n; v0 += kRows) {
      for (int64_t u0 = 0; u0 < v0 + kRows - 1 && u0 < n; u0 += kColumns)
        ProductTile(vectors + v0, x.width, transposed + u0, padded, products + u0, padded);
      for (int64_t v = v0; v < v0 + kRows && v < n; ++v) {
        const T* row = products + (v - v0) * padded;
        T* to = out + TriangleStart(v);
        // Whole vectors where what runs over is written again by the next row.
        if (TriangleStart(v) + RoundUp(v, kColumns) <= size) {
          for (int64_t u = 0; u < v; u += kColumns)
            for (int64_t c = 0; c < kColumns; ++c) to[u + c] = row[u + c];
        } else {
          for (int64_t u = 0; u < v; ++u) to[u] = row[u];
        }
      }
    }
  }
}

template <class T>
void DotPairsGrad(const VectorEdges<const T>& x, const T* out_grad, int64_t ld, const VectorEdges<T>& grad, T* scratch,
                  const T** vectors) {
  const int64_t n = x.num_vectors();
  for (int64_t d = 0; d < x.width; ++d) scratch[d] = T(0);
  const int64_t whole = x.width / kColumns * kColumns;
  GradRows<T> rows;
  for (int64_t i = 0; i < x.rows; ++i, out_grad += ld) {
    PointAt(x, i, scratch, vectors);
    for (int64_t v0 = 0; v0 < n; v0 += kRows) {
      PrepareRows(grad, i, v0, out_grad, &rows);
      for (int64_t d = 0; d < whole; d += kColumns) GradTile<true>(rows, vectors, d, kColumns);
      if (whole < x.width) GradTile<false>(rows, vectors, whole, x.width - whole);
    }
  }
}

template <class T>
void PairSum(const VectorEdges<const T>& x, T* out, int64_t ld, T* scratch) {
  T* squares = scratch;  // [width]
  T* sum = scratch + x.width;
  for (int64_t i = 0; i < x.rows; ++i) {
    for (int64_t d = 0; d < x.width; ++d) sum[d] = squares[d] = T(0);
    for (int64_t v = 0; v < x.first.num_vectors; ++v) {
      const T* vector = x.first.data + i * x.first.ld + v * x.width;
#pragma omp simd
      for (int64_t d = 0; d < x.width; ++d) {
        sum[d] += vector[d];
        squares[d] += vector[d] * vector[d];
      }
    }
    for (int64_t d = 0; d < x.width; ++d) out[i * ld + d] = T(0.5) * (sum[d] * sum[d] - squares[d]);
  }
}

template <class T>
void PairSumGrad(const VectorEdges<const T>& x, const T* out_grad, int64_t ld, const VectorEdge<T>& grad, T* scratch) {
  T* sum = scratch;
  for (int64_t i = 0; i < x.rows; ++i) {
    const T* g = out_grad + i * ld;
    for (int64_t d = 0; d < x.width; ++d) sum[d] = T(0);
    for (int64_t v = 0; v < x.first.num_vectors; ++v)
      for (int64_t d = 0; d < x.width; ++d) sum[d] += x.first.data[i * x.first.ld + v * x.width + d];
    for (int64_t v = 0; v < x.first.num_vectors; ++v) {
      const T* vector = x.first.data + i * x.first.ld + v * x.width;
      T* to = grad.data + i * grad.ld + v * x.width;
      if (grad.accumulate) {
#pragma omp simd
        for (int64_t d = 0; d < x.width; ++d) to[d] += g[d] * (sum[d] - vector[d]);
      } else {
#pragma omp simd
        for (int64_t d = 0; d < x.width; ++d) to[d] = g[d] * (sum[d] - vector[d]);
      }
    }
  }
}

#define SLUICE_INSTANTIATE(T)                                                                                          \
  template void DotPairs<T>(const VectorEdges<const T>&, T*, int64_t, T*, const T**);                                  \
  template void DotPairsGrad<T>(const VectorEdges<const T>&, const T*, int64_t, const VectorEdges<T>&, T*, const T**); \
  template void PairSum<T>(const VectorEdges<const T>&, T*, int64_t, T*);                                              \
  template void PairSumGrad<T>(const VectorEdges<const T>&, const T*, int64_t, const VectorEdge<T>&, T*);
SLUICE_INSTANTIATE(float)
SLUICE_INSTANTIATE(double)
#undef SLUICE_INSTANTIATE

}  // namespace sluice::SLUICE_ISA
