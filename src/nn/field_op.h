#pragma once

#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "nn/matrix_ops.h"
#include "nn/registry.h"
#include "nn/sparse_fixed_kernels.h"
#include "nn/sparse_op.h"
#include "nn/sparse_op_kernels.h"

namespace sluice::nn {

// What every weights-rich operator has: a table, the fields that it reads, and how their keys are pooled.
template <class T>
class FieldOp : public SparseOp<T> {
 public:
  const std::string& table() const override { return table_; }
  const std::vector<int>& fields() const override { return fields_; }
  bool divides_by_bag(int field) const override {
    const Pooling pooling = poolings_[static_cast<size_t>(PositionOf(field))];
    return pooling == Pooling::kMean || pooling == Pooling::kSqrtn;
  }

  // The partial is the output, unless an operator says otherwise.
  void Finish(Range, Matrix<const T> partial, Matrix<T> out) const override { CopyMatrix(partial, out); }
  void FinishBackward(Range, Matrix<const T>, Matrix<const T> out_grad, Matrix<T> partial_grad) const override {
    CopyMatrix(out_grad, partial_grad);
  }

 protected:
  // Samples whose partials are computed field after field while they stay in the first-level cache.
  static constexpr int64_t kTile = 64;

  FieldOp(std::string table, std::vector<int> fields, std::vector<Pooling> poolings)
      : table_(std::move(table)), fields_(std::move(fields)), poolings_(std::move(poolings)) {}

  int64_t num_fields() const { return static_cast<int64_t>(fields_.size()); }

  // Position of schema field `field` among fields().
  int64_t PositionOf(int field) const {
    for (size_t p = 0; p < fields_.size(); ++p)
      if (fields_[p] == field) return static_cast<int64_t>(p);
    SLUICE_CHECK(false, "table {}: the operator does not read field {}", table_, field);
    return -1;
  }

  FieldSlice<T> Slice(const data::Batch& batch, const RowsView<T>& rows, int64_t position) const {
    const int field = fields_[position];
    const data::FieldColumn& column = batch.fields[field];
    return {.rows = rows.rows,
            .dim = rows.dim,
            .index = rows.index[field],
            .offsets = column.one_hot() ? nullptr : column.offsets.data(),
            .weights = column.weights.empty() ? nullptr : column.weights.data(),
            .nnz = column.nnz(),
            .pooling = poolings_[position],
            .whole = !rows.whole.empty() && rows.whole[field] != 0,
            .row_range = rows.row_range.empty() ? Range{} : rows.row_range[field]};
  }

  // tile(range, partial of the range) for consecutive parts of `samples`.
  template <class P, class Tile>
  static void ForTiles(Range samples, Matrix<P> partial, const Tile& tile) {
    for (int64_t begin = samples.begin; begin < samples.end; begin += kTile) {
      const Range range{begin, begin + kTile < samples.end ? begin + kTile : samples.end};
      tile(range, partial.Rows({begin - samples.begin, range.end - samples.begin}));
    }
  }

 private:
  std::string table_;
  std::vector<int> fields_;
  std::vector<Pooling> poolings_;
};

// Settings shared by the operators.
struct FieldOpOptions : BlockOptions {
  std::string table = "embedding";
  std::vector<std::string> fields;

 protected:
  void VisitCommon(config::Visitor& v);
};

// Schema indices of the named fields, sorted; all fields where `names` is empty.
// Errors: kInvalidArgument naming block and field; also where the schema has no field at all.
Result<std::vector<int>> ResolveFields(const std::string& block, const std::vector<std::string>& names,
                                       const data::Schema& schema);
Pooling ParsePooling(const std::string& name);

}  // namespace sluice::nn
