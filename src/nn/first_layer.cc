#include "nn/first_layer.h"

#include <utility>

#include "base/hash.h"
#include "nn/gemm.h"
#include "nn/matrix_ops.h"

namespace sluice::nn {
namespace {

template <class T>
class FirstLayerBlock final : public Block<T> {
 public:
  FirstLayerBlock(const FirstLayer& layer, std::vector<LayerPart> parts) : layer_(layer), parts_(std::move(parts)) {}

  int64_t output_width() const override { return layer_.outputs; }
  size_t state_size(int64_t rows) const override { return Carve(nullptr, rows).size; }
  typename Block<T>::Flops flops() const override {
    double products = 0;
    for (const LayerPart& part : parts_)
      if (!part.is_product) products += 2.0 * static_cast<double>(part.width) * static_cast<double>(layer_.outputs);
    return {.forward = products, .backward = products, .input_backward = products};
  }

  void Forward(BlockIo<T>& io) const override {
    const State s = Carve(io.state, io.out.rows);
    bool first = true;
    for (size_t p = 0; p < parts_.size(); ++p, first = false) {
      const Matrix<const T>& in = io.in[p];
      if (parts_[p].is_product)
        WriteGrad(s.z, !first, [&](int64_t i, int64_t j) { return in.row(i)[j]; });
      else
        Gemm<T>(in, Rows(io.params, parts_[p]), s.z, {.accumulate = !first});
    }
    const T* bias = io.params + layer_.bias;
    for (int64_t i = 0; i < s.z.rows; ++i)
      for (int64_t j = 0; j < s.z.cols; ++j) s.z.row(i)[j] += bias[j];
    const bool dropout = layer_.dropout > 0 && io.step->training;
    const Matrix<T> y = dropout ? s.y : io.out;
    if (layer_.activation == Activation::kNone)
      CopyMatrix<T>(s.z, y);
    else
      ActivationForward<T>(layer_.activation, s.z, y);
    if (dropout) Dropout<T>(layer_.dropout, DropoutKey(io), FirstSample(io), y, io.out);
  }

  void Backward(BlockIo<T>& io) const override {
    const State s = Carve(io.state, io.out_grad.rows);
    Matrix<const T> dy = io.out_grad;
    Matrix<const T> y = io.out;
    if (layer_.dropout > 0) {
      Dropout<T>(layer_.dropout, DropoutKey(io), FirstSample(io), dy, s.dz);
      dy = s.dz;
      y = s.y;
    }
    ActivationBackward<T>(layer_.activation, NeedsPreActivation(layer_.activation) ? Matrix<const T>(s.z) : y, dy, T(1),
                          s.dz, io.param_grads + layer_.bias);
    for (size_t p = 0; p < parts_.size(); ++p) {
      if (parts_[p].is_product) {
        WriteGrad(io.in_grad[p], io.accumulate[p], [&](int64_t i, int64_t j) { return s.dz.row(i)[j]; });
        continue;
      }
      Gemm<T>(io.in[p], s.dz, Rows(io.param_grads, parts_[p]), {.transpose_a = true, .accumulate = true});
      if (io.in_grad[p].empty()) continue;
      Gemm<T>(s.dz, Rows(io.params, parts_[p]), io.in_grad[p],
              {.transpose_b = true, .accumulate = static_cast<bool>(io.accumulate[p])});
    }
  }

 private:
  struct State {
    Matrix<T> z, dz, y;  // y before dropout, where there is any
    size_t size = 0;
  };
  State Carve(std::byte* memory, int64_t rows) const {
    StateCarver carver(memory);
    State s;
    s.z = carver.TakeMatrix<T>(rows, layer_.outputs);
    s.dz = carver.TakeMatrix<T>(rows, layer_.outputs);
    if (layer_.dropout > 0) s.y = carver.TakeMatrix<T>(rows, layer_.outputs);
    s.size = carver.size();
    return s;
  }
  template <class P>
  Matrix<P> Rows(P* params, const LayerPart& part) const {
    return {params + layer_.weight + part.row * layer_.outputs, part.width, layer_.outputs, layer_.outputs};
  }
  uint64_t DropoutKey(const BlockIo<T>& io) const { return MixPair(io.step->seed, layer_.dropout_stream); }
  static int64_t FirstSample(const BlockIo<T>& io) { return io.step->first_sample + io.samples.begin; }

  FirstLayer layer_;
  std::vector<LayerPart> parts_;
};

}  // namespace

template <class T>
std::unique_ptr<Block<T>> MakeFirstLayer(const FirstLayer& layer, std::vector<LayerPart> parts) {
  return std::make_unique<FirstLayerBlock<T>>(layer, std::move(parts));
}

template std::unique_ptr<Block<float>> MakeFirstLayer<float>(const FirstLayer&, std::vector<LayerPart>);
template std::unique_ptr<Block<double>> MakeFirstLayer<double>(const FirstLayer&, std::vector<LayerPart>);

}  // namespace sluice::nn
