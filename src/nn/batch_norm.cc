#include <cmath>

#include "nn/builtin_blocks.h"
#include "nn/matrix_ops.h"

namespace sluice::nn {
namespace {

struct BatchNormOptions : BlockOptions {
  double epsilon = 1e-5;
  double momentum = 0.9;

  void Visit(config::Visitor& v) override {
    v.Field("epsilon", epsilon, {.text = "Added to the variance.", .min = 0, .max = 1});
    v.Field("momentum", momentum,
            {.text = "Share of the running mean and variance that a step keeps.", .min = 0, .max = 0.999999});
  }
  std::shared_ptr<BlockOptions> Clone() const override { return std::make_shared<BatchNormOptions>(*this); }
};

// out = gain * (x - mean) / sqrt(variance + epsilon) + bias, mean and variance of a column over the whole batch (biased
// variance) in training, running ones otherwise. Source: Ioffe and Szegedy 2015.
// Sums         forward: of x - r and (x - r)^2 per column, r the running mean, which keeps the difference of the two
//              small where the mean is large; backward: of g and g * normalised x.
// Buffers      running mean and (unbiased) variance, from 0 and 1.
template <class T>
class BatchNorm final : public Block<T> {
 public:
  BatchNorm(int64_t width, int64_t gain, int64_t bias, int64_t mean, int64_t variance, const BatchNormOptions& options)
      : width_(width), gain_(gain), bias_(bias), mean_(mean), variance_(variance), options_(options) {}

  int64_t output_width() const override { return width_; }
  int64_t num_batch_sums() const override { return 2 * width_; }
  // Mean, scale; then the coefficients of Backward.
  size_t state_size(int64_t) const override { return static_cast<size_t>(4 * width_) * sizeof(T); }

  void ForwardSums(const BlockIo<T>& io, double* sums) const override {
    const Matrix<const T>& x = io.in[0];
    const T* shift = io.buffers + mean_;
    for (int64_t i = 0; i < x.rows; ++i) {
      for (int64_t j = 0; j < width_; ++j) {
        const double d = static_cast<double>(x.row(i)[j]) - static_cast<double>(shift[j]);
        sums[j] += d;
        sums[width_ + j] += d * d;
      }
    }
  }

  void Forward(BlockIo<T>& io) const override {
    T* mean = reinterpret_cast<T*>(io.state);
    T* scale = mean + width_;
    const bool training = io.step->training;
    for (int64_t j = 0; j < width_; ++j) {
      const double running = static_cast<double>(io.buffers[mean_ + j]);
      double batch_mean = running, batch_variance = static_cast<double>(io.buffers[variance_ + j]);
      if (training) Moments(io.forward_totals, io.step->batch_size, j, running, &batch_mean, &batch_variance);
      mean[j] = static_cast<T>(batch_mean);
      scale[j] = static_cast<T>(1.0 / std::sqrt(batch_variance + options_.epsilon));
    }
    const T* gain = io.params + gain_;
    const T* bias = io.params + bias_;
    for (int64_t i = 0; i < io.out.rows; ++i) {
      const T* x = io.in[0].row(i);
      T* out = io.out.row(i);
      for (int64_t j = 0; j < width_; ++j) out[j] = gain[j] * ((x[j] - mean[j]) * scale[j]) + bias[j];
    }
  }

  void BackwardSums(const BlockIo<T>& io, double* sums) const override {
    const T* mean = reinterpret_cast<const T*>(io.state);
    const T* scale = mean + width_;
    for (int64_t i = 0; i < io.out_grad.rows; ++i) {
      const T* x = io.in[0].row(i);
      const T* g = io.out_grad.row(i);
      for (int64_t j = 0; j < width_; ++j) {
        sums[j] += static_cast<double>(g[j]);
        sums[width_ + j] += static_cast<double>(g[j]) * static_cast<double>((x[j] - mean[j]) * scale[j]);
      }
    }
  }

  void Backward(BlockIo<T>& io) const override {
    T* mean = reinterpret_cast<T*>(io.state);
    T* scale = mean + width_;
    T* mean_g = scale + width_;
    T* mean_gx = mean_g + width_;
    const T* gain = io.params + gain_;
    T* gain_grad = io.param_grads + gain_;
    T* bias_grad = io.param_grads + bias_;
    const double n = static_cast<double>(io.step->batch_size);
    for (int64_t j = 0; j < width_; ++j) {
      mean_g[j] = static_cast<T>(io.backward_totals[j] / n);
      mean_gx[j] = static_cast<T>(io.backward_totals[width_ + j] / n);
    }
    for (int64_t i = 0; i < io.out_grad.rows; ++i) {
      const T* x = io.in[0].row(i);
      const T* g = io.out_grad.row(i);
      T* to = io.in_grad[0].empty() ? nullptr : io.in_grad[0].row(i);
      for (int64_t j = 0; j < width_; ++j) {
        const T normal = (x[j] - mean[j]) * scale[j];
        gain_grad[j] += g[j] * normal;
        bias_grad[j] += g[j];
        if (to == nullptr) continue;
        const T dx = gain[j] * scale[j] * (g[j] - mean_g[j] - normal * mean_gx[j]);
        to[j] = io.accumulate[0] ? to[j] + dx : dx;
      }
    }
  }

  void UpdateBuffers(const double* totals, int64_t batch_size, T* buffers) const override {
    const double keep = options_.momentum;
    const double n = static_cast<double>(batch_size);
    for (int64_t j = 0; j < width_; ++j) {
      const double running = static_cast<double>(buffers[mean_ + j]);
      double mean, variance;
      Moments(totals, batch_size, j, running, &mean, &variance);
      if (batch_size > 1) variance *= n / (n - 1);
      buffers[mean_ + j] = static_cast<T>(keep * running + (1 - keep) * mean);
      buffers[variance_ + j] =
          static_cast<T>(keep * static_cast<double>(buffers[variance_ + j]) + (1 - keep) * variance);
    }
  }

 private:
  void Moments(const double* totals, int64_t batch_size, int64_t j, double shift, double* mean,
               double* variance) const {
    const double n = static_cast<double>(batch_size);
    const double d = totals[j] / n;
    *mean = shift + d;
    *variance = std::fmax(0.0, totals[width_ + j] / n - d * d);
  }

  int64_t width_, gain_, bias_, mean_, variance_;
  BatchNormOptions options_;
};

template <class T>
Result<std::unique_ptr<Block<T>>> Make(const BlockOptions& base, BuildContext& context) {
  SLUICE_ASSIGN_OR_RETURN(const int64_t width, OnlyInputWidth(context, "batch_norm"));
  ParamRegistry& params = *context.params;
  const int64_t gain = params.trained.Add(context.name + "/gain", {width}, Init::kOne);
  const int64_t bias = params.trained.Add(context.name + "/bias", {width}, Init::kZero);
  const int64_t mean = params.buffers.Add(context.name + "/running_mean", {width}, Init::kZero);
  const int64_t variance = params.buffers.Add(context.name + "/running_variance", {width}, Init::kOne);
  return std::unique_ptr<Block<T>>(
      new BatchNorm<T>(width, gain, bias, mean, variance, static_cast<const BatchNormOptions&>(base)));
}

}  // namespace

BlockType BatchNormType() {
  return {.type = "batch_norm",
          .text = "Batch normalisation with a trained gain and bias per column.",
          .make_options = [] { return std::make_shared<BatchNormOptions>(); },
          .make_f32 = Make<float>,
          .make_f64 = Make<double>};
}

}  // namespace sluice::nn
