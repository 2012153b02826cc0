#include "nn/builtin_blocks.h"
#include "nn/matrix_ops.h"

namespace sluice::nn {
namespace {

struct DenseLinearOptions : BlockOptions {
  void Visit(config::Visitor& v) override {}
  std::shared_ptr<BlockOptions> Clone() const override { return std::make_shared<DenseLinearOptions>(*this); }
};

// out [n, num_labels] = sum over inputs of in * W, weights from zero, no bias: the linear part over numeric features,
// or a last layer over several edges. Plain loops: the product is as narrow as there are labels.
template <class T>
class DenseLinear final : public Block<T> {
 public:
  DenseLinear(std::vector<int64_t> offsets, std::vector<int64_t> widths, int64_t num_labels)
      : offsets_(std::move(offsets)), widths_(std::move(widths)), num_labels_(num_labels) {}

  int64_t output_width() const override { return num_labels_; }
  typename Block<T>::Flops flops() const override {
    const double products = 2.0 * static_cast<double>(SumOfWidths(widths_) * num_labels_);
    return {.forward = products, .backward = products, .input_backward = products};
  }

  void Forward(BlockIo<T>& io) const override {
    for (int64_t i = 0; i < io.out.rows; ++i) {
      for (int64_t l = 0; l < num_labels_; ++l) {
        T sum = 0;
        for (size_t p = 0; p < widths_.size(); ++p) {
          const T* weight = io.params + offsets_[p];
          const T* x = io.in[p].row(i);
          for (int64_t j = 0; j < widths_[p]; ++j) sum += x[j] * weight[j * num_labels_ + l];
        }
        io.out.row(i)[l] = sum;
      }
    }
  }

  void Backward(BlockIo<T>& io) const override {
    for (size_t p = 0; p < widths_.size(); ++p) {
      const T* weight = io.params + offsets_[p];
      T* weight_grad = io.param_grads + offsets_[p];
      for (int64_t i = 0; i < io.out_grad.rows; ++i) {
        const T* x = io.in[p].row(i);
        const T* g = io.out_grad.row(i);
        for (int64_t j = 0; j < widths_[p]; ++j)
          for (int64_t l = 0; l < num_labels_; ++l) weight_grad[j * num_labels_ + l] += x[j] * g[l];
      }
      WriteGrad(io.in_grad[p], io.accumulate[p], [&](int64_t i, int64_t j) {
        T sum = 0;
        for (int64_t l = 0; l < num_labels_; ++l) sum += io.out_grad.row(i)[l] * weight[j * num_labels_ + l];
        return sum;
      });
    }
  }

 private:
  std::vector<int64_t> offsets_, widths_;
  int64_t num_labels_;
};

template <class T>
Result<std::unique_ptr<Block<T>>> Make(const BlockOptions&, BuildContext& context) {
  if (context.input_widths.empty())
    return InvalidArgument("model block `{}` (dense_linear) needs inputs", context.name);
  const int64_t num_labels = context.schema->num_labels();
  std::vector<int64_t> offsets;
  for (size_t p = 0; p < context.input_widths.size(); ++p) {
    const std::string name = context.name + (context.input_widths.size() > 1 ? fmt::format("/weight{}", p) : "/weight");
    offsets.push_back(context.params->trained.Add(name, {context.input_widths[p], num_labels}, Init::kZero));
  }
  return std::unique_ptr<Block<T>>(new DenseLinear<T>(std::move(offsets), context.input_widths, num_labels));
}

}  // namespace

BlockType DenseLinearType() {
  return {.type = "dense_linear",
          .text = "Linear map of its inputs to one number per label, without a bias; weights start at zero.",
          .make_options = [] { return std::make_shared<DenseLinearOptions>(); },
          .make_f32 = Make<float>,
          .make_f64 = Make<double>};
}

}  // namespace sluice::nn
