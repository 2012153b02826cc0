#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/chunks.h"
#include "base/status.h"
#include "base/thread_pool.h"
#include "data/batch.h"
#include "data/schema.h"
#include "nn/block.h"
#include "nn/fixed_point.h"
#include "nn/loss.h"
#include "nn/params.h"
#include "nn/partial_form.h"
#include "nn/projection.h"
#include "nn/registry.h"
#include "nn/sparse_op.h"

namespace sluice::nn {

// A model as a list of blocks in topological order (presets expand to this; nn/presets.h).
struct NetSpec {
  std::vector<BlockConfig> blocks;
  std::vector<std::string> outputs;  // edges of width num_labels whose sum is the logit
  LossKind loss = LossKind::kBce;
  bool output_bias = true;  // one trained bias per label, added to the logit
  Precision precision = Precision::kFp32;
  bool deterministic = false;  // one piece per logical chunk instead of one per thread, sums that no order changes
};

// A table that the net's operators read.
struct TableNeed {
  std::string name;
  int64_t dim = 0;
  std::vector<int> fields;          // schema indices, sorted
  std::vector<Range> zero_columns;  // columns that new rows start with zeros in, whatever the table's settings say
};

// The partial columns of one operator among those that are reduced alike: [begin, begin + width).
struct OperatorColumns {
  std::string name;         // of its block
  std::vector<int> fields;  // schema indices, in the order of columns
  Reduction reduction = Reduction::kSum;
  int64_t begin = 0, width = 0;
  int64_t per_field = 0;     // SparseOp::columns_per_field
  std::vector<int> divided;  // of fields: those for which SparseOp::divides_by_bag
};

// The partials of all operators of a batch side by side, apart by how ranks reduce them; or their gradients.
// Shapes       sum [n, partial_columns(kSum)], max [n, partial_columns(kMax)], contiguous; columns of an operator stand
//              in the order of operators in the graph.
template <class P>
struct PartialColumns {
  P* sum = nullptr;
  P* max = nullptr;
};

// What happens to the values of an edge on their way from its producer to its consumers, and to their gradient on the
// way back: a mask, a codec, a transfer to another rank. Both rewrite the matrix in place.
// Threads      called on the pool's threads, for several pieces at a time; [samples.size(), edge width].
template <class T>
struct EdgeTransform {
  std::string edge;  // the name of the block that makes it
  std::function<void(Matrix<T> values, Range samples)> forward;
  std::function<void(Matrix<T> gradients, Range samples)> backward;
};

// What a step takes from other ranks (docs/algorithms/des.md). A step on one rank has none of it.
template <class T>
struct StepParts {
  // Partials of this batch, reduced over ranks; without them they are computed from rows; with them neither rows nor
  // the batch's keys are read.
  PartialColumns<const T> partials;
  bool has_partials = false;
  double weight = 0;  // sum of sample weights over the global batch; StepInfo::batch_size is the global one too
  // Where this batch stands in the global one of `batch_size` samples: whole logical chunks. Read in deterministic
  // mode.
  int64_t batch_begin = 0, batch_size = 0;
  // Sums over ranks of what blocks sum over the batch (BatchNorm); called on the caller's thread. May be null.
  std::function<void(std::span<double>)> reduce_sums;
  // Deterministic mode: the dense gradient summed over ranks, as fixed point; on the caller's thread. May be null.
  std::function<void(std::span<int64_t>)> reduce_dense_gradient;
  // Told during backward, once for every part of the flat gradient `all`, that it is final on this rank: the sum over
  // pieces and threads. Parts come roughly from the last to the first and may be changed from then on. Called on the
  // pool's threads, possibly on several at a time. May be null. The deterministic mode, which sums pieces at the end of
  // the step, calls it for no part.
  std::function<void(std::span<T> all, Range final)> gradients_final;
  std::vector<EdgeTransform<T>> edges;
};

// The dense net with its weights-rich operators: a graph of blocks with explicit edges. Holds structure only:
// parameters, buffers and activations belong to the caller, so several batches can be in flight.
// Numerics     the loss is the mean over the batch: gradients are divided by the sum of sample weights.
// Threads      const methods may run concurrently with different workspaces.
template <class T>
class Net {
 public:
  class Workspace;  // activations, gradients and scratch of one batch in flight
  struct DeleteWorkspace {
    void operator()(Workspace* ws) const;
  };
  using WorkspacePtr = std::unique_ptr<Workspace, DeleteWorkspace>;

  // Whatever the form, params(), buffers() and tables() are those of the spec. kWhole is for one rank or for ranks that
  // exchange rows; the others need StepParts::partials. Errors: as BuildGraph (nn/net_graph.h).
  static Result<std::unique_ptr<Net>> Build(const NetSpec& spec, const data::Schema& schema,
                                            PartialForm form = PartialForm::kWhole);
  ~Net();

  const ParamLayout& params() const;
  const ParamLayout& buffers() const;
  const std::vector<TableNeed>& tables() const;
  double flops_per_sample() const;  // dense products, forward and backward, as defined in docs/performance.md
  // The graph as built, one line per block: name, type, inputs, width, parameters.
  std::string Describe() const;

  WorkspacePtr MakeWorkspace() const;

