#pragma once

#include <cmath>
#include <utility>
#include <vector>

#include "base/check.h"
#include "nn/net.h"
#include "nn/net_graph.h"
#include "nn/net_workspace.h"

// What the files of nn::Net share.
namespace sluice::nn {

template <class T>
bool AllFinite(Matrix<const T> x) {
  for (int64_t i = 0; i < x.rows; ++i)
    for (int64_t j = 0; j < x.cols; ++j)
      if (!std::isfinite(x.row(i)[j])) return false;
  return true;
}

// The columns of an operator's partials, of samples `range`.
template <class P, class T>
Matrix<P> ColumnsOf(const Graph<T>& graph, const Node<T>& node, PartialColumns<P> columns, Range range) {
  const bool max = node.op->reduction() == Reduction::kMax;
  const int64_t ld = max ? graph.max_columns : graph.sum_columns;
  return {(max ? columns.max : columns.sum) + range.begin * ld + node.partial_begin, range.size(), node.partial_width,
          ld};
}

// What an operator with projections pools of a batch of n samples, or the gradient of it, in a buffer for all of them.
template <class P, class T>
Matrix<P> PooledOf(const Node<T>& node, P* buffer, int64_t n) {
  const int64_t width = node.op->partial_width();
  return {buffer + n * node.pooled_begin, n, width, width};
}

template <class T>
struct Net<T>::Impl {
  Graph<T> graph;

  void CheckBatch(const data::Batch& batch, const std::vector<RowsView<T>>& rows, bool training,
                  const StepParts<T>* parts) const {
    const auto size = static_cast<size_t>(batch.size);
    SLUICE_CHECK(batch.size >= 0 && batch.dense.size() == size * static_cast<size_t>(graph.num_dense),
                 "batch of {} has {} numeric values, {} columns", batch.size, batch.dense.size(), graph.num_dense);
    SLUICE_CHECK(!training || batch.labels.size() == size * static_cast<size_t>(graph.num_labels),
                 "batch of {} has {} labels, {} columns", batch.size, batch.labels.size(), graph.num_labels);
    const bool has_partials = parts != nullptr && parts->has_partials;
    SLUICE_CHECK(has_partials || rows.size() == graph.tables.size(), "{} row views for {} tables", rows.size(),
                 graph.tables.size());
  }
};

}  // namespace sluice::nn
