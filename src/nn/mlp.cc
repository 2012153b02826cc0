#include <algorithm>
#include <type_traits>

#include "base/hash.h"
#include "nn/activation.h"
#include "nn/builtin_blocks.h"
#include "nn/first_layer.h"
#include "nn/gemm.h"

namespace sluice::nn {
namespace {

struct MlpOptions : BlockOptions {
  std::vector<int64_t> layers = {64};
  std::string activation = "relu";
  double dropout = 0.0;
  bool linear_output = false;

  void Visit(config::Visitor& v) override {
    v.Field("layers", layers, {.text = "Widths of the layers.", .min = 1});
    v.Field("activation", activation, {.text = "Activation of every layer.", .choices = ActivationNames()});
    v.Field("dropout", dropout,
            {.text = "Share of each layer's units dropped in training, after the activation.", .min = 0, .max = 0.99});
    v.Field("linear_output", linear_output, {.text = "The last layer has neither activation nor dropout."});
  }
  std::shared_ptr<BlockOptions> Clone() const override { return std::make_shared<MlpOptions>(*this); }
};

struct Layer {
  int64_t inputs = 0, outputs = 0;
  int64_t weight = 0, bias = 0;  // offsets in the flat buffer
  int64_t shared_weight = 0;     // bytes into the shared copy, bf16 only
  Activation activation = Activation::kNone;
  double dropout = 0;
  uint64_t dropout_stream = 0;

  // What backward needs is not the layer's output itself.
  bool keeps_reference() const {
    return NeedsPreActivation(activation) || (dropout > 0 && activation != Activation::kRelu);
  }
};

// Fully connected layers, one after another; T is the type of edges and parameters, A the type in which activations are
// kept and multiplied: T, or Bf16 with sums and masters in float.
// Backward     per layer one pass makes dz from dy (mask, bias gradient, conversion), then dW += x^T dz, dx = dz W^T.
template <class T, class A>
class Mlp final : public Block<T>, public HasFirstLayer<T> {
 public:
  explicit Mlp(std::vector<Layer> layers) : layers_(std::move(layers)) {
    if constexpr (!std::is_same_v<T, A>) {
      for (Layer& layer : layers_) {
        layer.shared_weight = shared_size_;
        shared_size_ += layer.inputs * RowStride<A>(layer.outputs) * static_cast<int64_t>(sizeof(A));
      }
    }
    // Per row, so that offsets of any number of rows are products.
    for (size_t l = 0; l < layers_.size(); ++l) {
      const bool last = l + 1 == layers_.size();
      const int64_t bytes = RowBytes<A>(layers_[l].outputs);
      gradient_bytes_ = std::max(gradient_bytes_, bytes);
      output_at_.push_back(row_bytes_);
      if (!last) row_bytes_ += bytes;
      reference_at_.push_back(row_bytes_);
      if (layers_[l].keeps_reference()) row_bytes_ += last ? RowBytes<T>(layers_[l].outputs) : bytes;
    }
    input_at_ = row_bytes_;
    if constexpr (!std::is_same_v<T, A>) row_bytes_ += RowBytes<A>(layers_[0].inputs);
    for (int64_t& at : gradient_at_) {
      at = row_bytes_;
      row_bytes_ += gradient_bytes_;
    }
    masked_at_ = row_bytes_;
    if (layers_.back().dropout > 0 && layers_.back().keeps_reference())
      row_bytes_ += RowBytes<T>(layers_.back().outputs);
  }

  FirstLayer first_layer() const override {
    const Layer& layer = layers_[0];
    return {layer.inputs,     layer.outputs, layer.weight,        layer.bias,
            layer.activation, layer.dropout, layer.dropout_stream};
  }
  std::unique_ptr<Block<T>> WithoutFirstLayer() const override {
    if (layers_.size() == 1) return nullptr;
    return std::make_unique<Mlp>(std::vector<Layer>(layers_.begin() + 1, layers_.end()));
  }

  int64_t output_width() const override { return layers_.back().outputs; }
  size_t state_size(int64_t rows) const override { return static_cast<size_t>(rows * row_bytes_); }

  size_t shared_size() const override { return static_cast<size_t>(shared_size_); }
  int num_prepare_tasks() const override { return std::is_same_v<T, A> ? 0 : static_cast<int>(layers_.size()); }
  void Prepare(int task, const T* params, bool training, std::byte* shared) const override {
    if constexpr (!std::is_same_v<T, A>) {
      const Layer& layer = layers_[static_cast<size_t>(task)];
      ConvertToBf16({params + layer.weight, layer.inputs, layer.outputs, layer.outputs},
                    {reinterpret_cast<A*>(shared + layer.shared_weight), layer.inputs, layer.outputs,
                     RowStride<A>(layer.outputs)});
    }
  }

