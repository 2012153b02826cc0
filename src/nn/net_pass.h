#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <functional>
#include <string>
#include <type_traits>
#include <vector>

#include "base/check.h"
#include "nn/matrix_ops.h"
#include "nn/net_fixed.h"
#include "nn/net_impl.h"
#include "nn/net_kernels.h"

namespace sluice::nn {

// One batch's way through the net. Lives on the stack of TrainStep or Predict.
template <class T>
struct Pass {
  const Graph<T>& graph;
  const data::Batch& batch;
  const std::vector<RowsView<T>>& rows;
  const T* params;
  ThreadPool& pool;
  typename Net<T>::Workspace& ws;
  double grad_scale = 0;
  const StepParts<T>* parts = nullptr;
  std::atomic<bool> gradients_finite{true};

  bool training() const { return ws.step.training; }
  std::string StepName() const { return training() ? fmt::format("step {}", ws.step.step) : std::string("prediction"); }

  // body(piece, thread) for every piece; which thread takes which is fixed unless the mode makes it irrelevant.
  template <class Body>
  void ForPieces(const Body& body) {
    const auto on_thread = [&](int thread) {
      if (ws.deterministic()) {
        for (int piece = thread; piece < ws.num_pieces(); piece += pool.num_threads()) body(piece, thread);
      } else {
        for (int p = ws.first_piece[static_cast<size_t>(thread)]; p < ws.first_piece[static_cast<size_t>(thread) + 1];
             ++p)
          body(p, thread);
      }
    };
    pool.Run(std::ref(on_thread));
  }

  // Copies of weights that blocks asked for, the batch's numeric features in T, and gradients set to zero.
  void PrepareShared() {
    const auto on_thread = [&](int thread) {
      const int threads = pool.num_threads();
      for (size_t i = static_cast<size_t>(thread); i < graph.prepare_tasks.size(); i += static_cast<size_t>(threads)) {
        const Node<T>& node = graph.nodes[static_cast<size_t>(graph.prepare_tasks[i].first)];
        node.block->Prepare(graph.prepare_tasks[i].second, params, training(), ws.shared.data() + node.shared_begin);
      }
      if constexpr (!std::is_same_v<T, float>) {
        const Range part = PartRange(static_cast<int64_t>(batch.dense.size()), thread, threads);
        for (int64_t i = part.begin; i < part.end; ++i)
          ws.dense.data()[i] = static_cast<T>(batch.dense[static_cast<size_t>(i)]);
      }
    };
    if (!graph.prepare_tasks.empty() || !std::is_same_v<T, float>) pool.Run(std::ref(on_thread));
  }

  template <class Transform>  // a member of EdgeTransform
  void TransformEdge(const Node<T>& node, Transform transform, Matrix<T> matrix, Range samples) {
    if (parts == nullptr || parts->edges.empty()) [[likely]]
      return;
    for (const EdgeTransform<T>& edge : parts->edges)
      if (edge.edge == node.name && edge.*transform) (edge.*transform)(matrix, samples);
  }

  void Forward(int slot_index, size_t begin, size_t end) {
    auto& slot = ws.slots[static_cast<size_t>(slot_index)];
    for (size_t n = begin; n < end; ++n) {
      const Node<T>& node = graph.nodes[n];
      if (node.op) {
        const auto s = static_cast<size_t>(node.sparse);
        const Range samples = slot.ios[n].samples;
        if (parts != nullptr && parts->has_partials) {
          CopyMatrix(ColumnsOf<const T>(graph, node, parts->partials, samples), slot.partials[s]);
        } else if (ws.deterministic()) {
          DeterministicPartial(node, &slot);
        } else {
          SLUICE_CHECK(node.projections.empty(), "partials of {} come from their owners", node.name);
          node.op->Partial(batch, rows[static_cast<size_t>(node.table)], samples, slot.partials[s]);
        }
        if (!node.op->FinishIsIdentity())
          node.op->Finish(samples, slot.partials[s], slot.edges[static_cast<size_t>(node.output)]);
      } else {
        slot.ios[n].params = params;
        node.block->Forward(slot.ios[n]);
      }
      TransformEdge(node, &EdgeTransform<T>::forward, slot.edges[static_cast<size_t>(node.output)],
                    slot.ios[n].samples);
    }
  }