  // Forward, loss and backward of the whole batch. rows[t] belongs to tables()[t]. Afterwards the workspace holds the
  // logits, the loss, the dense gradient and what RowGradients needs; buffers (running statistics) are updated.
  // Errors: StatusError kNumeric naming step and layer where a logit or gradient is not finite.
  void TrainStep(const data::Batch& batch, const std::vector<RowsView<T>>& rows, const T* params, T* buffers,
                 const StepInfo& step, ThreadPool& pool, Workspace* ws, const StepParts<T>* parts = nullptr) const;

  // Forward only, without dropout and with running statistics.
  void Predict(const data::Batch& batch, const std::vector<RowsView<T>>& rows, const T* params, const T* buffers,
               ThreadPool& pool, Workspace* ws, const StepParts<T>* parts = nullptr) const;

  // Row gradients of table t after TrainStep: row_grads [U, dim] of rows in `range`, overwritten. Ranges may run
  // concurrently. The sum over occurrences runs in sample order, whatever the number of threads.
  void RowGradients(const data::Batch& batch, const std::vector<RowsView<T>>& rows, int table, Range range,
                    Workspace* ws, T* row_grads) const;

  // ---- deterministic mode (nn/fixed_point.h): what ranks add up, before it is rounded to T
  bool deterministic() const;
  // Of the operators that sum: out [batch.size, partial_columns(kSum)]; maxima come from Partials.
  void FixedPartials(const data::Batch& batch, const std::vector<RowsView<T>>& rows, ThreadPool& pool,
                     int64_t* out) const;
  // T from fixed point, [n]. Errors: StatusError kNumeric where a sum is out of range; `what` names it.
  static void FromFixedPoint(const int64_t* in, FixedPoint fixed, int64_t n, ThreadPool& pool, const std::string& what,
                             T* out);
  // Row gradients of `range` after TrainStep: row_grads [range.size(), dim], from the row range.begin on.
  void FixedRowGradients(const data::Batch& batch, const std::vector<RowsView<T>>& rows, int table, Range range,
                         Workspace* ws, int64_t* row_grads) const;
  // The loss of the last TrainStep by logical chunk of the global batch, those of other ranks zero.
  static std::array<LossSums, kNumChunks> chunk_losses(const Workspace& ws);
  // How row gradients of the last TrainStep are added up.
  static FixedPoint row_gradient_fixed(const Workspace& ws);

  // ---- a step in parts, for ranks that each own some of the rows
  int64_t partial_columns(Reduction reduction) const;
  // Of every operator, in the order of the graph.
  std::vector<OperatorColumns> operator_columns() const;
  // Numbers that blocks sum over the batch in one step, forward and backward together (StepParts::reduce_sums).
  int64_t num_batch_sums() const;
  FormCosts form_costs() const;
  // Whether some partials are products with dense parameters (PartialForm::kProducts); only then are `params` and
  // `projected` below read. A step with such partials takes, with the same `projected` throughout: Partials, reduction,
  // TrainStep, PartialGradients, ProjectionGradients, then RowGradients from the partials' gradients; and whoever
  // applies the gradients of owned_weights() adds ProjectionBuffers::weight_grads, which follow their order, to those
  // of TrainStep, in which the products have no share.
  bool has_projections() const;
  std::vector<OwnedWeights> owned_weights() const;
  // The operators' partials of a batch from the rows present, into `out`; those that reduce alike are left out where
  // their place is null.
  void Partials(const data::Batch& batch, const std::vector<RowsView<T>>& rows, ThreadPool& pool, PartialColumns<T> out,
                const T* params = nullptr, ProjectionBuffers<T>* projected = nullptr) const;
  // The gradients of the partials that the last TrainStep left, into `out`.
  void PartialGradients(ThreadPool& pool, Workspace* ws, PartialColumns<T> out) const;
  // From the gradients of the partials of the `batch_size` samples of Partials: those of what was pooled, and of the
  // weights. Errors: StatusError kNumeric naming a parameter whose gradient is not finite.
  void ProjectionGradients(int64_t batch_size, PartialColumns<T> partial_grads, const T* params, ThreadPool& pool,
                           ProjectionBuffers<T>* projected) const;
  // RowGradients of another batch than the workspace's: from its reduced partials (of maxima only) and the gradients of
  // all its partials. `fixed`: read in deterministic mode.
  void RowGradients(const data::Batch& batch, const std::vector<RowsView<T>>& rows, int table, Range range,
                    PartialColumns<T> partials, PartialColumns<T> partial_grads, T* row_grads, FixedPoint fixed = {},
                    const ProjectionBuffers<T>* projected = nullptr) const;

  // [batch size, num_labels] of the last TrainStep or Predict; for BCE these are logits.
  static const T* logits(const Workspace& ws);
  static LossSums loss(const Workspace& ws);
  // [params().size()], the sum over pieces in piece order.
  static const T* dense_grad(const Workspace& ws);
  static T* mutable_dense_grad(Workspace* ws);

 private:
  Net();
  template <class MatricesOf>  // (node) -> its partial and the gradient of it
  void AddRowGradients(const data::Batch& batch, const RowsView<T>& view, int table, Range range, FixedPoint fixed,
                       const MatricesOf& matrices_of, T* row_grads) const;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::nn
