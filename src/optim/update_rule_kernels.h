#pragma once

#include "base/simd.h"
#include "optim/update_rule.h"

namespace sluice {

// Instantiated for float and double.
SLUICE_DECLARE_KERNELS(template <class T>
                       void UpdateRowsKernel(const optim::PreparedRule<T>& rule, const optim::RowsUpdate<T>& update);
                       template <class T> void UpdateElementsKernel(const optim::PreparedRule<T>& rule, int64_t missed,
                                                                    T* w, const T* g, T* slot0, T* slot1, int64_t n);
                       template <class T> double SumOfSquaresKernel(const T* x, int64_t n);
                       template <class T> void ScaleKernel(T* x, int64_t n, T factor);)

}  // namespace sluice
