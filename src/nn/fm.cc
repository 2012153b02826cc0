#include "nn/fm.h"

#include "nn/builtin_blocks.h"

namespace sluice::nn {
namespace {

// Factorisation machine head of degree two (Rendle, ICDM 2010) in the packed form of DES (docs/algorithms/
// weights-rich-operators.md): with x_j the coefficient of occurrence j,
//   S = sum v_j x_j,  q = sum w_j x_j - 1/2 sum |v_j x_j|^2,  out = q + 1/2 |S|^2.
// Shapes       per label its own weight and factor; partial of a sample: [S of every label (k each) | q of every
// label].
template <class T>
class Fm final : public FieldOp<T> {
 public:
  Fm(std::string table, std::vector<int> fields, int64_t weight_column, int64_t factor_column, int64_t dim,
     int64_t num_labels)
      : FieldOp<T>(std::move(table), fields, std::vector<Pooling>(fields.size(), Pooling::kSum)),
        weight_column_(weight_column),
        factor_column_(factor_column),
        dim_(dim),
        num_labels_(num_labels) {}

  int64_t partial_width() const override { return num_labels_ * (dim_ + 1); }
  int64_t output_width() const override { return num_labels_; }
  bool FinishIsIdentity() const override { return false; }

  void Partial(const data::Batch& batch, const RowsView<T>& rows, Range samples, Matrix<T> partial) const override {
    this->ForTiles(samples, partial, [&](Range range, Matrix<T> tile) {
      for (int64_t i = 0; i < tile.rows; ++i)
        for (int64_t l = 0; l < num_labels_; ++l) tile.row(i)[q_column() + l] = T(0);
      for (int64_t p = 0; p < this->num_fields(); ++p) {
        const FieldSlice<T> slice = this->Slice(batch, rows, p);
        for (int64_t l = 0; l < num_labels_; ++l) SLUICE_DISPATCH(PoolField<T>)
        (slice, factor_column_ + l * dim_, dim_, range, p > 0, tile.data + l * dim_, tile.ld,
         {WeightColumn(l), tile.data + q_column() + l, tile.ld});
      }
    });
  }

  void Finish(Range samples, Matrix<const T> partial, Matrix<T> out) const override {
    for (int64_t i = 0; i < partial.rows; ++i) {
      for (int64_t l = 0; l < num_labels_; ++l) {
        const T* sum = partial.row(i) + l * dim_;
        T squares = 0;
        for (int64_t d = 0; d < dim_; ++d) squares += sum[d] * sum[d];
        out.row(i)[l] = partial.row(i)[q_column() + l] + T(0.5) * squares;
      }
    }
  }

  void FinishBackward(Range samples, Matrix<const T> partial, Matrix<const T> out_grad,
                      Matrix<T> partial_grad) const override {
    for (int64_t i = 0; i < partial.rows; ++i) {
      for (int64_t l = 0; l < num_labels_; ++l) {
        const T g = out_grad.row(i)[l];
        for (int64_t d = l * dim_; d < (l + 1) * dim_; ++d) partial_grad.row(i)[d] = g * partial.row(i)[d];
        partial_grad.row(i)[q_column() + l] = g;
      }
    }
  }

  void AddRowGradients(const data::Batch& batch, const RowsView<T>& rows, int field, Range rows_range,
                       Matrix<const T> partial, Matrix<const T> partial_grad, T* row_grads) const override {
    const FieldSlice<T> slice = this->Slice(batch, rows, this->PositionOf(field));
    for (int64_t l = 0; l < num_labels_; ++l) SLUICE_DISPATCH(AddFieldGrad<T>)
    (slice, factor_column_ + l * dim_, dim_, {0, batch.size}, rows_range, partial_grad.data + l * dim_, partial_grad.ld,
     {WeightColumn(l), partial_grad.data + q_column() + l, partial_grad.ld}, row_grads);
  }

  bool FixedPartial(const data::Batch& batch, const RowsView<T>& rows, Range samples,
                    Matrix<int64_t> partial) const override {
    bool good = true;
    this->ForTiles(samples, partial, [&](Range range, Matrix<int64_t> tile) {
      for (int64_t i = 0; i < tile.rows; ++i)
        for (int64_t l = 0; l < num_labels_; ++l) tile.row(i)[q_column() + l] = 0;
      for (int64_t p = 0; p < this->num_fields(); ++p) {
        const FieldSlice<T> slice = this->Slice(batch, rows, p);
        for (int64_t l = 0; l < num_labels_; ++l) good &= SLUICE_DISPATCH(PoolFieldFixed<T>)(
            slice, factor_column_ + l * dim_, dim_, range, p > 0, tile.data + l * dim_, tile.ld,
            {WeightColumn(l), tile.data + q_column() + l, tile.ld});
      }
    });
    return good;
  }

  bool AddFixedRowGradients(const data::Batch& batch, const RowsView<T>& rows, int field, Range rows_range,
                            Matrix<const T> partial, Matrix<const T> partial_grad, FixedPoint fixed,
                            int64_t* row_grads) const override {
    const FieldSlice<T> slice = this->Slice(batch, rows, this->PositionOf(field));
    bool good = true;
    for (int64_t l = 0; l < num_labels_; ++l) good &= SLUICE_DISPATCH(AddFieldGradFixed<T>)(
        slice, factor_column_ + l * dim_, dim_, {0, batch.size}, rows_range, partial_grad.data + l * dim_,
        partial_grad.ld, {WeightColumn(l), partial_grad.data + q_column() + l, partial_grad.ld}, fixed.scale(),
        row_grads);
    return good;
  }

 private:
  int64_t q_column() const { return num_labels_ * dim_; }
  int64_t WeightColumn(int64_t label) const { return weight_column_ < 0 ? -1 : weight_column_ + label; }

  int64_t weight_column_, factor_column_, dim_, num_labels_;
};

template <class T>
Result<std::unique_ptr<SparseOp<T>>> Make(const BlockOptions& base, BuildContext& context) {
  const auto& options = static_cast<const FmOptions&>(base);
  SLUICE_ASSIGN_OR_RETURN(auto fields, ResolveFields(context.name, options.fields, *context.schema));
  const int64_t num_labels = context.schema->num_labels();
  int64_t weight_column = -1;
  if (options.linear) {
    SLUICE_ASSIGN_OR_RETURN(weight_column,
                            context.request_columns(options.table, fields, num_labels, "", ColumnStart::kZero));
  }
  SLUICE_ASSIGN_OR_RETURN(
      const int64_t factor_column,
      context.request_columns(options.table, fields, num_labels * options.dim, options.share, ColumnStart::kTable));
  return std::unique_ptr<SparseOp<T>>(
      new Fm<T>(options.table, std::move(fields), weight_column, factor_column, options.dim, num_labels));
}

}  // namespace

BlockType FmType() {
  return {.type = "fm",
          .text = "Factorisation machine of degree two over sparse fields, with its linear term.",
          .make_options = [] { return std::make_shared<FmOptions>(); },
          .make_sparse_f32 = Make<float>,
          .make_sparse_f64 = Make<double>};
}

}  // namespace sluice::nn
