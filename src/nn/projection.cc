#include "nn/projection.h"

#include <algorithm>

#include "nn/gemm.h"

namespace sluice::nn {
namespace {

// Rows of weights of one task: enough for the product's kernel.
constexpr int64_t kTaskRows = 64;

template <class T>
Matrix<const T> Weights(const Projection& projection, const T* params) {
  return {params + projection.weight, projection.inputs, projection.outputs, projection.outputs};
}
template <class T>
Matrix<T> Columns(const Projection& projection, Matrix<T> partial) {
  return partial.Columns({projection.column, projection.column + projection.outputs});
}

}  // namespace

template <class T>
void ProjectForward(const std::vector<Projection>& projections, const T* params, Matrix<const T> pooled,
                    Matrix<T> partial) {
  if (partial.rows == 0) return;
  for (const Projection& projection : projections)
    Gemm<T>(pooled, Weights(projection, params), Columns(projection, partial));
}

template <class T>
void ProjectBackward(const std::vector<Projection>& projections, const T* params, Matrix<const T> partial_grad,
                     Matrix<T> pooled_grad) {
  if (partial_grad.rows == 0) return;
  bool first = true;
  for (const Projection& projection : projections) {
    Gemm<T>(Columns(projection, partial_grad), Weights(projection, params), pooled_grad,
            {.transpose_b = true, .accumulate = !first});
    first = false;
  }
}

template <class T>
void ProjectWeightGradients(const std::vector<Projection>& projections, Matrix<const T> pooled,
                            Matrix<const T> partial_grad, ThreadPool& pool, T* weight_grads) {
  for (const Projection& projection : projections) {
    const int64_t size = projection.inputs * projection.outputs;
    if (pooled.rows == 0) {
      std::fill(weight_grads, weight_grads + size, T(0));
    } else {
      const int64_t tasks = (projection.inputs + kTaskRows - 1) / kTaskRows;
      pool.ForEach(tasks, [&](int64_t task, int) {
        const int64_t begin = task * kTaskRows, rows = std::min(kTaskRows, projection.inputs - begin);
        Gemm<T>(Matrix<const T>{pooled.data + begin, pooled.rows, rows, pooled.ld}, Columns(projection, partial_grad),
                Matrix<T>{weight_grads + begin * projection.outputs, rows, projection.outputs, projection.outputs},
                {.transpose_a = true});
      });
    }
    weight_grads += size;
  }
}

#define SLUICE_PROJECTION(T)                                                                                \
  template void ProjectForward<T>(const std::vector<Projection>&, const T*, Matrix<const T>, Matrix<T>);    \
  template void ProjectBackward<T>(const std::vector<Projection>&, const T*, Matrix<const T>, Matrix<T>);   \
  template void ProjectWeightGradients<T>(const std::vector<Projection>&, Matrix<const T>, Matrix<const T>, \
                                          ThreadPool&, T*);
SLUICE_PROJECTION(float)
SLUICE_PROJECTION(double)
#undef SLUICE_PROJECTION

}  // namespace sluice::nn
