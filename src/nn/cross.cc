#include <type_traits>

#include "nn/activation.h"
#include "nn/builtin_blocks.h"
#include "nn/elementwise_kernels.h"
#include "nn/gemm.h"
#include "nn/matrix_ops.h"

namespace sluice::nn {
namespace {

struct CrossOptions : BlockOptions {
  int64_t layers = 3;
  int64_t rank = 0;

  void Visit(config::Visitor& v) override {
    v.Field("layers", layers, {.text = "Number of cross layers.", .min = 1, .max = 64});
    v.Field("rank", rank, {.text = "Rank of the layers' matrices; 0: full matrices.", .min = 0});
  }
  std::shared_ptr<BlockOptions> Clone() const override { return std::make_shared<CrossOptions>(*this); }
};

// Cross network: x_{l+1} = x_0 * (x_l W_l + b_l) + x_l, where W_l is full or, with rank r, V_l [d, r] U_l [r, d].
// Source: DCN V2 (Wang et al., WWW 2021), equations 1 and 2.
// Precision    T is the type of edges and parameters; products are of type A: T, or Bf16 with sums, x_l and u_l in
//              float.
// State        x_l, u_l = x_l W_l + b_l and, with a rank, h_l = x_l V_l of every layer; where A is not T also x_l as A.
// Cost         2 d^2 products per layer forward (4 d r with a rank), twice that backward.
struct Layer {
  int64_t weight = 0;  // W [d, d], or V [d, r]
  int64_t up = 0;      // U [r, d]
  int64_t bias = 0;
};

template <class T, class A>
class Cross final : public Block<T> {
 public:
  Cross(int64_t width, int64_t rank, std::vector<Layer> layers) : width_(width), rank_(rank), layers_(layers) {}

  // Copies of the weights as A: of each layer W, or V and then U.
  size_t shared_size() const override { return kConverts ? layers_.size() * LayerBytes() : 0; }
  int num_prepare_tasks() const override { return kConverts ? static_cast<int>(layers_.size()) : 0; }
  void Prepare(int task, const T* params, bool training, std::byte* shared) const override {
    if constexpr (kConverts) {
      const Layer& layer = layers_[static_cast<size_t>(task)];
      const int64_t inner = rank_ > 0 ? rank_ : width_;
      ConvertToBf16({params + layer.weight, width_, inner, inner}, Shared(shared, task, 0, width_, inner));
      if (rank_ > 0) ConvertToBf16({params + layer.up, rank_, width_, width_}, Shared(shared, task, 1, rank_, width_));
    }
  }

  int64_t output_width() const override { return width_; }
  size_t state_size(int64_t rows) const override { return Carve(nullptr, rows).size; }
  typename Block<T>::Flops flops() const override {
    const double products = static_cast<double>(layers_.size()) * 2 * static_cast<double>(width_) *
                            static_cast<double>(rank_ > 0 ? 2 * rank_ : width_);
    // The gradient of a layer's input is needed by the layer below, all but the lowest's.
    const double inner = products * static_cast<double>(layers_.size() - 1) / static_cast<double>(layers_.size());
    const double lowest = products / static_cast<double>(layers_.size());
    return {.forward = products,
            .backward = products + inner + (rank_ > 0 ? lowest / 2 : 0),
            .input_backward = rank_ > 0 ? lowest / 2 : lowest};
  }

  void Forward(BlockIo<T>& io) const override {
    const State s = Carve(io.state, io.out.rows);
    for (size_t l = 0; l < layers_.size(); ++l) {
      const Matrix<const T> x = Input(io, s, l);
      if constexpr (kConverts) ConvertToBf16(x, s.factor[l]);
      const Matrix<const A> factor = Factor(io, s, l);
      const GemmOptions<T> with_bias{.bias = io.params + layers_[l].bias};
      if (rank_ > 0) {
        Gemm<A>(factor, Down(io, l), s.h[l]);
        Gemm<A>(s.h[l], Up(io, l), s.u[l], with_bias);
      } else {
        Gemm<A>(factor, Down(io, l), s.u[l], with_bias);
      }
      const Matrix<T> next = l + 1 < layers_.size() ? s.x[l + 1] : io.out;
      for (int64_t i = 0; i < next.rows; ++i)
        SLUICE_DISPATCH(CrossForwardRow<T>)(io.in[0].row(i), s.u[l].row(i), x.row(i), next.row(i), width_);
    }
  }

