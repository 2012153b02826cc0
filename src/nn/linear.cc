#include "nn/linear.h"

#include "nn/builtin_blocks.h"
#include "nn/matrix_ops.h"

namespace sluice::nn {
namespace {

// Linear head: out[i, l] = sum over occurrences of c * w_l, one column of the row per label. Its partial is its output
// (docs/algorithms/weights-rich-operators.md).
template <class T>
class Linear final : public FieldOp<T> {
 public:
  Linear(std::string table, std::vector<int> fields, int64_t column, int64_t num_labels)
      : FieldOp<T>(std::move(table), fields, std::vector<Pooling>(fields.size(), Pooling::kSum)),
        column_(column),
        num_labels_(num_labels) {}

  int64_t partial_width() const override { return num_labels_; }
  int64_t output_width() const override { return num_labels_; }
  bool FinishIsIdentity() const override { return true; }

  void Partial(const data::Batch& batch, const RowsView<T>& rows, Range samples, Matrix<T> partial) const override {
    this->ForTiles(samples, partial, [&](Range range, Matrix<T> tile) {
      for (int64_t p = 0; p < this->num_fields(); ++p) SLUICE_DISPATCH(PoolField<T>)
      (this->Slice(batch, rows, p), column_, num_labels_, range, p > 0, tile.data, tile.ld, {});
    });
  }

  void AddRowGradients(const data::Batch& batch, const RowsView<T>& rows, int field, Range rows_range,
                       Matrix<const T> partial, Matrix<const T> partial_grad, T* row_grads) const override {
    SLUICE_DISPATCH(AddFieldGrad<T>)
    (this->Slice(batch, rows, this->PositionOf(field)), column_, num_labels_, {0, batch.size}, rows_range,
     partial_grad.data, partial_grad.ld, {}, row_grads);
  }

  bool has_fixed_form() const override { return true; }
  bool FixedPartial(const data::Batch& batch, const RowsView<T>& rows, Range samples,
                    Matrix<int64_t> partial) const override {
    bool good = true;
    this->ForTiles(samples, partial, [&](Range range, Matrix<int64_t> tile) {
      for (int64_t p = 0; p < this->num_fields(); ++p)
        good &= SLUICE_DISPATCH(PoolFieldFixed<T>)(this->Slice(batch, rows, p), column_, num_labels_, range, p > 0,
                                                   tile.data, tile.ld, {});
    });
    return good;
  }

  bool AddFixedRowGradients(const data::Batch& batch, const RowsView<T>& rows, int field, Range rows_range,
                            Matrix<const T> partial, Matrix<const T> partial_grad, FixedPoint fixed,
                            int64_t* row_grads) const override {
    return SLUICE_DISPATCH(AddFieldGradFixed<T>)(this->Slice(batch, rows, this->PositionOf(field)), column_,
                                                 num_labels_, {0, batch.size}, rows_range, partial_grad.data,
                                                 partial_grad.ld, {}, fixed.scale(), row_grads);
  }

 private:
  int64_t column_, num_labels_;
};

template <class T>
Result<std::unique_ptr<SparseOp<T>>> Make(const BlockOptions& base, BuildContext& context) {
  const auto& options = static_cast<const LinearOptions&>(base);
  SLUICE_ASSIGN_OR_RETURN(auto fields, ResolveFields(context.name, options.fields, *context.schema));
  const int64_t num_labels = context.schema->num_labels();
  SLUICE_ASSIGN_OR_RETURN(const int64_t column,
                          context.request_columns(options.table, fields, num_labels, "", ColumnStart::kZero));
  return std::unique_ptr<SparseOp<T>>(new Linear<T>(options.table, std::move(fields), column, num_labels));
}

}  // namespace

BlockType LinearType() {
  return {.type = "linear",
          .text = "Linear head over sparse fields: one weight per key and label.",
          .make_options = [] { return std::make_shared<LinearOptions>(); },
          .make_sparse_f32 = Make<float>,
          .make_sparse_f64 = Make<double>};
}

}  // namespace sluice::nn
