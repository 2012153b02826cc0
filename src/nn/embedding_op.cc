#include "nn/embedding_op.h"

#include <algorithm>
#include <limits>

#include "nn/builtin_blocks.h"
#include "nn/matrix_ops.h"

namespace sluice::nn {
namespace {

// Pooled embedding: for every field one vector, side by side [F * k]. An empty bag gives zeros.
// Distributed  sum, mean and sqrtn: coefficients come from the batch alone, so partials add up. max: partials reduce by
//              max, with -infinity for a field of which the rank holds no row; the gradient of a column goes to the
//              first occurrence in the sample, among those an owner holds, that attains the maximum, so exact ties
//              between rows of different owners count once for each owner. In deterministic mode every row that attains
//              it gets the gradient, so that owners do not matter.
template <class T>
class Embedding final : public FieldOp<T> {
 public:
  Embedding(std::string table, std::vector<int> fields, std::vector<Pooling> poolings, int64_t column, int64_t dim)
      : FieldOp<T>(std::move(table), std::move(fields), poolings),
        column_(column),
        dim_(dim),
        max_(poolings.front() == Pooling::kMax),
        plain_(std::all_of(poolings.begin(), poolings.end(), [](Pooling p) { return p == Pooling::kSum; })) {}

  SummedColumns summed_columns() const { return {column_, dim_, plain_}; }

  int64_t partial_width() const override { return this->num_fields() * dim_; }
  int64_t output_width() const override { return this->num_fields() * dim_; }
  int64_t columns_per_field() const override { return dim_; }
  Reduction reduction() const override { return max_ ? Reduction::kMax : Reduction::kSum; }
  bool FinishIsIdentity() const override { return !max_; }

  void Partial(const data::Batch& batch, const RowsView<T>& rows, Range samples, Matrix<T> partial) const override {
    this->ForTiles(samples, partial, [&](Range range, Matrix<T> tile) {
      for (int64_t p = 0; p < this->num_fields(); ++p) {
        const FieldSlice<T> slice = this->Slice(batch, rows, p);
        if (max_)
          SLUICE_DISPATCH(MaxField<T>)(slice, column_, dim_, range, tile.data + p * dim_, tile.ld);
        else
          SLUICE_DISPATCH(PoolField<T>)(slice, column_, dim_, range, false, tile.data + p * dim_, tile.ld, {});
      }
    });
  }

  void Finish(Range samples, Matrix<const T> partial, Matrix<T> out) const override {
    CopyMatrix(partial, out);
    if (!max_) return;
    for (int64_t i = 0; i < out.rows; ++i)
      for (int64_t d = 0; d < out.cols; ++d)
        if (out.row(i)[d] == -std::numeric_limits<T>::infinity()) out.row(i)[d] = T(0);
  }

  void AddRowGradients(const data::Batch& batch, const RowsView<T>& rows, int field, Range rows_range,
                       Matrix<const T> partial, Matrix<const T> partial_grad, T* row_grads) const override {
    const int64_t p = this->PositionOf(field);
    const FieldSlice<T> slice = this->Slice(batch, rows, p);
    const Range all{0, batch.size};
    const T* grad = partial_grad.data + p * dim_;
    if (max_) SLUICE_DISPATCH(AddMaxGrad<T>)
    (slice, column_, dim_, all, rows_range, partial.data + p * dim_, partial.ld, grad, partial_grad.ld, row_grads);
    else SLUICE_DISPATCH(AddFieldGrad<T>)(slice, column_, dim_, all, rows_range, grad, partial_grad.ld, {}, row_grads);
  }

  bool has_fixed_form() const override { return true; }
  bool FixedPartial(const data::Batch& batch, const RowsView<T>& rows, Range samples,
                    Matrix<int64_t> partial) const override {
    bool good = true;
    this->ForTiles(samples, partial, [&](Range range, Matrix<int64_t> tile) {
      for (int64_t p = 0; p < this->num_fields(); ++p)
        good &= SLUICE_DISPATCH(PoolFieldFixed<T>)(this->Slice(batch, rows, p), column_, dim_, range, false,
                                                   tile.data + p * dim_, tile.ld, {});
    });
    return good;
  }