  void DeterministicPartial(const Node<T>& node, typename Net<T>::Workspace::Slot* slot) {
    const Range samples = slot->ios[static_cast<size_t>(&node - graph.nodes.data())].samples;
    try {
      PartialByFixedPoint(graph, node, batch, rows[static_cast<size_t>(node.table)], samples, &slot->fixed_partial,
                          slot->partials[static_cast<size_t>(node.sparse)]);
    } catch (const StatusError& error) {
      throw StatusError(NumericError("{}: {}", StepName(), error.status().message()));
    }
  }

  // Logits of a piece from its output edges.
  void Logits(int slot_index, Range samples) {
    auto& slot = ws.slots[static_cast<size_t>(slot_index)];
    const int64_t labels = graph.num_labels;
    T* logits = ws.logits.data() + samples.begin * labels;
    const T* bias = graph.output_bias >= 0 ? params + graph.output_bias : nullptr;
    for (int64_t i = 0; i < samples.size(); ++i) {
      for (int64_t l = 0; l < labels; ++l) {
        T sum = bias != nullptr ? bias[l] : T(0);
        for (const int edge : graph.outputs) sum += slot.edges[static_cast<size_t>(edge)].row(i)[l];
        logits[i * labels + l] = sum;
      }
    }
  }

  // Loss of a piece, its gradient into the outputs' edges, and the output bias's gradient.
  void Loss(int slot_index, int piece, int thread) {
    auto& slot = ws.slots[static_cast<size_t>(slot_index)];
    const Range samples = ws.pieces[static_cast<size_t>(piece)];
    const int64_t labels = graph.num_labels;
    const int64_t at = samples.begin * labels;
    T* gradient = ws.logit_grads.data() + at;
    ws.losses[static_cast<size_t>(piece)] = LossAndGradient<T>(
        graph.spec.loss, samples.size(), labels, ws.logits.data() + at, batch.labels.data() + at,
        batch.sample_weights.empty() ? nullptr : batch.sample_weights.data() + samples.begin, grad_scale, gradient);
    for (const int edge : graph.outputs) {
      if (graph.edges[static_cast<size_t>(edge)].grad_is_logit_grad()) continue;
      const Matrix<T> to = slot.edge_grads[static_cast<size_t>(edge)];
      if (to.empty()) continue;
      for (int64_t i = 0; i < samples.size(); ++i)
        for (int64_t l = 0; l < labels; ++l) to.row(i)[l] = gradient[i * labels + l];
    }
    if (graph.output_bias < 0) return;
    T* bias_grad = ws.grads(piece, thread) + graph.output_bias;
    for (int64_t i = 0; i < samples.size(); ++i)
      for (int64_t l = 0; l < labels; ++l) bias_grad[l] += gradient[i * labels + l];
    AddedGradients(graph.nodes.size(), piece, thread);
  }

  bool ReportsGradients() const {
    return parts != nullptr && parts->gradients_final && !ws.deterministic() && ws.num_pieces() > 0;
  }