  void Forward(BlockIo<T>& io) const override {
    Matrix<const A> x = Input(io);
    if constexpr (!std::is_same_v<T, A>) ConvertToBf16(io.in[0], StateView<A>(io, input_at_, layers_[0].inputs));
    for (size_t l = 0; l + 1 < layers_.size(); ++l) {
      const Matrix<A> y = StateView<A>(io, output_at_[l], layers_[l].outputs);
      ForwardLayer(io, l, x, y);
      x = y;
    }
    ForwardLayer(io, layers_.size() - 1, x, io.out);
  }

  void Backward(BlockIo<T>& io) const override {
    const size_t last = layers_.size() - 1;
    Matrix<const A> dz = LastGradient(io);
    for (size_t l = last;; --l) {
      const Layer& layer = layers_[l];
      const Matrix<const A> x = l == 0 ? Input(io) : StateView<A>(io, output_at_[l - 1], layer.inputs);
      T* weight_grad = io.param_grads + layer.weight;
      Gemm<A>(x, dz, Matrix<T>{weight_grad, layer.inputs, layer.outputs, layer.outputs},
              {.transpose_a = true, .accumulate = true});
      if (l == 0) {
        if (!io.in_grad[0].empty())
          Gemm<A>(dz, Weight(io, layer), io.in_grad[0],
                  {.transpose_b = true, .accumulate = static_cast<bool>(io.accumulate[0])});
        return;
      }
      const Matrix<A> dy = StateView<A>(io, gradient_at_[(last - l + 1) % 2], layer.inputs);
      Gemm<A>(dz, Weight(io, layer), dy, {.transpose_b = true});
      HiddenGradient(io, l - 1, dy);
      dz = dy;
    }
  }

  typename Block<T>::Flops flops() const override {
    typename Block<T>::Flops flops;
    for (size_t l = 0; l < layers_.size(); ++l) {
      const double product = 2.0 * static_cast<double>(layers_[l].inputs) * static_cast<double>(layers_[l].outputs);
      flops.forward += product;
      flops.backward += l == 0 ? product : 2 * product;
      if (l == 0) flops.input_backward = product;
    }
    return flops;
  }

 private:
  template <class E>
  static int64_t RowBytes(int64_t width) {
    return RowStride<E>(width) * static_cast<int64_t>(sizeof(E));
  }
  // The part of the state whose rows begin `at` bytes per row into it.
  template <class E>
  static Matrix<E> StateView(const BlockIo<T>& io, int64_t at, int64_t width) {
    return {reinterpret_cast<E*>(io.state + at * io.out.rows), io.out.rows, width, RowStride<E>(width)};
  }
  Matrix<const A> Input(const BlockIo<T>& io) const {
    if constexpr (std::is_same_v<T, A>) {
      return io.in[0];
    } else {
      return StateView<A>(io, input_at_, layers_[0].inputs);
    }
  }
  Matrix<const A> Weight(const BlockIo<T>& io, const Layer& layer) const {
    if constexpr (std::is_same_v<T, A>) {
      return {io.params + layer.weight, layer.inputs, layer.outputs, layer.outputs};
    } else {
      return {reinterpret_cast<const A*>(io.shared + layer.shared_weight), layer.inputs, layer.outputs,
              RowStride<A>(layer.outputs)};
    }
  }
  uint64_t DropoutKey(const BlockIo<T>& io, const Layer& layer) const {
    return MixPair(io.step->seed, layer.dropout_stream);
  }
  static int64_t FirstSample(const BlockIo<T>& io) { return io.step->first_sample + io.samples.begin; }

  // y: the layer's output, of type A, or T for the last layer.
  template <class Y>
  void ForwardLayer(const BlockIo<T>& io, size_t l, Matrix<const A> x, Matrix<Y> y) const {
    const Layer& layer = layers_[l];
    const bool relu = layer.activation == Activation::kRelu;
    const Matrix<Y> z = layer.keeps_reference() ? StateView<Y>(io, reference_at_[l], layer.outputs) : y;
    Gemm<A>(x, Weight(io, layer), z, {.bias = io.params + layer.bias, .relu = relu});
    const bool dropout = layer.dropout > 0 && io.step->training;
    if (!layer.keeps_reference() || NeedsPreActivation(layer.activation)) {
      if (!relu && layer.activation != Activation::kNone) ActivationForward<Y>(layer.activation, z, y);
      if (dropout) Dropout<Y>(layer.dropout, DropoutKey(io, layer), FirstSample(io), y, y);
      return;
    }
    // Backward needs the output before dropout.
    if (layer.activation != Activation::kNone) ActivationForward<Y>(layer.activation, z, z);
    Dropout<Y>(dropout ? layer.dropout : 0, DropoutKey(io, layer), FirstSample(io), z, y);
  }

