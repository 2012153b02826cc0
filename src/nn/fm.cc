#include "nn/fm.h"

#include <algorithm>

#include "nn/builtin_blocks.h"
#include "nn/embedding_op.h"
#include "nn/matrix_ops.h"

namespace sluice::nn {
namespace {

// Factorisation machine head of degree two (Rendle, ICDM 2010) in the packed form of DES (docs/algorithms/
// weights-rich-operators.md): with x_j the coefficient of occurrence j,
//   S = sum v_j x_j,  q = sum w_j x_j - 1/2 sum |v_j x_j|^2,  out = q + 1/2 |S|^2.
// Shapes       per label its own weight and factor; partial of a sample: [S of every label (k each) | q of every
//              label].
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

  bool has_fixed_form() const override { return true; }
  bool FixedPartial(const data::Batch& batch, const RowsView<T>& rows, Range samples,
                    Matrix<int64_t> partial) const override {
    bool good = true;
    this->ForTiles(samples, partial, [&](Range range, Matrix<int64_t> tile) {
      for (int64_t i = 0; i < tile.rows; ++i)
        for (int64_t l = 0; l < num_labels_; ++l) tile.row(i)[q_column() + l] = 0;
      for (int64_t p = 0; p < this->num_fields(); ++p) {
        const FieldSlice<T> slice = this->Slice(batch, rows, p);
        for (int64_t l = 0; l < num_labels_; ++l)
          good &= SLUICE_DISPATCH(PoolFieldFixed<T>)(slice, factor_column_ + l * dim_, dim_, range, p > 0,
                                                     tile.data + l * dim_, tile.ld,
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
    for (int64_t l = 0; l < num_labels_; ++l)
      good &= SLUICE_DISPATCH(AddFieldGradFixed<T>)(
          slice, factor_column_ + l * dim_, dim_, {0, batch.size}, rows_range, partial_grad.data + l * dim_,
          partial_grad.ld, {WeightColumn(l), partial_grad.data + q_column() + l, partial_grad.ld}, fixed.scale(),
          row_grads);
    return good;
  }

 private:
  int64_t q_column() const { return num_labels_ * dim_; }
  int64_t WeightColumn(int64_t label) const { return weight_column_ < 0 ? -1 : weight_column_ + label; }

  int64_t weight_column_, factor_column_, dim_, num_labels_;
  template <class U>
  friend std::unique_ptr<SparseOp<U>> nn::MakeFmTerms(const SparseOp<U>&, const SparseOp<U>&);
};

// q = sum w_j x_j - 1/2 sum |v_j x_j|^2 alone, one label.
template <class T>
class FmTerms final : public FieldOp<T> {
 public:
  FmTerms(std::string table, std::vector<int> fields, int64_t weight_column, int64_t factor_column, int64_t dim)
      : FieldOp<T>(std::move(table), fields, std::vector<Pooling>(fields.size(), Pooling::kSum)),
        weight_column_(weight_column),
        factor_column_(factor_column),
        dim_(dim),
        no_grad_(static_cast<size_t>(dim), T(0)) {}

  int64_t partial_width() const override { return 1; }
  int64_t output_width() const override { return 1; }
  bool FinishIsIdentity() const override { return true; }

  void Partial(const data::Batch& batch, const RowsView<T>& rows, Range samples, Matrix<T> partial) const override {
    thread_local std::vector<T> sums;  // S, which the embedding gives
    sums.resize(static_cast<size_t>(FieldOp<T>::kTile * dim_));
    this->ForTiles(samples, partial, [&](Range range, Matrix<T> tile) {
      for (int64_t i = 0; i < tile.rows; ++i) tile.row(i)[0] = T(0);
      for (int64_t p = 0; p < this->num_fields(); ++p) SLUICE_DISPATCH(PoolField<T>)
      (this->Slice(batch, rows, p), factor_column_, dim_, range, false, sums.data(), dim_,
       {weight_column_, tile.data, tile.ld});
    });
  }

  void AddRowGradients(const data::Batch& batch, const RowsView<T>& rows, int field, Range rows_range, Matrix<const T>,
                       Matrix<const T> partial_grad, T* row_grads) const override {
    // The gradient of S, the same zeros for every sample: it reaches the rows by way of the embedding.
    SLUICE_DISPATCH(AddFieldGrad<T>)
    (this->Slice(batch, rows, this->PositionOf(field)), factor_column_, dim_, {0, batch.size}, rows_range,
     no_grad_.data(), 0, {weight_column_, partial_grad.data, partial_grad.ld}, row_grads);
  }

 private:
  int64_t weight_column_, factor_column_, dim_;
  std::vector<T> no_grad_;
};

template <class T>
class FmOfPooled final : public Block<T> {
 public:
  FmOfPooled(int64_t num_fields, int64_t dim) : num_fields_(num_fields), dim_(dim) {}

  int64_t output_width() const override { return 1; }
  size_t state_size(int64_t rows) const override { return static_cast<size_t>(rows * dim_) * sizeof(T); }

  void Forward(BlockIo<T>& io) const override {
    for (int64_t i = 0; i < io.out.rows; ++i) {
      T* sum = SumOf(io, i);
      std::fill(sum, sum + dim_, T(0));
      const T* x = io.in[0].row(i);
      for (int64_t f = 0; f < num_fields_; ++f)
        for (int64_t d = 0; d < dim_; ++d) sum[d] += x[f * dim_ + d];
      T squares = 0;
      for (int64_t d = 0; d < dim_; ++d) squares += sum[d] * sum[d];
      io.out.row(i)[0] = io.in[1].row(i)[0] + T(0.5) * squares;
    }
  }

  void Backward(BlockIo<T>& io) const override {
    WriteGrad(io.in_grad[0], io.accumulate[0],
              [&](int64_t i, int64_t j) { return io.out_grad.row(i)[0] * SumOf(io, i)[j % dim_]; });
    WriteGrad(io.in_grad[1], io.accumulate[1], [&](int64_t i, int64_t) { return io.out_grad.row(i)[0]; });
  }

 private:
  T* SumOf(const BlockIo<T>& io, int64_t i) const { return reinterpret_cast<T*>(io.state) + i * dim_; }

  int64_t num_fields_, dim_;
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

template <class T>
std::unique_ptr<SparseOp<T>> MakeFmTerms(const SparseOp<T>& op, const SparseOp<T>& embedding) {
  const auto* fm = dynamic_cast<const Fm<T>*>(&op);
  const std::optional<SummedColumns> pooled = SummedColumnsOf(embedding);
  if (fm == nullptr || !pooled || !pooled->plain || fm->num_labels_ != 1) return nullptr;
  if (fm->table() != embedding.table() || fm->fields() != embedding.fields() || fm->factor_column_ != pooled->column ||
      fm->dim_ != pooled->dim)
    return nullptr;
  return std::make_unique<FmTerms<T>>(fm->table(), fm->fields(), fm->weight_column_, fm->factor_column_, fm->dim_);
}

template <class T>
std::unique_ptr<Block<T>> MakeFmOfPooled(int64_t num_fields, int64_t dim) {
  return std::make_unique<FmOfPooled<T>>(num_fields, dim);
}

template std::unique_ptr<SparseOp<float>> MakeFmTerms<float>(const SparseOp<float>&, const SparseOp<float>&);
template std::unique_ptr<SparseOp<double>> MakeFmTerms<double>(const SparseOp<double>&, const SparseOp<double>&);
template std::unique_ptr<Block<float>> MakeFmOfPooled<float>(int64_t, int64_t);
template std::unique_ptr<Block<double>> MakeFmOfPooled<double>(int64_t, int64_t);

BlockType FmType() {
  return {.type = "fm",
          .text = "Factorisation machine of degree two over sparse fields, with its linear term.",
          .make_options = [] { return std::make_shared<FmOptions>(); },
          .make_sparse_f32 = Make<float>,
          .make_sparse_f64 = Make<double>};
}

}  // namespace sluice::nn
