#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "base/chunks.h"
#include "nn/params.h"

namespace sluice::nn {

enum class Precision { kFp32, kBf16, kFp64 };

// A row-major view, [rows, cols] with `ld` elements from row to row. Does not own. Host memory in every block of today.
template <class T>
struct Matrix {
  T* data = nullptr;
  int64_t rows = 0, cols = 0, ld = 0;
  T* row(int64_t i) const { return data + i * ld; }
  bool empty() const { return data == nullptr; }
  Matrix Columns(Range range) const { return {data + range.begin, rows, range.size(), ld}; }
  Matrix Rows(Range range) const { return {data + range.begin * ld, range.size(), cols, ld}; }
  operator Matrix<const T>() const requires(!std::is_const_v<T>) { return {data, rows, cols, ld}; }
};

// What a block sees of the step it takes part in.
struct StepInfo {
  int64_t step = 0;
  int64_t first_sample = 0;  // index in training order of the batch's first sample: dropout is a function of it
  int64_t batch_size = 0;    // of the whole (global) batch
  bool training = false;
  uint64_t seed = 0;
};

// One piece of a batch passing through one block.
// Shapes       in[i] [n, input width i]; out [n, output width]; n = rows of the piece.
// Semantics    Forward fills out from in. Backward gets in, out, out_grad and fills in_grad[i] (skips an empty one:
//              that input needs no gradient; adds to it where accumulate[i] is set, else overwrites), and ADDS the
//              piece's parameter gradients to param_grads + its offsets (the executor clears them once per step, since
//              one thread takes several pieces one after another).
// Memory       state is scratch of Block::state_size(n) bytes, 64-byte aligned, kept from Forward to Backward of the
//              same piece; a block holds nothing else between the two, so several micro-batches can be in flight. Views
//              carry their own `ld`; nothing is promised about their alignment beyond T's (the dense edge is the batch
//              itself).
template <class T>
struct BlockIo {
  std::vector<Matrix<const T>> in;
  Matrix<T> out;
  std::vector<Matrix<T>> in_grad;
  std::vector<uint8_t> accumulate;
  Matrix<const T> out_grad;
  const T* params = nullptr;   // flat buffer of the net; the block knows its offsets
  T* param_grads = nullptr;    // flat, of this piece alone
  const T* buffers = nullptr;  // flat buffer of state that is not trained
  std::byte* state = nullptr;
  const std::byte* shared = nullptr;       // [shared_size()], filled by Prepare at the start of the step
  const double* forward_totals = nullptr;  // [num_batch_sums()] over the whole batch
  const double* backward_totals = nullptr;
  Range samples;  // rows of the batch that this piece covers
  const StepInfo* step = nullptr;
};

// A stage of the dense net: a differentiable function of its input edges with parameters in the net's flat buffer.
// A new block is one file that defines a subclass and one line that registers it (nn/registry.h).
// Threads      Forward and Backward are const and run concurrently on different pieces.
template <class T>
class Block {
 public:
  virtual ~Block() = default;

  virtual int64_t output_width() const = 0;
  virtual size_t state_size(int64_t rows) const { return 0; }
  virtual void Forward(BlockIo<T>& io) const = 0;
  virtual void Backward(BlockIo<T>& io) const = 0;

  // Work on the parameters alone, done once per step before any piece: packed or bf16 copies of weights. Tasks run
  // concurrently.
  virtual size_t shared_size() const { return 0; }
  virtual int num_prepare_tasks() const { return 0; }
  virtual void Prepare(int task, const T* params, bool training, std::byte* shared) const {}

  // Dense products per sample, as docs/performance.md counts them: 2 per multiply-add.
  struct Flops {
    double forward = 0;
    double backward = 0;        // without the gradient of the block's inputs
    double input_backward = 0;  // that gradient, left out where the inputs need none
  };
  virtual Flops flops() const { return {}; }

  // A block whose output depends on the whole batch (BatchNorm) takes part in two phases. For every logical chunk it
  // first adds that chunk's sums to `sums` [num_batch_sums()]; the executor combines them in chunk order (and across
  // ranks), and Forward finds the totals in io.forward_totals. The same before Backward. In evaluation there are no
  // sums.
  virtual int64_t num_batch_sums() const { return 0; }
  virtual void ForwardSums(const BlockIo<T>& io, double* sums) const {}
  virtual void BackwardSums(const BlockIo<T>& io, double* sums) const {}
  // Once per training step, after Forward: state that is not trained (running mean and variance) in the net's buffers.
  virtual void UpdateBuffers(const double* forward_totals, int64_t batch_size, T* buffers) const {}
};

}  // namespace sluice::nn