  void Backward(BlockIo<T>& io) const override {
    const State s = Carve(io.state, io.out_grad.rows);
    const bool wants_input = !io.in_grad[0].empty();
    CopyMatrix(io.out_grad, s.g);
    for (int64_t i = 0; i < s.dx0.rows; ++i) std::fill(s.dx0.row(i), s.dx0.row(i) + width_, T(0));
    const GemmOptions<T> weight_grad{.transpose_a = true, .accumulate = true};
    const GemmOptions<T> input_grad{.transpose_b = true, .accumulate = true};
    for (size_t l = layers_.size(); l-- > 0;) {
      const Layer& layer = layers_[l];
      const Matrix<const A> factor = Factor(io, s, l);
      const bool descend = l > 0 || wants_input;
      for (int64_t i = 0; i < s.g.rows; ++i) {
        SLUICE_DISPATCH(CrossBackwardRow<T>)
        (s.g.row(i), io.in[0].row(i), s.u[l].row(i), s.du.row(i), s.dx0.row(i), width_);
        SLUICE_DISPATCH(AddRow<T>)(s.du.row(i), io.param_grads + layer.bias, width_);
      }
      const Matrix<const A> du = AsFactor(s.du, s.du_factor);
      if (rank_ > 0) {
        Gemm<A>(s.h[l], du, Gradient(io, layer.up, rank_, width_), weight_grad);
        Gemm<A>(du, Up(io, l), s.dh, {.transpose_b = true});
        Gemm<A>(factor, s.dh, Gradient(io, layer.weight, width_, rank_), weight_grad);
        if (descend) Gemm<A>(s.dh, Down(io, l), s.g, input_grad);
      } else {
        Gemm<A>(factor, du, Gradient(io, layer.weight, width_, width_), weight_grad);
        if (descend) Gemm<A>(du, Down(io, l), s.g, input_grad);
      }
    }
    WriteGrad(io.in_grad[0], io.accumulate[0], [&](int64_t i, int64_t j) { return s.g.row(i)[j] + s.dx0.row(i)[j]; });
  }

 private:
  static constexpr bool kConverts = !std::is_same_v<T, A>;

  struct State {
    std::vector<Matrix<T>> x, u;
    std::vector<Matrix<A>> h, factor;  // factor: x_l as A, where that is not T
    Matrix<T> g, du, dx0;
    Matrix<A> dh, du_factor;
    size_t size = 0;
  };

  State Carve(std::byte* memory, int64_t rows) const {
    StateCarver carver(memory);
    State s;
    for (size_t l = 0; l < layers_.size(); ++l) {
      s.x.push_back(l > 0 ? carver.TakeMatrix<T>(rows, width_) : Matrix<T>{});
      s.u.push_back(carver.TakeMatrix<T>(rows, width_));
      if (rank_ > 0) s.h.push_back(carver.TakeMatrix<A>(rows, rank_));
      if (kConverts) s.factor.push_back(carver.TakeMatrix<A>(rows, width_));
    }
    s.g = carver.TakeMatrix<T>(rows, width_);
    s.du = carver.TakeMatrix<T>(rows, width_);
    s.dx0 = carver.TakeMatrix<T>(rows, width_);
    if (rank_ > 0) s.dh = carver.TakeMatrix<A>(rows, rank_);
    if (kConverts) s.du_factor = carver.TakeMatrix<A>(rows, width_);
    s.size = carver.size();
    return s;
  }

