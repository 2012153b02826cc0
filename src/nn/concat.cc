#include <algorithm>

#include "nn/builtin_blocks.h"
#include "nn/matrix_ops.h"

namespace sluice::nn {
namespace {

struct NoOptions : BlockOptions {
  void Visit(config::Visitor& v) override {}
  std::shared_ptr<BlockOptions> Clone() const override { return std::make_shared<NoOptions>(*this); }
};

// Inputs side by side.
template <class T>
class Concat final : public Block<T> {
 public:
  explicit Concat(std::vector<int64_t> widths) : widths_(std::move(widths)) {}

  int64_t output_width() const override { return SumOfWidths(widths_); }

  void Forward(BlockIo<T>& io) const override {
    int64_t column = 0;
    for (const Matrix<const T>& in : io.in) {
      CopyMatrix(in, Matrix<T>{io.out.data + column, in.rows, in.cols, io.out.ld});
      column += in.cols;
    }
  }

  void Backward(BlockIo<T>& io) const override {
    int64_t column = 0;
    for (size_t p = 0; p < widths_.size(); column += widths_[p++]) {
      const Matrix<const T> part{io.out_grad.data + column, io.out_grad.rows, widths_[p], io.out_grad.ld};
      if (io.in_grad[p].empty()) continue;
      if (!io.accumulate[p])
        CopyMatrix(part, io.in_grad[p]);
      else
        WriteGrad(io.in_grad[p], true, [&](int64_t i, int64_t j) { return part.row(i)[j]; });
    }
  }

 private:
  std::vector<int64_t> widths_;
};

// Inputs of equal width, added.
template <class T>
class Sum final : public Block<T> {
 public:
  explicit Sum(int64_t width) : width_(width) {}

  int64_t output_width() const override { return width_; }

  void Forward(BlockIo<T>& io) const override {
    CopyMatrix(io.in[0], io.out);
    for (size_t p = 1; p < io.in.size(); ++p)
      WriteGrad(io.out, true, [&](int64_t i, int64_t j) { return io.in[p].row(i)[j]; });
  }

  void Backward(BlockIo<T>& io) const override {
    for (size_t p = 0; p < io.in_grad.size(); ++p)
      WriteGrad(io.in_grad[p], io.accumulate[p], [&](int64_t i, int64_t j) { return io.out_grad.row(i)[j]; });
  }

 private:
  int64_t width_;
};

template <class T>
Result<std::unique_ptr<Block<T>>> MakeConcat(const BlockOptions&, BuildContext& context) {
  if (context.input_widths.empty()) return InvalidArgument("model block `{}` (concat) needs inputs", context.name);
  return std::unique_ptr<Block<T>>(new Concat<T>(context.input_widths));
}

template <class T>
Result<std::unique_ptr<Block<T>>> MakeSum(const BlockOptions&, BuildContext& context) {
  const auto& widths = context.input_widths;
  if (widths.empty()) return InvalidArgument("model block `{}` (sum) needs inputs", context.name);
  for (const int64_t width : widths)
    if (width != widths.front())
      return InvalidArgument("model block `{}` (sum) needs inputs of equal width; it has {} and {}", context.name,
                             widths.front(), width);
  return std::unique_ptr<Block<T>>(new Sum<T>(widths.front()));
}

}  // namespace

BlockType ConcatType() {
  return {.type = "concat",
          .text = "Inputs side by side.",
          .make_options = [] { return std::make_shared<NoOptions>(); },
          .make_f32 = MakeConcat<float>,
          .make_f64 = MakeConcat<double>};
}

BlockType SumType() {
  return {.type = "sum",
          .text = "Sum of inputs of equal width.",
          .make_options = [] { return std::make_shared<NoOptions>(); },
          .make_f32 = MakeSum<float>,
          .make_f64 = MakeSum<double>};
}

}  // namespace sluice::nn
