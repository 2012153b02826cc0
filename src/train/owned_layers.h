#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/chunks.h"
#include "comm/communicator.h"
#include "nn/net.h"
#include "placement/strategy.h"
#include "train/model_state.h"

namespace sluice::train {

// What becomes of first-layer weights that the owners of rows multiply with what they pool (PartialForm::kProducts):
// whose gradient each of them has, who updates it, and where it is up to date. docs/algorithms/des.md, first layers.
// Semantics    Weights of a field whose rows live at one rank live there too: the others' copies grow old, until a
//              checkpoint asks for them. All others are summed over ranks with the rest of the dense gradients.
// Threads      const; any.
template <class T>
class OwnedLayers {
 public:
  OwnedLayers(const nn::Net<T>& net, const placement::Strategy& strategy, const std::vector<int>& vocabulary_of_field,
              int rank, int num_ranks);

  bool any() const { return !spans_.empty(); }
  bool lives_apart() const { return !elsewhere_.empty() || !mine_.empty(); }  // some weights live at one rank each
  // Of the flat parameters, in order: those that live here alone, at one other rank, and those that all ranks have.
  const std::vector<Range>& mine() const { return mine_; }
  const std::vector<Range>& elsewhere() const { return elsewhere_; }
  const std::vector<Range>& everywhere() const { return everywhere_; }
  int64_t num_everywhere() const { return num_everywhere_; }

  // Adds ProjectionBuffers::weight_grads to the flat gradient: of weights that are summed over ranks, and of mine.
  void AddGradients(const T* weight_grads, T* dense_grad) const;
  // The same where the dense net is replicated and nothing else of its gradient travels. Collective: the summed
  // weights, 2 (N - 1) of their bytes in all.
  Status SumGradients(const T* weight_grads, comm::Communicator* comm, comm::Wire wire, AlignedBuffer<T>* scratch,
                      T* dense_grad) const;
  // final(part) for the parts of `part` that no projection adds to.
  void ForFinalParts(Range part, const std::function<void(Range)>& final) const;
  // Sum of squares of a dense gradient over all ranks' weights. Collective where some live apart: 8 bytes.
  Result<double> SumOfSquares(const T* dense_grad, comm::Communicator* comm) const;
  // Brings parameters and slots of weights that live apart up to date on every rank. Collective.
  Status Share(comm::Communicator* comm, ModelState<T>* state) const;

 private:
  struct Span {
    Range params;
    int owner = -1;  // -1: summed over ranks
  };
  int rank_, num_ranks_;
  std::vector<Span> spans_;       // in the order of weight_grads
  std::vector<Range> projected_;  // all of them, sorted
  std::vector<Range> mine_, elsewhere_, everywhere_;
  int64_t num_everywhere_ = 0;
};

}  // namespace sluice::train
