// The step of nn::Net in parts, for ranks that own rows and ranks that have samples.
#include <algorithm>
#include <atomic>
#include <utility>

#include "nn/matrix_ops.h"
#include "nn/net.h"
#include "nn/net_fixed.h"
#include "nn/net_impl.h"
#include "nn/net_kernels.h"

namespace sluice::nn {

template <class T>
void Net<T>::FixedPartials(const data::Batch& batch, const std::vector<RowsView<T>>& rows, ThreadPool& pool,
                           int64_t* out) const {
  nn::FixedPartials(impl_->graph, batch, rows, pool, out);
}

template <class T>
void Net<T>::FromFixedPoint(const int64_t* in, FixedPoint fixed, int64_t n, ThreadPool& pool, const std::string& what,
                            T* out) {
  std::atomic<bool> good{true};
  pool.ForParts(n, [&](Range part, int) {
    if (!SLUICE_DISPATCH(FromFixed<T>)(in + part.begin, fixed.unit(), out + part.begin, part.size())) good = false;
  });
  if (!good) throw StatusError(NumericError("{}: a sum is beyond what deterministic: true can add up", what));
}

template <class T>
void Net<T>::FixedRowGradients(const data::Batch& batch, const std::vector<RowsView<T>>& rows, int table, Range range,
                               Workspace* ws, int64_t* row_grads) const {
  nn::FixedRowGradients<T>(
      impl_->graph, batch, rows[static_cast<size_t>(table)], table, range, ws->row_gradient_fixed,
      [&](const Node<T>& node) { return std::pair(ws->Partial(node.sparse), ws->PartialGrad(node.sparse)); },
      row_grads);
}

template <class T>
std::array<LossSums, kNumChunks> Net<T>::chunk_losses(const Workspace& ws) {
  std::array<LossSums, kNumChunks> losses{};
  for (size_t piece = 0; piece < ws.chunk_of_piece.size(); ++piece)
    losses[static_cast<size_t>(ws.chunk_of_piece[piece])] = ws.losses[piece];
  return losses;
}

template <class T>
FixedPoint Net<T>::row_gradient_fixed(const Workspace& ws) {
  return ws.row_gradient_fixed;
}

template <class T>
int64_t Net<T>::partial_columns(Reduction reduction) const {
  return reduction == Reduction::kMax ? impl_->graph.max_columns : impl_->graph.sum_columns;
}

template <class T>
std::vector<OperatorColumns> Net<T>::operator_columns() const {
  std::vector<OperatorColumns> all;
  for (const int index : impl_->graph.sparse_nodes) {
    const Node<T>& node = impl_->graph.nodes[static_cast<size_t>(index)];
    all.push_back({node.name,
                   node.op->fields(),
                   node.op->reduction(),
                   node.partial_begin,
                   node.partial_width,
                   node.projections.empty() ? node.op->columns_per_field() : 0,
                   {}});
    for (const int field : node.op->fields())
      if (node.op->divides_by_bag(field)) all.back().divided.push_back(field);
  }
  return all;
}

template <class T>
int64_t Net<T>::num_batch_sums() const {
  return 2 * impl_->graph.num_sums;
}

template <class T>
void Net<T>::Partials(const data::Batch& batch, const std::vector<RowsView<T>>& rows, ThreadPool& pool,
                      PartialColumns<T> out, const T* params, ProjectionBuffers<T>* projected) const {
  if (has_projections()) projected->pooled.Resize(batch.size * impl_->graph.pooled_columns);
  pool.ForParts(batch.size, [&](Range samples, int) {
    for (const int index : impl_->graph.sparse_nodes) {
      const Node<T>& node = impl_->graph.nodes[static_cast<size_t>(index)];
      if ((node.op->reduction() == Reduction::kMax ? out.max : out.sum) == nullptr) continue;
      const RowsView<T>& view = rows[static_cast<size_t>(node.table)];
      const Matrix<T> partial = ColumnsOf(impl_->graph, node, out, samples);
      if (node.projections.empty()) {
        node.op->Partial(batch, view, samples, partial);
        continue;
      }
      const Matrix<T> pooled = PooledOf(node, projected->pooled.data(), batch.size).Rows(samples);
      node.op->Partial(batch, view, samples, pooled);
      ProjectForward<T>(node.projections, params, pooled, partial);
    }
  });
}

template <class T>
void Net<T>::ProjectionGradients(int64_t batch_size, PartialColumns<T> partial_grads, const T* params, ThreadPool& pool,
                                 ProjectionBuffers<T>* projected) const {
  const Graph<T>& graph = impl_->graph;
  projected->pooled_grads.Resize(batch_size * graph.pooled_columns);
  int64_t num_weights = 0;
  for (const OwnedWeights& weights : owned_weights()) num_weights += weights.params.size();
  projected->weight_grads.Resize(num_weights);
  T* weight_grads = projected->weight_grads.data();
  for (const int index : graph.sparse_nodes) {
    const Node<T>& node = graph.nodes[static_cast<size_t>(index)];
    if (node.projections.empty()) continue;
    const Matrix<T> grad = ColumnsOf(graph, node, partial_grads, {0, batch_size});
    pool.ForParts(batch_size, [&](Range samples, int) {
      ProjectBackward<T>(node.projections, params, grad.Rows(samples),
                         PooledOf(node, projected->pooled_grads.data(), batch_size).Rows(samples));
    });
    ProjectWeightGradients<T>(node.projections, PooledOf(node, projected->pooled.data(), batch_size), grad, pool,
                              weight_grads);
    for (const Projection& projection : node.projections) {
      const int64_t size = projection.inputs * projection.outputs;
      if (!AllFinite<T>({weight_grads, 1, size, size}))
        throw StatusError(NumericError("the gradient of first-layer weights of '{}' is not finite", node.name));
      weight_grads += size;
    }
  }
}

template <class T>
bool Net<T>::has_projections() const {
  return impl_->graph.pooled_columns > 0;
}

template <class T>
std::vector<OwnedWeights> Net<T>::owned_weights() const {
  std::vector<OwnedWeights> all;
  for (const int index : impl_->graph.sparse_nodes) {
    const Node<T>& node = impl_->graph.nodes[static_cast<size_t>(index)];
    for (const Projection& projection : node.projections) {
      const auto& fields = node.op->fields();
      const int64_t size = projection.inputs * projection.outputs / static_cast<int64_t>(fields.size());
      int64_t begin = projection.weight;
      for (const int field : fields) {
        all.push_back({field, {begin, begin + size}, projection.read_elsewhere});
        begin += size;
      }
    }
  }
  return all;
}

template <class T>
FormCosts Net<T>::form_costs() const {
  const Graph<T>& graph = impl_->graph;
  FormCosts costs{.form = graph.form,
                  .sum_columns = graph.sum_columns,
                  .max_columns = graph.max_columns,
                  .notes = graph.form_notes};
  for (const OwnedWeights& weights : owned_weights()) {
    costs.owned_weights += weights.params.size();
    if (weights.read_elsewhere) costs.owned_weights_read_elsewhere += weights.params.size();
  }
  return costs;
}

template <class T>
void Net<T>::PartialGradients(ThreadPool& pool, Workspace* ws, PartialColumns<T> out) const {
  pool.ForParts(ws->batch_size, [&](Range samples, int) {
    for (const int index : impl_->graph.sparse_nodes) {
      const Node<T>& node = impl_->graph.nodes[static_cast<size_t>(index)];
      CopyMatrix<T>(ws->PartialGrad(node.sparse).Rows(samples), ColumnsOf(impl_->graph, node, out, samples));
    }
  });
}

template class Net<float>;
template class Net<double>;

}  // namespace sluice::nn
