#include "nn/net_fixed.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include <fmt/format.h>

namespace sluice::nn {
namespace {

// Samples whose fixed-point partials stay in a core's cache until they are converted.
constexpr int64_t kTileRows = 64;

// Throws for a sum of `node` over `samples` that failed, naming the first row to blame.
template <class T>
[[noreturn]] void ThrowPartial(const Graph<T>& graph, const Node<T>& node, const data::Batch& batch,
                               const RowsView<T>& rows, Range samples) {
  const double limit = kPartialFixed.addend_limit();
  std::string culprit;
  for (const int f : node.op->fields()) {
    const data::FieldColumn& column = batch.fields[static_cast<size_t>(f)];
    if (!culprit.empty()) break;
    for (int64_t j = column.begin(samples.begin); j < column.end(samples.end - 1) && culprit.empty(); ++j) {
      const int64_t r = rows.index[static_cast<size_t>(f)][j];
      if (r < 0) continue;
      const T* row = rows.rows + r * rows.dim;
      if (std::all_of(row, row + rows.dim, [&](T w) { return std::fabs(static_cast<double>(w)) < limit; })) continue;
      culprit = fmt::format("; field '{}', key {:#018x} of table '{}'", graph.field_names[static_cast<size_t>(f)],
                            column.keys.empty() ? 0 : column.keys[static_cast<size_t>(j)], node.op->table());
    }
  }
  throw StatusError(
      NumericError("block '{}' ({}) gives a value that is not finite, or beyond {} in magnitude, which "
                   "deterministic: true cannot add up{}",
                   node.name, node.type, limit, culprit));
}

}  // namespace

template <class T>
Status CheckDeterministic(const Graph<T>& graph) {
  if (!graph.spec.deterministic) return Status::Ok();
  for (const int index : graph.sparse_nodes) {
    const Node<T>& node = graph.nodes[static_cast<size_t>(index)];
    if (!node.op->has_fixed_form())
      return InvalidArgument(
          "model block `{}` ({}) has sums that depend on which rank owns which rows, so deterministic: "
          "true does not offer it; choose another form of it, or leave deterministic out",
          node.name, node.type);
  }
  return Status::Ok();
}

template <class T>
void PartialByFixedPoint(const Graph<T>& graph, const Node<T>& node, const data::Batch& batch, const RowsView<T>& rows,
                         Range samples, AlignedBuffer<int64_t>* scratch, Matrix<T> partial) {
  if (node.op->reduction() == Reduction::kMax) return node.op->Partial(batch, rows, samples, partial);
  const int64_t width = node.op->partial_width();
  scratch->Resize(kTileRows * width);
  for (int64_t begin = samples.begin; begin < samples.end; begin += kTileRows) {
    const Range tile{begin, std::min(begin + kTileRows, samples.end)};
    bool good = node.op->FixedPartial(batch, rows, tile, {scratch->data(), tile.size(), width, width});
    for (int64_t i = 0; i < tile.size(); ++i)
      good &= SLUICE_DISPATCH(FromFixed<T>)(scratch->data() + i * width, kPartialFixed.unit(),
                                            partial.row(begin - samples.begin + i), width);
    if (!good) ThrowPartial(graph, node, batch, rows, tile);
  }
}

template <class T>
void FixedPartials(const Graph<T>& graph, const data::Batch& batch, const std::vector<RowsView<T>>& rows,
                   ThreadPool& pool, int64_t* out) {
  pool.ForParts(batch.size, [&](Range samples, int) {
    if (samples.empty()) return;
    for (const int index : graph.sparse_nodes) {
      const Node<T>& node = graph.nodes[static_cast<size_t>(index)];
      if (node.op->reduction() == Reduction::kMax) continue;
      const RowsView<T>& view = rows[static_cast<size_t>(node.table)];
      const Matrix<int64_t> columns{out + samples.begin * graph.sum_columns + node.partial_begin, samples.size(),
                                    node.op->partial_width(), graph.sum_columns};
      if (!node.op->FixedPartial(batch, view, samples, columns)) ThrowPartial(graph, node, batch, view, samples);
    }
  });
}

template <class T>
void FixedRowGradients(const Graph<T>& graph, const data::Batch& batch, const RowsView<T>& view, int table, Range range,
                       FixedPoint fixed, const MatricesOf<T>& matrices_of, int64_t* row_grads) {
  std::fill(row_grads, row_grads + range.size() * view.dim, 0);
  for (const int index : graph.sparse_nodes) {
    const Node<T>& node = graph.nodes[static_cast<size_t>(index)];
    if (node.table != table) continue;
    const auto [partial, partial_grad] = matrices_of(node);
    for (const int field : node.op->fields()) {
      if (!view.row_range.empty()) {
        const Range& has = view.row_range[static_cast<size_t>(field)];
        if (has.end <= range.begin || range.end <= has.begin) continue;
      }
      if (node.op->AddFixedRowGradients(batch, view, field, range, partial, partial_grad, fixed, row_grads)) continue;
      throw StatusError(
          NumericError("table {}: a gradient that block '{}' ({}) gives a row of field '{}' is not finite, "
                       "or beyond {:.3g} in magnitude, which deterministic: true cannot add up; lower the "
                       "learning rate, or set train.clip_norm",
                       graph.tables[static_cast<size_t>(table)].name, node.name, node.type,
                       graph.field_names[static_cast<size_t>(field)], fixed.addend_limit()));
    }
  }
}

template <class T>
void SumGradientsByFixedPoint(const Graph<T>& graph, int64_t step, T* grads, int num_grads, ThreadPool& pool,
                              const std::function<void(std::span<int64_t>)>& reduce, AlignedBuffer<int64_t>* fixed) {
  const int64_t size = graph.params.trained.size();
  fixed->Resize(size);
  std::atomic<bool> good{true};
  const auto sum = [&](int thread) {
    const Range part = PartRange(size, thread, pool.num_threads());
    if (!SLUICE_DISPATCH(SumPartsFixed<T>)(grads + part.begin, size, num_grads, kDenseGradientFixed.scale(),
                                           fixed->data() + part.begin, part.size()))
      good = false;
  };
  pool.Run(std::ref(sum));
  if (good && reduce) reduce({fixed->data(), static_cast<size_t>(size)});
  const auto convert = [&](int thread) {
    const Range part = PartRange(size, thread, pool.num_threads());
    if (!SLUICE_DISPATCH(FromFixed<T>)(fixed->data() + part.begin, kDenseGradientFixed.unit(), grads + part.begin,
                                       part.size()))
      good = false;
  };
  if (good) pool.Run(std::ref(convert));
  if (good) return;
  const double limit = kDenseGradientFixed.addend_limit();
  for (const ParamInfo& param : graph.params.trained.params())
    for (int b = 0; b < num_grads; ++b)
      for (int64_t i = 0; i < param.size; ++i)
        if (!(std::fabs(static_cast<double>(grads[b * size + param.offset + i])) < limit))
          throw StatusError(
              NumericError("step {}: the gradient of parameter '{}' is not finite, or beyond {} in magnitude, "
                           "which deterministic: true cannot add up",
                           step, param.name, limit));
  throw StatusError(
      NumericError("step {}: the sum of dense gradients is beyond what deterministic: true can add up", step));
}

#define SLUICE_INSTANTIATE(T)                                                                                          \
  template Status CheckDeterministic<T>(const Graph<T>&);                                                              \
  template void PartialByFixedPoint<T>(const Graph<T>&, const Node<T>&, const data::Batch&, const RowsView<T>&, Range, \
                                       AlignedBuffer<int64_t>*, Matrix<T>);                                            \
  template void FixedPartials<T>(const Graph<T>&, const data::Batch&, const std::vector<RowsView<T>>&, ThreadPool&,    \
                                 int64_t*);                                                                            \
  template void FixedRowGradients<T>(const Graph<T>&, const data::Batch&, const RowsView<T>&, int, Range, FixedPoint,  \
                                     const MatricesOf<T>&, int64_t*);                                                  \
  template void SumGradientsByFixedPoint<T>(const Graph<T>&, int64_t, T*, int, ThreadPool&,                            \
                                            const std::function<void(std::span<int64_t>)>&, AlignedBuffer<int64_t>*)
SLUICE_INSTANTIATE(float);
SLUICE_INSTANTIATE(double);
#undef SLUICE_INSTANTIATE

}  // namespace sluice::nn
