#include <cmath>

#include "nn/builtin_blocks.h"
#include "nn/matrix_ops.h"

namespace sluice::nn {
namespace {

struct LayerNormOptions : BlockOptions {
  double epsilon = 1e-5;

  void Visit(config::Visitor& v) override {
    v.Field("epsilon", epsilon, {.text = "Added to the variance.", .min = 0, .max = 1});
  }
  std::shared_ptr<BlockOptions> Clone() const override { return std::make_shared<LayerNormOptions>(*this); }
};

// out = gain * (x - mean) / sqrt(variance + epsilon) + bias, mean and variance over the columns of a sample.
// Source: Ba, Kiros and Hinton 2016.
// State        per sample: mean and 1 / sqrt(variance + epsilon).
template <class T>
class LayerNorm final : public Block<T> {
 public:
  LayerNorm(int64_t width, int64_t gain, int64_t bias, double epsilon)
      : width_(width), gain_(gain), bias_(bias), epsilon_(static_cast<T>(epsilon)) {}

  int64_t output_width() const override { return width_; }
  size_t state_size(int64_t rows) const override { return static_cast<size_t>(2 * rows) * sizeof(T); }

  void Forward(BlockIo<T>& io) const override {
    T* state = reinterpret_cast<T*>(io.state);
    const T* gain = io.params + gain_;
    const T* bias = io.params + bias_;
    for (int64_t i = 0; i < io.out.rows; ++i) {
      const T* x = io.in[0].row(i);
      T mean = 0, variance = 0;
      for (int64_t j = 0; j < width_; ++j) mean += x[j];
      mean /= static_cast<T>(width_);
      for (int64_t j = 0; j < width_; ++j) variance += (x[j] - mean) * (x[j] - mean);
      const T scale = T(1) / std::sqrt(variance / static_cast<T>(width_) + epsilon_);
      for (int64_t j = 0; j < width_; ++j) io.out.row(i)[j] = gain[j] * ((x[j] - mean) * scale) + bias[j];
      state[2 * i] = mean;
      state[2 * i + 1] = scale;
    }
  }

  void Backward(BlockIo<T>& io) const override {
    const T* state = reinterpret_cast<const T*>(io.state);
    const T* gain = io.params + gain_;
    T* gain_grad = io.param_grads + gain_;
    T* bias_grad = io.param_grads + bias_;
    for (int64_t i = 0; i < io.out_grad.rows; ++i) {
      const T* x = io.in[0].row(i);
      const T* g = io.out_grad.row(i);
      const T mean = state[2 * i], scale = state[2 * i + 1];
      T sum = 0, sum_x = 0;  // of the gradient at the normalised input, and of its product with it
      for (int64_t j = 0; j < width_; ++j) {
        const T normal = (x[j] - mean) * scale;
        gain_grad[j] += g[j] * normal;
        bias_grad[j] += g[j];
        sum += g[j] * gain[j];
        sum_x += g[j] * gain[j] * normal;
      }
      if (io.in_grad[0].empty()) continue;
      sum /= static_cast<T>(width_);
      sum_x /= static_cast<T>(width_);
      T* to = io.in_grad[0].row(i);
      for (int64_t j = 0; j < width_; ++j) {
        const T normal = (x[j] - mean) * scale;
        const T dx = scale * (g[j] * gain[j] - sum - normal * sum_x);
        to[j] = io.accumulate[0] ? to[j] + dx : dx;
      }
    }
  }

 private:
  int64_t width_, gain_, bias_;
  T epsilon_;
};

template <class T>
Result<std::unique_ptr<Block<T>>> Make(const BlockOptions& base, BuildContext& context) {
  const auto& options = static_cast<const LayerNormOptions&>(base);
  SLUICE_ASSIGN_OR_RETURN(const int64_t width, OnlyInputWidth(context, "layer_norm"));
  const int64_t gain = context.params->trained.Add(context.name + "/gain", {width}, Init::kOne);
  const int64_t bias = context.params->trained.Add(context.name + "/bias", {width}, Init::kZero);
  return std::unique_ptr<Block<T>>(new LayerNorm<T>(width, gain, bias, options.epsilon));
}

}  // namespace

BlockType LayerNormType() {
  return {.type = "layer_norm",
          .text = "Layer normalisation with a trained gain and bias per column.",
          .make_options = [] { return std::make_shared<LayerNormOptions>(); },
          .make_f32 = Make<float>,
          .make_f64 = Make<double>};
}

}  // namespace sluice::nn