  bool AddFixedRowGradients(const data::Batch& batch, const RowsView<T>& rows, int field, Range rows_range,
                            Matrix<const T> partial, Matrix<const T> partial_grad, FixedPoint fixed,
                            int64_t* row_grads) const override {
    const int64_t p = this->PositionOf(field);
    const FieldSlice<T> slice = this->Slice(batch, rows, p);
    const Range all{0, batch.size};
    const T* grad = partial_grad.data + p * dim_;
    if (max_)
      return SLUICE_DISPATCH(AddMaxGradFixed<T>)(slice, column_, dim_, all, rows_range, partial.data + p * dim_,
                                                 partial.ld, grad, partial_grad.ld, fixed.scale(), row_grads);
    return SLUICE_DISPATCH(AddFieldGradFixed<T>)(slice, column_, dim_, all, rows_range, grad, partial_grad.ld, {},
                                                 fixed.scale(), row_grads);
  }

 private:
  int64_t column_, dim_;
  bool max_, plain_;
};

Result<std::vector<Pooling>> Poolings(const EmbeddingOptions& options, const std::vector<int>& fields,
                                      const BuildContext& context) {
  std::vector<Pooling> poolings(fields.size(), ParsePooling(options.pooling));
  for (const auto& [name, field_pooling] : options.per_field) {
    SLUICE_ASSIGN_OR_RETURN(const auto field, ResolveFields(context.name, {name}, *context.schema));
    const auto at = std::find(fields.begin(), fields.end(), field.front());
    if (at == fields.end())
      return InvalidArgument("model block `{}`: per_field names `{}`, which is not among its fields", context.name,
                             name);
    poolings[at - fields.begin()] = ParsePooling(field_pooling.pooling);
  }
  const auto num_max = std::count(poolings.begin(), poolings.end(), Pooling::kMax);
  if (num_max != 0 && num_max != static_cast<int64_t>(poolings.size()))
    return InvalidArgument(
        "model block `{}`: pooling max does not mix with others; give those fields a block of their "
        "own",
        context.name);
  return poolings;
}

template <class T>
Result<std::unique_ptr<SparseOp<T>>> Make(const BlockOptions& base, BuildContext& context) {
  const auto& options = static_cast<const EmbeddingOptions&>(base);
  SLUICE_ASSIGN_OR_RETURN(auto fields, ResolveFields(context.name, options.fields, *context.schema));
  SLUICE_ASSIGN_OR_RETURN(auto poolings, Poolings(options, fields, context));
  SLUICE_ASSIGN_OR_RETURN(const int64_t column, context.request_columns(options.table, fields, options.dim,
                                                                        options.share, ColumnStart::kTable));
  return std::unique_ptr<SparseOp<T>>(
      new Embedding<T>(options.table, std::move(fields), std::move(poolings), column, options.dim));
}

}  // namespace

template <class T>
std::optional<SummedColumns> SummedColumnsOf(const SparseOp<T>& op) {
  const auto* embedding = dynamic_cast<const Embedding<T>*>(&op);
  if (embedding == nullptr || embedding->reduction() != Reduction::kSum) return std::nullopt;
  return embedding->summed_columns();
}
template std::optional<SummedColumns> SummedColumnsOf<float>(const SparseOp<float>&);
template std::optional<SummedColumns> SummedColumnsOf<double>(const SparseOp<double>&);

BlockType EmbeddingType() {
  return {.type = "embedding",
          .text = "Pooled embeddings of sparse fields, side by side.",
          .make_options = [] { return std::make_shared<EmbeddingOptions>(); },
          .make_sparse_f32 = Make<float>,
          .make_sparse_f64 = Make<double>};
}

}  // namespace sluice::nn
