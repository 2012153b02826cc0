#include "nn/activation.h"
#include "nn/builtin_blocks.h"
#include "nn/matrix_ops.h"

namespace sluice::nn {
namespace {

struct ActivationOptions : BlockOptions {
  std::string kind = "relu";

  void Visit(config::Visitor& v) override {
    v.Field("kind", kind, {.text = "Function applied to every element.", .choices = ActivationNames()});
  }
  std::shared_ptr<BlockOptions> Clone() const override { return std::make_shared<ActivationOptions>(*this); }
};

template <class T>
class ActivationBlock final : public Block<T> {
 public:
  ActivationBlock(int64_t width, Activation kind) : width_(width), kind_(kind) {}

  int64_t output_width() const override { return width_; }
  size_t state_size(int64_t rows) const override { return static_cast<size_t>(rows * width_) * sizeof(T); }

  void Forward(BlockIo<T>& io) const override { ActivationForward<T>(kind_, io.in[0], io.out); }

  void Backward(BlockIo<T>& io) const override {
    const Matrix<T>& grad = io.in_grad[0];
    if (grad.empty()) return;
    const Matrix<const T> reference = NeedsPreActivation(kind_) ? io.in[0] : Matrix<const T>(io.out);
    const Matrix<T> scratch{reinterpret_cast<T*>(io.state), grad.rows, width_, width_};
    const Matrix<T> to = io.accumulate[0] ? scratch : grad;
    ActivationBackward<T, T, T>(kind_, reference, io.out_grad, T(1), to, nullptr);
    if (io.accumulate[0]) WriteGrad(grad, true, [&](int64_t i, int64_t j) { return scratch.row(i)[j]; });
  }

 private:
  int64_t width_;
  Activation kind_;
};

template <class T>
Result<std::unique_ptr<Block<T>>> Make(const BlockOptions& base, BuildContext& context) {
  SLUICE_ASSIGN_OR_RETURN(const int64_t width, OnlyInputWidth(context, "activation"));
  SLUICE_ASSIGN_OR_RETURN(const Activation kind, ParseActivation(static_cast<const ActivationOptions&>(base).kind));
  return std::unique_ptr<Block<T>>(new ActivationBlock<T>(width, kind));
}

}  // namespace

BlockType ActivationType() {
  return {.type = "activation",
          .text = "A function of every element.",
          .make_options = [] { return std::make_shared<ActivationOptions>(); },
          .make_f32 = Make<float>,
          .make_f64 = Make<double>};
}

}  // namespace sluice::nn
