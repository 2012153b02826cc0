#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/chunks.h"
#include "data/batch.h"
#include "nn/block.h"
#include "nn/fixed_point.h"

namespace sluice::nn {

// The rows that a batch touches in one table, as a dense matrix, and how occurrences find theirs.
// Shapes       rows [U, dim] contiguous; index[f] [nnz of field f] (null where the table does not serve field f).
// Semantics    index[f] is negative where the row lives with another owner; whole[f]: for no occurrence of field f;
//              empty: that is not known. Where row_range[f] is given, every other index of field f lies in it (its
//              vocabulary's rows), so that work on a range of rows skips the fields that have none there; empty:
//              nothing is known.
template <class T>
struct RowsView {
  const T* rows = nullptr;
  int64_t num_rows = 0;
  int64_t dim = 0;
  std::vector<const int32_t*> index;
  std::vector<Range> row_range;
  std::vector<uint8_t> whole;
};

enum class Reduction { kSum, kMax };

// A weights-rich operator: reads table rows, gives one [n, output_width] edge. Written as
//   partial = Reduce over owned rows of M(row, batch);   out = Finish(partial)
// so that ranks which each own some rows only reduce partials (docs/algorithms/des.md); on one rank the partial is the
// whole. Source: DES (Rong et al., SIGIR 2020), section on equivalent substitution.
// Columns      an operator reads columns [column_begin, column_begin + columns) of its table's rows, so that operators
//              can share a table (a factorisation machine's weight and factors are one row of width 1 + k).
// Occurrences  occurrence j of sample i in field f has the coefficient Coefficient(f, i, j): its key's weight, divided
//              as the field's pooling says (sum: 1, mean: sum of the sample's weights, sqrtn: root of their squares'
//              sum).
// Threads      const; pieces of a batch run concurrently, and AddRowGradients for different vocabularies too.
template <class T>
class SparseOp {
 public:
  virtual ~SparseOp() = default;

  virtual const std::string& table() const = 0;
  virtual const std::vector<int>& fields() const = 0;  // schema indices that it reads
  virtual int64_t partial_width() const = 0;
  virtual int64_t output_width() const = 0;
  virtual Reduction reduction() const { return Reduction::kSum; }
  // Partial columns [p * c, (p + 1) * c) belong to the field fields()[p] alone; 0: all fields add to the same columns.
  virtual int64_t columns_per_field() const { return 0; }
  // Whether coefficients of `field` depend on all keys of the sample's bag (mean, sqrtn).
  virtual bool divides_by_bag(int field) const = 0;

  // partial [n, partial_width] of samples [samples) from the rows present; overwrites.
  virtual void Partial(const data::Batch& batch, const RowsView<T>& rows, Range samples, Matrix<T> partial) const = 0;
  // out [n, output_width] from the reduced partial. May alias only where FinishIsIdentity.
  virtual void Finish(Range samples, Matrix<const T> partial, Matrix<T> out) const = 0;
  virtual bool FinishIsIdentity() const = 0;
  // partial_grad [n, partial_width] from out_grad; overwrites.
  virtual void FinishBackward(Range samples, Matrix<const T> partial, Matrix<const T> out_grad,
                              Matrix<T> partial_grad) const = 0;
  // Adds to row_grads [U, dim] (its own columns only) the gradient of every occurrence of `field`, in the order of
  // samples, for rows whose index lies in `rows_range`. `partial` and `partial_grad` cover the whole batch.
  virtual void AddRowGradients(const data::Batch& batch, const RowsView<T>& rows, int field, Range rows_range,
                               Matrix<const T> partial, Matrix<const T> partial_grad, T* row_grads) const = 0;

  // ---- deterministic mode (nn/fixed_point.h): the two sums above over terms turned into fixed point one by one, so
  // that neither order nor owner matters. An operator without this form is refused there.
  virtual bool has_fixed_form() const { return false; }
  // Of what is summed; maxima are the same in every order. False where a term or a sum is out of range.
  virtual bool FixedPartial(const data::Batch& batch, const RowsView<T>& rows, Range samples,
                            Matrix<int64_t> partial) const {
    SLUICE_CHECK(false, "table {}: an operator without a fixed form", table());
    return false;
  }
  // row_grads [rows_range.size(), dim] begins at the row rows_range.begin; `fixed` is the batch's RowGradientFixed.
  virtual bool AddFixedRowGradients(const data::Batch& batch, const RowsView<T>& rows, int field, Range rows_range,
                                    Matrix<const T> partial, Matrix<const T> partial_grad, FixedPoint fixed,
                                    int64_t* row_grads) const {
    SLUICE_CHECK(false, "table {}: an operator without a fixed form", table());
    return false;
  }
};

}  // namespace sluice::nn
