#include "nn/net_workspace.h"

#include <algorithm>

#include "nn/gemm.h"

namespace sluice::nn {

namespace {

// Rows that one pass through the net takes: large enough for the products' kernels, small enough that a piece's
// activations stay near the core that made them.
constexpr int64_t kPieceRows = 512;

}  // namespace

template <class T>
typename Net<T>::Workspace::Place Net<T>::Workspace::NewPlace(int64_t width, bool whole) {
  Place place{.width = width, .ld = RowStride<T>(width), .whole = whole};
  int64_t& row = whole ? whole_row_ : slot_row_;
  place.offset = row;
  row += place.ld;
  return place;
}

template <class T>
void Net<T>::Workspace::Plan() {
  edges_are_whole_ = !graph_.sum_nodes.empty();
  for (const Edge& edge : graph_.edges) {
    Place value, grad;
    const bool from_op = edge.producer >= 0 && graph_.nodes[static_cast<size_t>(edge.producer)].op != nullptr;
    const bool identity = from_op && graph_.nodes[static_cast<size_t>(edge.producer)].op->FinishIsIdentity();
    const bool whole = edges_are_whole_ || identity;
    if (edge.producer >= 0) value = NewPlace(edge.width, whole);
    if (edge.needs_grad && !edge.grad_is_logit_grad()) grad = NewPlace(edge.width, whole);
    edge_places_.push_back(value);
    edge_grad_places_.push_back(grad);
  }
  for (const int index : graph_.sparse_nodes) {
    const Node<T>& node = graph_.nodes[static_cast<size_t>(index)];
    Place partial, grad;
    if (!node.op->FinishIsIdentity()) {
      partial = NewPlace(node.partial_width, true);
      grad = NewPlace(node.partial_width, true);
    }
    partial_places_.push_back(partial);
    partial_grad_places_.push_back(grad);
  }
  forward_totals.resize(static_cast<size_t>(graph_.num_sums));
  backward_totals.resize(static_cast<size_t>(graph_.num_sums));
  shared.Resize(graph_.shared_size);
}

template <class T>
void Net<T>::Workspace::Prepare(int64_t size, int num_threads, int64_t global_begin, int64_t global_size) {
  batch_size = size;
  num_threads_ = num_threads;
  pieces.clear();
  first_piece.clear();
  if (deterministic_) {
    chunk_of_piece.clear();
    for (int chunk = 0; chunk < kNumChunks; ++chunk) {
      const Range range = ChunkRange(global_size, chunk);
      if (range.empty() || range.begin < global_begin || range.end > global_begin + size) continue;
      pieces.push_back({range.begin - global_begin, range.end - global_begin});
      chunk_of_piece.push_back(chunk);
    }
  } else {
    for (int t = 0; t < num_threads; ++t) {
      first_piece.push_back(num_pieces());
      const Range part = PartRange(size, t, num_threads);
      const int64_t parts = (part.size() + kPieceRows - 1) / kPieceRows;
      for (int64_t p = 0; p < parts; ++p) {
        const Range piece = PartRange(part.size(), static_cast<int>(p), static_cast<int>(parts));
        pieces.push_back({part.begin + piece.begin, part.begin + piece.end});
      }
    }
    first_piece.push_back(num_pieces());
  }
  int64_t rows = 0;
  for (const Range& piece : pieces) rows = std::max(rows, piece.size());
  const int num_slots = edges_are_whole_ ? num_pieces() : num_threads;
  if (size > capacity_) {
    capacity_ = size;
    whole_.Resize(capacity_ * whole_row_);
    logits.Resize(capacity_ * graph_.num_labels);
    logit_grads.Resize(capacity_ * graph_.num_labels);
    if constexpr (!std::is_same_v<T, float>) dense.Resize(capacity_ * graph_.num_dense);
  }
  if (rows > slot_capacity_ || num_slots > num_slots_) {
    slot_capacity_ = std::max(rows, slot_capacity_);
    num_slots_ = std::max(num_slots, num_slots_);
    if (!edges_are_whole_ || slot_row_ > 0) slot_memory_.Resize(num_slots_ * slot_capacity_ * slot_row_);
    state_begin_.clear();
    int64_t state_size = 0;
    for (const Node<T>& node : graph_.nodes) {
      state_begin_.push_back(state_size);
      if (node.block) state_size += (static_cast<int64_t>(node.block->state_size(slot_capacity_)) + 63) / 64 * 64;
    }
    states_.resize(static_cast<size_t>(num_slots_));
    for (auto& state : states_) state.Resize(state_size);
    slots.resize(static_cast<size_t>(num_slots_));
    for (Slot& slot : slots) {
      slot.edges.resize(graph_.edges.size());
      slot.edge_grads.resize(graph_.edges.size());
      slot.partials.resize(graph_.sparse_nodes.size());
      slot.partial_grads.resize(graph_.sparse_nodes.size());
      slot.ios.resize(graph_.nodes.size());
      for (size_t n = 0; n < graph_.nodes.size(); ++n) {
        slot.ios[n].in.resize(graph_.nodes[n].inputs.size());
        slot.ios[n].in_grad.resize(graph_.nodes[n].inputs.size());
        slot.ios[n].accumulate = graph_.nodes[n].accumulate;
      }
    }
  }
  grads_.Resize(num_grads() * graph_.params.trained.size());
  losses.resize(std::max(losses.size(), pieces.size()));
  sums.resize(std::max(sums.size(), pieces.size() * static_cast<size_t>(graph_.num_sums)));
}

template <class T>
Matrix<T> Net<T>::Workspace::View(const Place& place, int slot, Range samples) {
  if (place.whole)
    return {whole_.data() + place.offset * capacity_ + samples.begin * place.ld, samples.size(), place.width, place.ld};
  T* memory = slot_memory_.data() + static_cast<int64_t>(slot) * slot_capacity_ * slot_row_;
  return {memory + place.offset * slot_capacity_, samples.size(), place.width, place.ld};
}

template <class T>
void Net<T>::Workspace::Bind(int slot_index, int piece, const data::Batch& batch) {
  const Range samples = pieces[static_cast<size_t>(piece)];
  Slot& slot = slots[static_cast<size_t>(slot_index)];
  for (size_t e = 0; e < graph_.edges.size(); ++e) {
    const Edge& edge = graph_.edges[e];
    if (edge.producer >= 0) slot.edges[e] = View(edge_places_[e], slot_index, samples);
    if (edge.grad_is_logit_grad())
      slot.edge_grads[e] = {logit_grads.data() + samples.begin * graph_.num_labels, samples.size(), graph_.num_labels,
                            graph_.num_labels};
    else if (edge.needs_grad)
      slot.edge_grads[e] = View(edge_grad_places_[e], slot_index, samples);
  }
  if (graph_.num_dense > 0) {
    T* values;
    if constexpr (std::is_same_v<T, float>) {
      values = const_cast<float*>(batch.dense.data());
    } else {
      values = dense.data();
    }
    slot.edges[0] = {values + samples.begin * graph_.num_dense, samples.size(), graph_.num_dense, graph_.num_dense};
  }
  for (size_t s = 0; s < graph_.sparse_nodes.size(); ++s) {
    const Node<T>& node = graph_.nodes[static_cast<size_t>(graph_.sparse_nodes[s])];
    const bool identity = node.op->FinishIsIdentity();
    const auto output = static_cast<size_t>(node.output);
    slot.partials[s] = identity ? slot.edges[output] : View(partial_places_[s], slot_index, samples);
    slot.partial_grads[s] = identity ? slot.edge_grads[output] : View(partial_grad_places_[s], slot_index, samples);
  }
  BindIos(&slot, slot_index, samples);
}

template <class T>
void Net<T>::Workspace::BindIos(Slot* slot, int slot_index, Range samples) {
  for (size_t n = 0; n < graph_.nodes.size(); ++n) {
    const Node<T>& node = graph_.nodes[n];
    BlockIo<T>& io = slot->ios[n];
    io.samples = samples;
    if (!node.block) continue;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const auto edge = static_cast<size_t>(node.inputs[i]);
      const Range columns = node.input_columns[i];
      io.in[i] = slot->edges[edge].Columns(columns);
      io.in_grad[i] = graph_.edges[edge].needs_grad ? slot->edge_grads[edge].Columns(columns) : Matrix<T>{};
    }
    io.out = slot->edges[static_cast<size_t>(node.output)];
    io.out_grad = slot->edge_grads[static_cast<size_t>(node.output)];
    io.state = states_[static_cast<size_t>(slot_index)].data() + state_begin_[n];
    io.shared = shared.data() + node.shared_begin;
    const bool has_sums = step.training && node.block->num_batch_sums() > 0;
    io.forward_totals = has_sums ? forward_totals.data() + node.sums_begin : nullptr;
    io.backward_totals = has_sums ? backward_totals.data() + node.sums_begin : nullptr;
    io.step = &step;
  }
}

template <class T>
Matrix<T> Net<T>::Workspace::Partial(int sparse) {
  const Node<T>& node = graph_.nodes[static_cast<size_t>(graph_.sparse_nodes[static_cast<size_t>(sparse)])];
  const Place& place = node.op->FinishIsIdentity() ? edge_places_[static_cast<size_t>(node.output)]
                                                   : partial_places_[static_cast<size_t>(sparse)];
  return View(place, 0, {0, batch_size});
}

template <class T>
Matrix<T> Net<T>::Workspace::PartialGrad(int sparse) {
  const Node<T>& node = graph_.nodes[static_cast<size_t>(graph_.sparse_nodes[static_cast<size_t>(sparse)])];
  if (!node.op->FinishIsIdentity()) return View(partial_grad_places_[static_cast<size_t>(sparse)], 0, {0, batch_size});
  const auto output = static_cast<size_t>(node.output);
  if (graph_.edges[output].grad_is_logit_grad())
    return {logit_grads.data(), batch_size, graph_.num_labels, graph_.num_labels};
  return View(edge_grad_places_[output], 0, {0, batch_size});
}

template class Net<float>::Workspace;
template class Net<double>::Workspace;

}  // namespace sluice::nn
