#include "nn/net.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "nn/net_fixed.h"
#include "nn/net_impl.h"
#include "nn/net_kernels.h"
#include "nn/net_pass.h"
#include "nn/split_graph.h"

namespace sluice::nn {

template <class T>
Net<T>::Net() : impl_(std::make_unique<Impl>()) {}
template <class T>
Net<T>::~Net() = default;

template <class T>
Result<std::unique_ptr<Net<T>>> Net<T>::Build(const NetSpec& spec, const data::Schema& schema, PartialForm form) {
  SLUICE_ASSIGN_OR_RETURN(Graph<T> graph, BuildGraph<T>(spec, schema));
  if (form != PartialForm::kWhole && spec.deterministic)
    return InvalidArgument(
        "deterministic: partials in the form `{}` are products over the rows that a rank owns, whose sums "
        "depend on how they are divided; it takes the form `{}`",
        PartialFormName(form), PartialFormName(PartialForm::kWhole));
  SLUICE_RETURN_IF_ERROR(CheckDeterministic(graph));
  SplitGraph(form, &graph);
  std::unique_ptr<Net<T>> net(new Net<T>());
  net->impl_->graph = std::move(graph);
  return net;
}

template <class T>
const ParamLayout& Net<T>::params() const {
  return impl_->graph.params.trained;
}
template <class T>
const ParamLayout& Net<T>::buffers() const {
  return impl_->graph.params.buffers;
}
template <class T>
const std::vector<TableNeed>& Net<T>::tables() const {
  return impl_->graph.tables;
}

template <class T>
double Net<T>::flops_per_sample() const {
  double flops = 0;
  for (const Node<T>& node : impl_->graph.nodes) {
    if (!node.block) continue;
    const auto block = node.block->flops();
    bool input_grad = false;
    for (const int edge : node.inputs) input_grad |= impl_->graph.edges[static_cast<size_t>(edge)].needs_grad;
    flops += block.forward + block.backward + (input_grad ? block.input_backward : 0);
  }
  return flops;
}

template <class T>
std::string Net<T>::Describe() const {
  std::string text;
  for (const Node<T>& node : impl_->graph.nodes) {
    std::string inputs;
    for (const int edge : node.inputs)
      inputs += (inputs.empty() ? "" : ", ") + impl_->graph.edges[static_cast<size_t>(edge)].name;
    if (node.op) inputs = "table " + node.op->table();
    text += fmt::format("{} = {}({}) [{}]\n", node.name, node.type, inputs,
                        impl_->graph.edges[static_cast<size_t>(node.output)].width);
  }
  return text;
}

template <class T>
void Net<T>::DeleteWorkspace::operator()(Workspace* ws) const {
  delete ws;
}

template <class T>
typename Net<T>::WorkspacePtr Net<T>::MakeWorkspace() const {
  return WorkspacePtr(new Workspace(impl_->graph, impl_->graph.spec.deterministic));
}

template <class T>
void Net<T>::TrainStep(const data::Batch& batch, const std::vector<RowsView<T>>& rows, const T* params, T* buffers,
                       const StepInfo& step, ThreadPool& pool, Workspace* ws, const StepParts<T>* parts) const {
  impl_->CheckBatch(batch, rows, true, parts);
  ws->step = step;
  ws->step.training = true;
  ws->Prepare(batch.size, pool.num_threads(), parts != nullptr ? parts->batch_begin : 0,
              parts != nullptr ? parts->batch_size : batch.size);
  double weight = parts != nullptr ? parts->weight : static_cast<double>(batch.size);
  if (parts == nullptr && !batch.sample_weights.empty()) {
    weight = 0;
    for (const float w : batch.sample_weights) weight += static_cast<double>(w);
  }
  ws->row_gradient_fixed = RowGradientFixed(weight);
  Pass<T> pass{impl_->graph, batch, rows, params, pool, *ws, weight > 0 ? 1 / weight : 0.0, parts};
  pass.Train(buffers);
}

template <class T>
void Net<T>::Predict(const data::Batch& batch, const std::vector<RowsView<T>>& rows, const T* params, const T* buffers,
                     ThreadPool& pool, Workspace* ws, const StepParts<T>* parts) const {
  impl_->CheckBatch(batch, rows, false, parts);
  ws->step = {};
  ws->step.batch_size = batch.size;
  ws->Prepare(batch.size, pool.num_threads(), parts != nullptr ? parts->batch_begin : 0,
              parts != nullptr ? parts->batch_size : batch.size);
  Pass<T> pass{impl_->graph, batch, rows, params, pool, *ws, 0, parts};
  pass.Predict(buffers);
}

template <class T>
template <class MatricesOf>
void Net<T>::AddRowGradients(const data::Batch& batch, const RowsView<T>& view, int table, Range range,
                             FixedPoint fixed, const MatricesOf& matrices_of, T* row_grads) const {
  if (deterministic()) {
    thread_local AlignedBuffer<int64_t> sums;
    sums.Resize(range.size() * view.dim);
    nn::FixedRowGradients<T>(impl_->graph, batch, view, table, range, fixed, matrices_of, sums.data());
    if (!SLUICE_DISPATCH(FromFixed<T>)(sums.data(), fixed.unit(), row_grads + range.begin * view.dim, sums.size()))
      throw StatusError(NumericError("table {}: the gradient of a row is beyond what deterministic: true can add up",
                                     tables()[static_cast<size_t>(table)].name));
    return;
  }
  std::fill(row_grads + range.begin * view.dim, row_grads + range.end * view.dim, T(0));
  for (const int index : impl_->graph.sparse_nodes) {
    const Node<T>& node = impl_->graph.nodes[static_cast<size_t>(index)];
    if (node.table != table) continue;
    const auto [partial, partial_grad] = matrices_of(node);
    SLUICE_CHECK(!partial_grad.empty() || batch.size == 0, "no gradient of the partials of {}", node.name);
    for (const int field : node.op->fields()) {
      if (!view.row_range.empty()) {
        const Range& has = view.row_range[static_cast<size_t>(field)];
        if (has.end <= range.begin || range.end <= has.begin) continue;
      }
      node.op->AddRowGradients(batch, view, field, range, partial, partial_grad, row_grads);
    }
  }
}

template <class T>
void Net<T>::RowGradients(const data::Batch& batch, const std::vector<RowsView<T>>& rows, int table, Range range,
                          Workspace* ws, T* row_grads) const {
  const auto matrices_of = [&](const Node<T>& node) {
    if (!node.projections.empty()) return std::pair(Matrix<T>{}, Matrix<T>{});
    return std::pair(ws->Partial(node.sparse), ws->PartialGrad(node.sparse));
  };
  AddRowGradients(batch, rows[static_cast<size_t>(table)], table, range, ws->row_gradient_fixed, matrices_of,
                  row_grads);
}

template <class T>
void Net<T>::RowGradients(const data::Batch& batch, const std::vector<RowsView<T>>& rows, int table, Range range,
                          PartialColumns<T> partials, PartialColumns<T> partial_grads, T* row_grads, FixedPoint fixed,
                          const ProjectionBuffers<T>* projected) const {
  const Range all{0, batch.size};
  const auto matrices_of = [&](const Node<T>& node) {
    if (!node.projections.empty())
      return std::pair(Matrix<T>{}, PooledOf(node, const_cast<T*>(projected->pooled_grads.data()), batch.size));
    // What is summed has no use for its partial in the gradient.
    const bool max = node.op->reduction() == Reduction::kMax;
    return std::pair(max ? ColumnsOf(impl_->graph, node, partials, all) : Matrix<T>{},
                     ColumnsOf(impl_->graph, node, partial_grads, all));
  };
  AddRowGradients(batch, rows[static_cast<size_t>(table)], table, range, fixed, matrices_of, row_grads);
}

template <class T>
bool Net<T>::deterministic() const {
  return impl_->graph.spec.deterministic;
}

template <class T>
const T* Net<T>::logits(const Workspace& ws) {
  return ws.logits.data();
}
template <class T>
LossSums Net<T>::loss(const Workspace& ws) {
  return ws.loss;
}
template <class T>
const T* Net<T>::dense_grad(const Workspace& ws) {
  return ws.dense_grad();
}
template <class T>
T* Net<T>::mutable_dense_grad(Workspace* ws) {
  return ws->dense_grad();
}

template class Net<float>;
template class Net<double>;

}  // namespace sluice::nn