  // After a piece's gradients of the parameters `of` (a node; the number of nodes: the output bias). The last thread to
  // come with its last piece sums those of all threads.
  void AddedGradients(size_t of, int piece, int thread) {
    if (!ReportsGradients() || piece + 1 != ws.first_piece[static_cast<size_t>(thread) + 1]) return;
    const int64_t size = graph.params.trained.size();
    const Range bias{graph.output_bias, size};
    const std::span<const Range> finished =
        of < graph.nodes.size() ? std::span<const Range>(graph.nodes[of].params) : std::span<const Range>(&bias, 1);
    if (finished.empty() || ws.gradients_pending[of].fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    T* all = ws.grads(0, 0);
    for (const Range& part : finished) {
      T* first = all + part.begin;
      if (!SLUICE_DISPATCH(SumParts<T>)(first, size, ws.num_grads(), first, part.size()))
        gradients_finite.store(false, std::memory_order_relaxed);
      parts->gradients_final({all, static_cast<size_t>(size)}, part);
    }
  }

  // Nodes [begin, end) from the last to the first.
  void Backward(int slot_index, int piece, int thread, size_t begin, size_t end) {
    auto& slot = ws.slots[static_cast<size_t>(slot_index)];
    for (size_t n = end; n-- > begin;) {
      const Node<T>& node = graph.nodes[n];
      const auto output = static_cast<size_t>(node.output);
      if (!graph.edges[output].needs_grad) continue;
      TransformEdge(node, &EdgeTransform<T>::backward, slot.edge_grads[output], slot.ios[n].samples);
      if (node.op) {
        const auto s = static_cast<size_t>(node.sparse);
        if (!node.op->FinishIsIdentity())
          node.op->FinishBackward(slot.ios[n].samples, slot.partials[s], slot.edge_grads[output],
                                  slot.partial_grads[s]);
      } else {
        slot.ios[n].param_grads = ws.grads(piece, thread);
        node.block->Backward(slot.ios[n]);
        AddedGradients(n, piece, thread);
      }
    }
  }

  // Throws where the outcome of a piece is not finite, naming the first block whose output is not.
  void CheckPiece(int slot_index, int piece) {
    const Range samples = ws.pieces[static_cast<size_t>(piece)];
    const Matrix<const T> logits{ws.logits.data() + samples.begin * graph.num_labels, samples.size(), graph.num_labels,
                                 graph.num_labels};
    const bool finite = training() ? std::isfinite(ws.losses[static_cast<size_t>(piece)].loss) : AllFinite(logits);
    if (finite) return;
    const auto& slot = ws.slots[static_cast<size_t>(slot_index)];
    for (size_t n = 0; n < graph.nodes.size(); ++n) {
      const Node<T>& node = graph.nodes[n];
      if (AllFinite<T>(slot.edges[static_cast<size_t>(node.output)])) continue;
      throw StatusError(NumericError("{}: block '{}' ({}) gives a value that is not finite{}", StepName(), node.name,
                                     node.type, Culprit(node, slot, samples)));
    }
    throw StatusError(
        NumericError("{}: the {} is not finite; check labels and sample weights, of samples {} to {} of the "
                     "batch",
                     StepName(), training() ? "loss" : "logit", samples.begin, samples.end));
  }

  // What stands before a block that gave a bad value: a table row with field and key, a numeric feature, or a
  // parameter.
  std::string Culprit(const Node<T>& node, const typename Net<T>::Workspace::Slot& slot, Range samples) {
    if (node.op) {
      if (parts != nullptr) return {};
      const RowsView<T>& view = rows[static_cast<size_t>(node.table)];
      for (const int f : node.op->fields()) {
        const data::FieldColumn& column = batch.fields[static_cast<size_t>(f)];
        for (int64_t i = column.begin(samples.begin); i < column.end(samples.end - 1); ++i) {
          const Matrix<const T> row{view.rows + view.index[static_cast<size_t>(f)][i] * view.dim, 1, view.dim,
                                    view.dim};
          if (!AllFinite(row))
            return fmt::format("; field '{}', key {:#018x} of table '{}'", graph.field_names[static_cast<size_t>(f)],
                               column.keys[static_cast<size_t>(i)], node.op->table());
        }
      }
      return {};
    }
    for (const int edge : node.inputs)
      if (edge == 0 && !AllFinite<T>(slot.edges[0])) return "; the numeric features are not finite";
    for (const ParamInfo& param : graph.params.trained.params())
      if (param.name.rfind(node.name + "/", 0) == 0 &&
          !AllFinite<T>({params + param.offset, 1, param.size, param.size}))
        return fmt::format("; its parameter '{}' is not finite", param.name);
    return "; it overflows";
  }

  bool DenseIsFinite() const {
    return std::all_of(batch.dense.begin(), batch.dense.end(), [](float x) { return std::isfinite(x); });
  }

  // The sums of all pieces, in piece order, and of all ranks, into `totals`.
  void CombineSums(const Node<T>& node, std::vector<double>* totals) {
    if (ws.deterministic()) return CombineChunkSums(node, totals);
    for (int64_t s = node.sums_begin; s < node.sums_begin + node.block->num_batch_sums(); ++s) {
      double sum = 0;
      for (int piece = 0; piece < ws.num_pieces(); ++piece)
        sum += ws.sums[static_cast<size_t>(piece * graph.num_sums + s)];
      (*totals)[static_cast<size_t>(s)] = sum;
    }
    if (parts != nullptr && parts->reduce_sums)
      parts->reduce_sums({totals->data() + node.sums_begin, static_cast<size_t>(node.block->num_batch_sums())});
  }
  // The same in the order of logical chunks, on every rank: ranks add zeros to each other's chunks.
  void CombineChunkSums(const Node<T>& node, std::vector<double>* totals) {
    const int64_t num_sums = node.block->num_batch_sums();
    std::vector<double>& chunk_sums = ws.chunk_sums;
    chunk_sums.assign(static_cast<size_t>(kNumChunks * num_sums), 0.0);
    for (int piece = 0; piece < ws.num_pieces(); ++piece)
      std::copy_n(ws.sums.data() + piece * graph.num_sums + node.sums_begin, num_sums,
                  chunk_sums.data() + ws.chunk_of_piece[static_cast<size_t>(piece)] * num_sums);
    if (parts != nullptr && parts->reduce_sums) parts->reduce_sums(chunk_sums);
    for (int64_t s = 0; s < num_sums; ++s) {
      double sum = 0;
      for (int64_t chunk = 0; chunk < kNumChunks; ++chunk) sum += chunk_sums[static_cast<size_t>(chunk * num_sums + s)];
      (*totals)[static_cast<size_t>(node.sums_begin + s)] = sum;
    }
  }
  double* PieceSums(const Node<T>& node, int piece) {
    double* sums = ws.sums.data() + piece * graph.num_sums + node.sums_begin;
    std::fill(sums, sums + node.block->num_batch_sums(), 0.0);
    return sums;
  }

  void ZeroGradients(int piece, int thread) {
    T* grads = ws.grads(piece, thread);
    std::fill(grads, grads + graph.params.trained.size(), T(0));
  }

  void Train(T* buffers) {
    PrepareShared();
    if (!ws.deterministic()) {
      // A thread without pieces takes part in the sum of gradients all the same.
      const auto on_thread = [&](int thread) { ZeroGradients(0, thread); };
      pool.Run(std::ref(on_thread));
    } else if (ws.num_pieces() == 0) {
      ZeroGradients(0, 0);  // gradients are a piece's there, and one set stands for none
    }
    if (ReportsGradients()) {
      int working = 0;
      for (int t = 0; t < pool.num_threads(); ++t)
        working += ws.first_piece[static_cast<size_t>(t)] < ws.first_piece[static_cast<size_t>(t) + 1];
      for (auto& pending : ws.gradients_pending) pending.store(working, std::memory_order_relaxed);
    }
    const size_t num_nodes = graph.nodes.size();
    const size_t num_sums = graph.sum_nodes.size();
    // Forward segment k ends before the k-th block with batch sums, whose sums it takes; the last goes on into
    // backward.
    for (size_t k = 0; k <= num_sums; ++k) {
      const size_t begin = k == 0 ? 0 : static_cast<size_t>(graph.sum_nodes[k - 1]);
      const bool last = k == num_sums;
      const size_t end = last ? num_nodes : static_cast<size_t>(graph.sum_nodes[k]);
      ForPieces([&](int piece, int thread) {
        const int slot = ws.SlotOf(piece, thread);
        if (k == 0) {
          ws.Bind(slot, piece, batch);
          BindBuffers(slot, buffers);
          if (ws.deterministic()) ZeroGradients(piece, thread);
        }
        Forward(slot, begin, end);
        if (!last) {
          const Node<T>& node = graph.nodes[end];
          node.block->ForwardSums(ws.slots[static_cast<size_t>(slot)].ios[end], PieceSums(node, piece));
          return;
        }
        Logits(slot, ws.pieces[static_cast<size_t>(piece)]);
        Loss(slot, piece, thread);
        CheckPiece(slot, piece);
        BackwardSegment(num_sums, slot, piece, thread);
      });
      if (!last) CombineSums(graph.nodes[end], &ws.forward_totals);
    }
    for (size_t k = num_sums; k-- > 0;) {
      CombineSums(graph.nodes[static_cast<size_t>(graph.sum_nodes[k])], &ws.backward_totals);
      ForPieces([&](int piece, int thread) { BackwardSegment(k, ws.SlotOf(piece, thread), piece, thread); });
    }
    SumGradients();
    for (const int index : graph.sum_nodes) {
      const Node<T>& node = graph.nodes[static_cast<size_t>(index)];
      node.block->UpdateBuffers(ws.forward_totals.data() + node.sums_begin,
                                parts != nullptr ? ws.step.batch_size : ws.batch_size, buffers);
    }
    ws.loss = {};
    for (int piece = 0; piece < ws.num_pieces(); ++piece) {
      ws.loss.loss += ws.losses[static_cast<size_t>(piece)].loss;
      ws.loss.weight += ws.losses[static_cast<size_t>(piece)].weight;
    }
  }

  // Backward of segment k: nodes between the k-th block with batch sums, whose sums it ends with, and the next one.
  void BackwardSegment(size_t k, int slot, int piece, int thread) {
    const size_t num_sums = graph.sum_nodes.size();
    const size_t begin = k == 0 ? 0 : static_cast<size_t>(graph.sum_nodes[k - 1]) + 1;
    const size_t end = k == num_sums ? graph.nodes.size() : static_cast<size_t>(graph.sum_nodes[k]) + 1;
    Backward(slot, piece, thread, begin, end);
    if (k == 0) return;
    const Node<T>& node = graph.nodes[begin - 1];
    if (graph.edges[static_cast<size_t>(node.output)].needs_grad)
      node.block->BackwardSums(ws.slots[static_cast<size_t>(slot)].ios[begin - 1], PieceSums(node, piece));
  }

  void BindBuffers(int slot, const T* buffers) {
    for (BlockIo<T>& io : ws.slots[static_cast<size_t>(slot)].ios) io.buffers = buffers;
  }

  // The sum of all gradient buffers in order, into the first, unless that was done part by part.
  void SumGradients() {
    if (ws.deterministic())
      return SumGradientsByFixedPoint<T>(graph, ws.step.step, ws.grads(0, 0), ws.num_grads(), pool,
                                         parts != nullptr ? parts->reduce_dense_gradient : nullptr, &ws.fixed_gradient);
    const int64_t size = graph.params.trained.size();
    const auto on_thread = [&](int thread) {
      const Range part = PartRange(size, thread, pool.num_threads());
      T* first = ws.grads(0, 0) + part.begin;
      if (!SLUICE_DISPATCH(SumParts<T>)(first, size, ws.num_grads(), first, part.size())) gradients_finite = false;
    };
    if (!ReportsGradients()) pool.Run(std::ref(on_thread));
    if (gradients_finite) return;
    for (const ParamInfo& param : graph.params.trained.params())
      if (!AllFinite<T>({ws.grads(0, 0) + param.offset, 1, param.size, param.size}))
        throw StatusError(NumericError("{}: the gradient of parameter '{}' is not finite{}", StepName(), param.name,
                                       DenseIsFinite() ? "" : "; the numeric features are not finite"));
  }

  void Predict(const T* buffers) {
    PrepareShared();
    ForPieces([&](int piece, int thread) {
      const int slot = ws.SlotOf(piece, thread);
      ws.Bind(slot, piece, batch);
      BindBuffers(slot, buffers);
      Forward(slot, 0, graph.nodes.size());
      Logits(slot, ws.pieces[static_cast<size_t>(piece)]);
      CheckPiece(slot, piece);
    });
    ws.loss = {};
  }
};

}  // namespace sluice::nn