  static T DropoutScale(const Layer& layer) {
    return layer.dropout > 0 && !layer.keeps_reference() ? T(1) / static_cast<T>(1 - layer.dropout) : T(1);
  }

  // dz of the last layer from the block's out_grad, and its bias gradient.
  Matrix<const A> LastGradient(BlockIo<T>& io) const {
    const size_t l = layers_.size() - 1;
    const Layer& layer = layers_[l];
    Matrix<const T> dy = io.out_grad;
    Matrix<const T> reference = io.out;
    if (layer.keeps_reference()) {
      reference = StateView<T>(io, reference_at_[l], layer.outputs);
      if (layer.dropout > 0) {
        const Matrix<T> masked = StateView<T>(io, masked_at_, layer.outputs);
        Dropout<T>(layer.dropout, DropoutKey(io, layer), FirstSample(io), dy, masked);
        dy = masked;
      }
    }
    const Matrix<A> dz = StateView<A>(io, gradient_at_[0], layer.outputs);
    T* bias_grad = io.param_grads + layer.bias;
    if constexpr (std::is_same_v<T, A>) {
      if (layer.activation == Activation::kNone) {
        ActivationBackward<T>(layer.activation, reference, dy, T(1), Matrix<A>{}, bias_grad);
        return dy;
      }
    }
    ActivationBackward<T>(layer.activation, reference, dy, DropoutScale(layer), dz, bias_grad);
    return dz;
  }

  // Turns dy of hidden layer l into dz in place, and adds its bias gradient.
  void HiddenGradient(BlockIo<T>& io, size_t l, Matrix<A> dy) const {
    const Layer& layer = layers_[l];
    if (layer.keeps_reference() && layer.dropout > 0)
      Dropout<A>(layer.dropout, DropoutKey(io, layer), FirstSample(io), dy, dy);
    const int64_t at = layer.keeps_reference() ? reference_at_[l] : output_at_[l];
    ActivationBackward<A>(layer.activation, StateView<A>(io, at, layer.outputs), Matrix<const A>(dy),
                          DropoutScale(layer), dy, io.param_grads + layer.bias);
  }

  std::vector<Layer> layers_;
  int64_t shared_size_ = 0;
  // Bytes per row of the state before each part.
  std::vector<int64_t> output_at_, reference_at_;
  int64_t input_at_ = 0, gradient_at_[2] = {0, 0}, masked_at_ = 0;
  int64_t gradient_bytes_ = 0;
  int64_t row_bytes_ = 0;
};

template <class T>
Result<std::unique_ptr<Block<T>>> Make(const BlockOptions& options, BuildContext& context) {
  const auto& mlp = static_cast<const MlpOptions&>(options);
  if (context.input_widths.size() != 1)
    return InvalidArgument("block '{}': mlp reads one edge, got {}; a concat block joins several", context.name,
                           context.input_widths.size());
  if (mlp.layers.empty()) return InvalidArgument("block '{}': layers is empty", context.name);
  SLUICE_ASSIGN_OR_RETURN(const Activation activation, ParseActivation(mlp.activation));
  std::vector<Layer> layers;
  for (size_t l = 0; l < mlp.layers.size(); ++l) {
    const bool linear = mlp.linear_output && l + 1 == mlp.layers.size();
    Layer layer;
    layer.inputs = l == 0 ? context.input_widths[0] : mlp.layers[l - 1];
    layer.outputs = mlp.layers[l];
    layer.activation = linear ? Activation::kNone : activation;
    layer.dropout = linear ? 0 : mlp.dropout;
    const std::string prefix = fmt::format("{}/layer{}", context.name, l);
    const bool rectified = layer.activation == Activation::kRelu || layer.activation == Activation::kLeakyRelu;
    layer.weight = context.params->trained.Add(prefix + "/weight", {layer.inputs, layer.outputs},
                                               rectified ? Init::kHeUniform : Init::kXavierUniform);
    layer.bias = context.params->trained.Add(prefix + "/bias", {layer.outputs}, Init::kZero);
    layer.dropout_stream = HashBytes(prefix);
    layers.push_back(layer);
  }
  if constexpr (std::is_same_v<T, float>) {
    if (context.precision == Precision::kBf16)
      return std::unique_ptr<Block<T>>(std::make_unique<Mlp<float, Bf16>>(std::move(layers)));
  }
  return std::unique_ptr<Block<T>>(std::make_unique<Mlp<T, T>>(std::move(layers)));
}

}  // namespace

BlockType MlpType() {
  return {.type = "mlp",
          .text = "Fully connected layers with bias, each followed by the activation and dropout.",
          .make_options = [] { return std::make_shared<MlpOptions>(); },
          .make_f32 = Make<float>,
          .make_f64 = Make<double>};
}

}  // namespace sluice::nn
