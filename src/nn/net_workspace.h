#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "nn/net_graph.h"

namespace sluice::nn {

// Everything of one batch in flight. Memory of two kinds:
// - for the whole batch: logits and their gradients, partials of weights-rich operators (RowGradients reads them), and,
//   where a block needs sums over the batch, all edges;
// - for one piece, reused by the pieces of one slot (a slot is a thread, or a piece where edges are kept whole).
template <class T>
class Net<T>::Workspace {
 public:
  Workspace(const Graph<T>& graph, bool deterministic)
      : gradients_pending(graph.nodes.size() + 1), graph_(graph), deterministic_(deterministic) {
    Plan();
  }

  // Makes room for a batch of `size` samples and `num_threads` threads, and cuts it into pieces. Allocates only where
  // the batch is larger than any before. The batch begins at sample `global_begin` of one of `global_size`, whose
  // logical chunks are the pieces of deterministic mode.
  void Prepare(int64_t size, int num_threads, int64_t global_begin, int64_t global_size);

  int num_pieces() const { return static_cast<int>(pieces.size()); }
  // Pieces of thread t in the fast mode: [first_piece[t], first_piece[t + 1]).
  std::vector<Range> pieces;
  std::vector<int> first_piece;
  std::vector<int> chunk_of_piece;  // deterministic mode: of the global batch
  bool deterministic() const { return deterministic_; }
  bool edges_are_whole() const { return edges_are_whole_; }

  // Points the views of `slot` at piece `piece`.
  void Bind(int slot, int piece, const data::Batch& batch);
  int SlotOf(int piece, int thread) const { return edges_are_whole_ ? piece : thread; }
  // Gradient buffer that a piece adds to: one per piece (deterministic) or per thread.
  T* grads(int piece, int thread) {
    return grads_.data() + static_cast<int64_t>(deterministic_ ? piece : thread) * graph_.params.trained.size();
  }
  const T* dense_grad() const { return grads_.data(); }
  T* dense_grad() { return grads_.data(); }
  int num_grads() const { return deterministic_ ? std::max(1, num_pieces()) : num_threads_; }

  // Views of a slot, after Bind.
  struct Slot {
    std::vector<Matrix<T>> edges, edge_grads;        // per edge; edge 0 and edges without gradient have no gradient
    std::vector<Matrix<T>> partials, partial_grads;  // per operator
    std::vector<BlockIo<T>> ios;                     // per node
    AlignedBuffer<int64_t> fixed_partial;            // of a few samples, deterministic mode
  };
  std::vector<Slot> slots;

  // The whole batch.
  Matrix<T> Partial(int sparse);
  Matrix<T> PartialGrad(int sparse);

  int64_t batch_size = 0;
  AlignedBuffer<T> logits, logit_grads;                 // [batch_size, num_labels]
  AlignedBuffer<T> dense;                               // [batch_size, num_dense] where T is not float
  AlignedBuffer<std::byte> shared;                      // prepared weights
  std::vector<double> sums;                             // [pieces, num_sums]
  std::vector<double> chunk_sums;                       // [kNumChunks, sums of one block], deterministic mode
  std::vector<double> forward_totals, backward_totals;  // [num_sums]
  std::vector<LossSums> losses;                         // per piece
  LossSums loss;
  StepInfo step;
  FixedPoint row_gradient_fixed;
  AlignedBuffer<int64_t> fixed_gradient;  // deterministic mode
  // Threads that have yet to add to the gradient of a node's parameters; the last: of the output bias.
  std::vector<std::atomic<int>> gradients_pending;

 private:
  // Where an edge's values (or an operator's partial) lie.
  struct Place {
    int64_t width = 0, ld = 0;
    bool whole = false;
    int64_t offset = 0;  // elements per row of the memory of its kind
  };
  void Plan();
  Place NewPlace(int64_t width, bool whole);
  Matrix<T> View(const Place& place, int slot, Range samples);
  void BindIos(Slot* slot, int slot_index, Range samples);

  const Graph<T>& graph_;
  const bool deterministic_;
  bool edges_are_whole_ = false;
  int num_threads_ = 0;
  int64_t capacity_ = 0, slot_capacity_ = 0;  // rows
  int num_slots_ = 0;
  std::vector<Place> edge_places_, edge_grad_places_, partial_places_, partial_grad_places_;
  int64_t whole_row_ = 0, slot_row_ = 0;  // elements per row
  AlignedBuffer<T> whole_, slot_memory_, grads_;
  std::vector<AlignedBuffer<std::byte>> states_;
  std::vector<int64_t> state_begin_;  // per node, in the state memory of a slot
};

}  // namespace sluice::nn
