#include "base/hash.h"
#include "base/rng.h"
#include "nn/activation.h"
#include "nn/builtin_blocks.h"
#include "nn/matrix_ops.h"

namespace sluice::nn {
namespace {

struct DropoutOptions : BlockOptions {
  double rate = 0.5;

  void Visit(config::Visitor& v) override {
    v.Field("rate", rate,
            {.text = "Share of elements set to zero in training; the others grow by 1 / (1 - rate).",
             .min = 0,
             .max = 0.99});
  }
  std::shared_ptr<BlockOptions> Clone() const override { return std::make_shared<DropoutOptions>(*this); }
};

// Inverted dropout. Which elements drop is a function of (seed, block, sample's index in training, column), so neither
// pieces nor threads nor ranks change it. Source: Srivastava et al. 2014.
template <class T>
class DropoutBlock final : public Block<T> {
 public:
  DropoutBlock(int64_t width, double rate, uint64_t stream) : width_(width), rate_(rate), stream_(stream) {}

  int64_t output_width() const override { return width_; }
  size_t state_size(int64_t rows) const override { return static_cast<size_t>(rows * width_) * sizeof(T); }

  void Forward(BlockIo<T>& io) const override {
    if (!io.step->training || rate_ == 0) return CopyMatrix(io.in[0], io.out);
    Apply(io, io.in[0], io.out);
  }

  void Backward(BlockIo<T>& io) const override {
    const Matrix<T>& grad = io.in_grad[0];
    if (grad.empty()) return;
    if (!io.accumulate[0]) return Apply(io, io.out_grad, grad);
    const Matrix<T> masked{reinterpret_cast<T*>(io.state), grad.rows, width_, width_};
    Apply(io, io.out_grad, masked);
    WriteGrad(grad, true, [&](int64_t i, int64_t j) { return masked.row(i)[j]; });
  }

 private:
  void Apply(const BlockIo<T>& io, Matrix<const T> x, Matrix<T> y) const {
    Dropout(rate_, MixPair(io.step->seed, stream_), io.step->first_sample + io.samples.begin, x, y);
  }

  int64_t width_;
  double rate_;
  uint64_t stream_;
};

template <class T>
Result<std::unique_ptr<Block<T>>> Make(const BlockOptions& base, BuildContext& context) {
  SLUICE_ASSIGN_OR_RETURN(const int64_t width, OnlyInputWidth(context, "dropout"));
  return std::unique_ptr<Block<T>>(
      new DropoutBlock<T>(width, static_cast<const DropoutOptions&>(base).rate, HashBytes(context.name)));
}

}  // namespace

BlockType DropoutType() {
  return {.type = "dropout",
          .text = "Sets a random share of its input to zero in training.",
          .make_options = [] { return std::make_shared<DropoutOptions>(); },
          .make_f32 = Make<float>,
          .make_f64 = Make<double>};
}

}  // namespace sluice::nn