  Matrix<const T> Input(const BlockIo<T>& io, const State& s, size_t l) const {
    return l == 0 ? io.in[0] : Matrix<const T>(s.x[l]);
  }
  Matrix<const A> Factor(const BlockIo<T>& io, const State& s, size_t l) const {
    if constexpr (kConverts)
      return s.factor[l];
    else
      return Input(io, s, l);
  }
  static Matrix<const A> AsFactor(Matrix<T> x, Matrix<A> converted) {
    if constexpr (kConverts) {
      ConvertToBf16(x, converted);
      return converted;
    } else {
      return x;
    }
  }

  size_t LayerBytes() const {
    return rank_ > 0 ? UpAt() + static_cast<size_t>(rank_ * RowStride<A>(width_)) * sizeof(A)
                     : static_cast<size_t>(width_ * RowStride<A>(width_)) * sizeof(A);
  }
  size_t UpAt() const { return static_cast<size_t>(width_ * RowStride<A>(rank_)) * sizeof(A); }
  // Weight `part` (0: W or V, 1: U) of a layer among the converted copies; Byte: std::byte or const std::byte.
  template <class Byte>
  auto Shared(Byte* shared, int64_t layer, int part, int64_t rows, int64_t cols) const {
    using Element = std::conditional_t<std::is_const_v<Byte>, const A, A>;
    Byte* at = shared + static_cast<size_t>(layer) * LayerBytes() + (part == 1 ? UpAt() : 0);
    return Matrix<Element>{reinterpret_cast<Element*>(at), rows, cols, RowStride<A>(cols)};
  }
  // W [d, d], or V [d, r].
  Matrix<const A> Down(const BlockIo<T>& io, size_t l) const {
    const int64_t inner = rank_ > 0 ? rank_ : width_;
    if constexpr (kConverts)
      return Shared(io.shared, static_cast<int64_t>(l), 0, width_, inner);
    else
      return {io.params + layers_[l].weight, width_, inner, inner};
  }
  Matrix<const A> Up(const BlockIo<T>& io, size_t l) const {
    if constexpr (kConverts)
      return Shared(io.shared, static_cast<int64_t>(l), 1, rank_, width_);
    else
      return {io.params + layers_[l].up, rank_, width_, width_};
  }
  Matrix<T> Gradient(const BlockIo<T>& io, int64_t offset, int64_t rows, int64_t cols) const {
    return {io.param_grads + offset, rows, cols, cols};
  }

  int64_t width_, rank_;
  std::vector<Layer> layers_;
};

template <class T>
Result<std::unique_ptr<Block<T>>> Make(const BlockOptions& base, BuildContext& context) {
  const auto& options = static_cast<const CrossOptions&>(base);
  SLUICE_ASSIGN_OR_RETURN(const int64_t width, OnlyInputWidth(context, "cross"));
  std::vector<Layer> layers(options.layers);
  ParamLayout& params = context.params->trained;
  for (int64_t l = 0; l < options.layers; ++l) {
    const std::string name = fmt::format("{}/layer{}", context.name, l);
    if (options.rank > 0) {
      layers[l].weight = params.Add(name + "/down", {width, options.rank}, Init::kXavierUniform);
      layers[l].up = params.Add(name + "/up", {options.rank, width}, Init::kXavierUniform);
    } else {
      layers[l].weight = params.Add(name + "/weight", {width, width}, Init::kXavierUniform);
    }
    layers[l].bias = params.Add(name + "/bias", {width}, Init::kZero);
  }
  if constexpr (std::is_same_v<T, float>) {
    if (context.precision == Precision::kBf16)
      return std::unique_ptr<Block<T>>(new Cross<float, Bf16>(width, options.rank, std::move(layers)));
  }
  return std::unique_ptr<Block<T>>(new Cross<T, T>(width, options.rank, std::move(layers)));
}

}  // namespace

BlockType CrossType() {
  return {.type = "cross",
          .text = "Cross network with full or low-rank matrices (DCN V2).",
          .make_options = [] { return std::make_shared<CrossOptions>(); },
          .make_f32 = Make<float>,
          .make_f64 = Make<double>};
}

}  // namespace sluice::nn
