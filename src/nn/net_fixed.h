#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "data/batch.h"
#include "nn/fixed_point.h"
#include "nn/net_graph.h"

// The net's sums in deterministic mode (nn/fixed_point.h, docs/determinism.md).
// Errors       a StatusError: kNumeric naming block, field and key, or parameter, where a value is not finite or out of
//              range.
namespace sluice::nn {

// Refuses blocks that deterministic mode does not offer. Errors: kInvalidArgument naming the block.
template <class T>
Status CheckDeterministic(const Graph<T>& graph);

// An operator's partial of `samples` in T, by way of fixed point where it is a sum. `scratch` is reused.
template <class T>
void PartialByFixedPoint(const Graph<T>& graph, const Node<T>& node, const data::Batch& batch, const RowsView<T>& rows,
                         Range samples, AlignedBuffer<int64_t>* scratch, Matrix<T> partial);

// out [batch.size, sum_columns]: partials of all operators that sum, as fixed point.
template <class T>
void FixedPartials(const Graph<T>& graph, const data::Batch& batch, const std::vector<RowsView<T>>& rows,
                   ThreadPool& pool, int64_t* out);

// An operator's partial and its gradient, over the whole batch.
template <class T>
using MatricesOf = std::function<std::pair<Matrix<const T>, Matrix<const T>>(const Node<T>&)>;

// row_grads [range.size(), dim], from the row range.begin on: overwritten.
template <class T>
void FixedRowGradients(const Graph<T>& graph, const data::Batch& batch, const RowsView<T>& view, int table, Range range,
                       FixedPoint fixed, const MatricesOf<T>& matrices_of, int64_t* row_grads);

// grads [num_grads, size] one after another: their sum into the first, over `reduce` (may be null), which adds up
// ranks. `fixed` is scratch. `step`: for messages.
template <class T>
void SumGradientsByFixedPoint(const Graph<T>& graph, int64_t step, T* grads, int num_grads, ThreadPool& pool,
                              const std::function<void(std::span<int64_t>)>& reduce, AlignedBuffer<int64_t>* fixed);

}  // namespace sluice::nn
