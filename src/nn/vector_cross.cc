#include "nn/vector_cross.h"

#include <algorithm>

#include "nn/builtin_blocks.h"
#include "nn/gemm.h"

namespace sluice::nn {

template <class T>
void VectorCrossConstants<T>::Fill(const VectorCrossShape& shape, const T* params) const {
  const T* weight = params + shape.weight;
  std::fill(beta.row(0), beta.row(0) + shape.width, T(0));
  for (int64_t l = 0; l < shape.layers; ++l) {
    const T* bias = params + shape.bias + l * shape.width;
    T sum = 0;
    for (int64_t j = 0; j < shape.width; ++j) {
      sum += beta.row(l)[j] * weight[j * shape.layers + l];
      beta.row(l + 1)[j] = beta.row(l)[j] + bias[j];
    }
    c[l] = sum;
  }
}

template <class T>
T CrossForward(int64_t layers, const T* p, const T* c, T* alpha) {
  alpha[0] = T(1);
  for (int64_t l = 0; l < layers; ++l) alpha[l + 1] = alpha[l] * (T(1) + p[l]) + c[l];
  return alpha[layers];
}

template <class T>
void CrossBackward(int64_t layers, const T* p, const T* alpha, T top_grad, T* dp, T* dc) {
  T grad = top_grad;  // of alpha_{l+1}
  for (int64_t l = layers; l-- > 0;) {
    dp[l] = grad * alpha[l];
    dc[l] += grad;
    grad *= T(1) + p[l];
  }
}

template <class T>
void AddConstantGradients(const VectorCrossShape& shape, const VectorCrossConstants<const T>& constants,
                          const T* params, const T* dc, T* beta_grad, T* param_grads) {
  const T* weight = params + shape.weight;
  T* weight_grad = param_grads + shape.weight;
  for (int64_t l = shape.layers; l-- > 0;) {
    // beta_grad is that of beta_{l+1} = beta_l + b_l; c_l = beta_l . w_l.
    T* bias_grad = param_grads + shape.bias + l * shape.width;
    for (int64_t j = 0; j < shape.width; ++j) {
      bias_grad[j] += beta_grad[j];
      weight_grad[j * shape.layers + l] += dc[l] * constants.beta.row(l)[j];
      beta_grad[j] += dc[l] * weight[j * shape.layers + l];
    }
  }
}

namespace {

struct VectorCrossOptions : BlockOptions {
  int64_t layers = 3;

  void Visit(config::Visitor& v) override {
    v.Field("layers", layers, {.text = "Number of cross layers.", .min = 1, .max = 64});
  }
  std::shared_ptr<BlockOptions> Clone() const override { return std::make_shared<VectorCrossOptions>(*this); }
};

// What both forms of the block keep: constants as prepared, and per piece p, alpha, dp [n, L or L + 1] and sums over
// it.
template <class T>
class CrossBase : public Block<T> {
 public:
  explicit CrossBase(const VectorCrossShape& shape) : shape_(shape) {}

 protected:
  using Constants = VectorCrossConstants<T>;

  // Prepared memory is written through Prepare only.
  VectorCrossConstants<const T> ConstantsOf(const BlockIo<T>& io) const {
    StateCarver carver(const_cast<std::byte*>(io.shared));
    const Constants constants = Constants::Take(shape_, &carver);
    return {constants.beta, constants.c};
  }

  VectorCrossShape shape_;
};

// x_L = alpha_L x_0 + beta_L.
// Cost         2 d L products per sample forward and two passes over x_0; twice that backward.
template <class T>
class VectorCross final : public CrossBase<T> {
 public:
  using CrossBase<T>::CrossBase;
  const VectorCrossShape& shape() const { return shape_; }

  int64_t output_width() const override { return shape_.width; }
  size_t state_size(int64_t rows) const override { return Carve(nullptr, rows).size; }
  size_t shared_size() const override { return VectorCrossConstants<T>::Bytes(shape_); }
  int num_prepare_tasks() const override { return 1; }
  void Prepare(int, const T* params, bool, std::byte* shared) const override {
    StateCarver carver(shared);
    VectorCrossConstants<T>::Take(shape_, &carver).Fill(shape_, params);
  }
  typename Block<T>::Flops flops() const override {
    const double products = 2.0 * static_cast<double>(shape_.width) * static_cast<double>(shape_.layers);
    return {.forward = products, .backward = products, .input_backward = products};
  }

  void Forward(BlockIo<T>& io) const override {
    const State s = Carve(io.state, io.out.rows);
    const auto constants = this->ConstantsOf(io);
    Gemm<T>(io.in[0], Weight(io), s.p);
    const T* beta = constants.beta.row(shape_.layers);
    for (int64_t i = 0; i < io.out.rows; ++i) {
      const T alpha = CrossForward<T>(shape_.layers, s.p.row(i), constants.c, s.alpha.row(i));
      const T* x = io.in[0].row(i);
      T* out = io.out.row(i);
      for (int64_t j = 0; j < shape_.width; ++j) out[j] = alpha * x[j] + beta[j];
    }
  }

  void Backward(BlockIo<T>& io) const override {
    const State s = Carve(io.state, io.out_grad.rows);
    const auto constants = this->ConstantsOf(io);
    std::fill(s.dc, s.dc + shape_.layers, T(0));
    std::fill(s.beta_grad, s.beta_grad + shape_.width, T(0));
    for (int64_t i = 0; i < io.out_grad.rows; ++i) {
      const T* g = io.out_grad.row(i);
      const T* x = io.in[0].row(i);
      T dot = 0;
      for (int64_t j = 0; j < shape_.width; ++j) {
        dot += g[j] * x[j];
        s.beta_grad[j] += g[j];
      }
      CrossBackward<T>(shape_.layers, s.p.row(i), s.alpha.row(i), dot, s.dp.row(i), s.dc);
    }
    const Matrix<T> weight_grad{io.param_grads + shape_.weight, shape_.width, shape_.layers, shape_.layers};
    Gemm<T>(io.in[0], s.dp, weight_grad, {.transpose_a = true, .accumulate = true});
    AddConstantGradients<T>(shape_, constants, io.params, s.dc, s.beta_grad, io.param_grads);
    if (io.in_grad[0].empty()) return;
    WriteGrad(io.in_grad[0], io.accumulate[0],
              [&](int64_t i, int64_t j) { return s.alpha.row(i)[shape_.layers] * io.out_grad.row(i)[j]; });
    Gemm<T>(s.dp, Weight(io), io.in_grad[0], {.transpose_b = true, .accumulate = true});
  }

 private:
  using CrossBase<T>::shape_;

  struct State {
    Matrix<T> p, alpha, dp;
    T *dc = nullptr, *beta_grad = nullptr;
    size_t size = 0;
  };
  State Carve(std::byte* memory, int64_t rows) const {
    StateCarver carver(memory);
    State s;
    s.p = carver.TakeMatrix<T>(rows, shape_.layers);
    s.alpha = carver.TakeMatrix<T>(rows, shape_.layers + 1);
    s.dp = carver.TakeMatrix<T>(rows, shape_.layers);
    s.dc = carver.Take<T>(shape_.layers);
    s.beta_grad = carver.Take<T>(shape_.width);
    s.size = carver.size();
    return s;
  }
  Matrix<const T> Weight(const BlockIo<T>& io) const {
    return {io.params + shape_.weight, shape_.width, shape_.layers, shape_.layers};
  }
};

// z = x_L W = alpha_L (x_0 W) + beta_L W, from u = x_0 [w | W].
template <class T>
class ProductCross final : public CrossBase<T> {
 public:
  ProductCross(const VectorCrossShape& shape, int64_t next_weight, int64_t outputs, std::vector<CrossPart> parts)
      : CrossBase<T>(shape), next_weight_(next_weight), outputs_(outputs), parts_(std::move(parts)) {}

  int64_t output_width() const override { return outputs_; }
  size_t state_size(int64_t rows) const override { return Carve(nullptr, rows).size; }
  size_t shared_size() const override {
    return (VectorCrossConstants<T>::Bytes(shape_) + 63) / 64 * 64 + OutputBytes();
  }
  int num_prepare_tasks() const override { return 1; }
  void Prepare(int, const T* params, bool, std::byte* shared) const override {
    StateCarver carver(shared);
    const auto constants = VectorCrossConstants<T>::Take(shape_, &carver);
    constants.Fill(shape_, params);
    T* offset = carver.Take<T>(outputs_);
    const T* beta = constants.beta.row(shape_.layers);
    std::fill(offset, offset + outputs_, T(0));
    for (int64_t j = 0; j < shape_.width; ++j)
      for (int64_t o = 0; o < outputs_; ++o) offset[o] += beta[j] * params[next_weight_ + j * outputs_ + o];
  }
  typename Block<T>::Flops flops() const override {
    double width = 0;
    for (const CrossPart& part : parts_)
      if (!part.is_product) width += static_cast<double>(part.width);
    const double products = 2.0 * width * static_cast<double>(shape_.layers + outputs_);
    return {.forward = products, .backward = products, .input_backward = products};
  }

  void Forward(BlockIo<T>& io) const override {
    const State s = Carve(io.state, io.out.rows);
    const auto constants = this->ConstantsOf(io);
    bool first = true;
    for (size_t p = 0; p < parts_.size(); ++p, first = false) {
      const Matrix<const T>& in = io.in[p];
      if (!parts_[p].is_product) {
        Gemm<T>(in, CrossRows(io.params, parts_[p]), s.p(), {.accumulate = !first});
        Gemm<T>(in, NextRows(io.params, parts_[p]), s.o(), {.accumulate = !first});
      } else {
        WriteGrad(s.u, !first, [&](int64_t i, int64_t j) { return in.row(i)[j]; });
      }
    }
    const T* offset = Offset(io);
    for (int64_t i = 0; i < io.out.rows; ++i) {
      const T alpha = CrossForward<T>(shape_.layers, s.p().row(i), constants.c, s.alpha.row(i));
      for (int64_t o = 0; o < outputs_; ++o) io.out.row(i)[o] = alpha * s.o().row(i)[o] + offset[o];
    }
  }

  void Backward(BlockIo<T>& io) const override {
    const State s = Carve(io.state, io.out_grad.rows);
    const auto constants = this->ConstantsOf(io);
    std::fill(s.dc, s.dc + shape_.layers, T(0));
    std::fill(s.offset_grad, s.offset_grad + outputs_, T(0));
    const Matrix<T> dp = s.Layers(s.du), d_out = s.Outputs(s.du);
    for (int64_t i = 0; i < io.out_grad.rows; ++i) {
      const T* g = io.out_grad.row(i);
      const T alpha = s.alpha.row(i)[shape_.layers];
      T dot = 0;
      for (int64_t o = 0; o < outputs_; ++o) {
        dot += g[o] * s.o().row(i)[o];
        s.offset_grad[o] += g[o];
        d_out.row(i)[o] = alpha * g[o];
      }
      CrossBackward<T>(shape_.layers, s.p().row(i), s.alpha.row(i), dot, dp.row(i), s.dc);
    }
    AddParameterGradients(io, s, constants);
    for (size_t p = 0; p < parts_.size(); ++p) {
      const CrossPart& part = parts_[p];
      if (!part.is_product) {
        Gemm<T>(io.in[p], dp, CrossRows(io.param_grads, part), {.transpose_a = true, .accumulate = true});
        Gemm<T>(io.in[p], d_out, NextRows(io.param_grads, part), {.transpose_a = true, .accumulate = true});
        if (io.in_grad[p].empty()) continue;
        Gemm<T>(dp, CrossRows(io.params, part), io.in_grad[p],
                {.transpose_b = true, .accumulate = static_cast<bool>(io.accumulate[p])});
        Gemm<T>(d_out, NextRows(io.params, part), io.in_grad[p], {.transpose_b = true, .accumulate = true});
      } else {
        WriteGrad(io.in_grad[p], io.accumulate[p], [&](int64_t i, int64_t j) { return s.du.row(i)[j]; });
      }
    }
  }

 private:
  using CrossBase<T>::shape_;

  struct State {
    int64_t layers = 0;
    Matrix<T> u, du, alpha;  // u = [p | x_0 W]
    T *dc = nullptr, *beta_grad = nullptr, *offset_grad = nullptr;
    size_t size = 0;
    Matrix<T> Layers(Matrix<T> m) const { return {m.data, m.rows, layers, m.ld}; }
    Matrix<T> Outputs(Matrix<T> m) const { return {m.data + layers, m.rows, m.cols - layers, m.ld}; }
    Matrix<T> p() const { return Layers(u); }
    Matrix<T> o() const { return Outputs(u); }
  };
  State Carve(std::byte* memory, int64_t rows) const {
    StateCarver carver(memory);
    State s;
    s.layers = shape_.layers;
    s.u = carver.TakeMatrix<T>(rows, shape_.layers + outputs_);
    s.du = carver.TakeMatrix<T>(rows, shape_.layers + outputs_);
    s.alpha = carver.TakeMatrix<T>(rows, shape_.layers + 1);
    s.dc = carver.Take<T>(shape_.layers);
    s.beta_grad = carver.Take<T>(shape_.width);
    s.offset_grad = carver.Take<T>(outputs_);
    s.size = carver.size();
    return s;
  }

  size_t OutputBytes() const { return static_cast<size_t>(outputs_) * sizeof(T); }
  const T* Offset(const BlockIo<T>& io) const {
    StateCarver carver(const_cast<std::byte*>(io.shared));
    VectorCrossConstants<T>::Take(shape_, &carver);
    return carver.Take<T>(outputs_);
  }
  // Rows of [w | W] that a part of x_0 meets; P: T or const T.
  template <class P>
  Matrix<P> CrossRows(P* params, const CrossPart& part) const {
    return {params + shape_.weight + part.row * shape_.layers, part.width, shape_.layers, shape_.layers};
  }
  template <class P>
  Matrix<P> NextRows(P* params, const CrossPart& part) const {
    return {params + next_weight_ + part.row * outputs_, part.width, outputs_, outputs_};
  }

  // What comes through c, beta and beta_L W.
  void AddParameterGradients(BlockIo<T>& io, const State& s, const VectorCrossConstants<const T>& constants) const {
    const T* beta = constants.beta.row(shape_.layers);
    for (int64_t j = 0; j < shape_.width; ++j) {
      T sum = 0;
      for (int64_t o = 0; o < outputs_; ++o) {
        sum += io.params[next_weight_ + j * outputs_ + o] * s.offset_grad[o];
        io.param_grads[next_weight_ + j * outputs_ + o] += beta[j] * s.offset_grad[o];
      }
      s.beta_grad[j] = sum;
    }
    AddConstantGradients<T>(shape_, constants, io.params, s.dc, s.beta_grad, io.param_grads);
  }

  int64_t next_weight_, outputs_;
  std::vector<CrossPart> parts_;
};

template <class T>
Result<std::unique_ptr<Block<T>>> Make(const BlockOptions& base, BuildContext& context) {
  const auto& options = static_cast<const VectorCrossOptions&>(base);
  SLUICE_ASSIGN_OR_RETURN(const int64_t width, OnlyInputWidth(context, "vector_cross"));
  VectorCrossShape shape{.width = width, .layers = options.layers};
  ParamLayout& params = context.params->trained;
  shape.weight = params.Add(context.name + "/weight", {shape.width, shape.layers}, Init::kXavierUniform);
  shape.bias = params.Add(context.name + "/bias", {shape.layers, shape.width}, Init::kZero);
  return std::unique_ptr<Block<T>>(new VectorCross<T>(shape));
}

}  // namespace

template <class T>
const VectorCrossShape* VectorCrossShapeOf(const Block<T>& block) {
  const auto* cross = dynamic_cast<const VectorCross<T>*>(&block);
  return cross != nullptr ? &cross->shape() : nullptr;
}

template <class T>
std::unique_ptr<Block<T>> MakeProductCross(const VectorCrossShape& shape, int64_t next_weight, int64_t outputs,
                                           std::vector<CrossPart> parts) {
  return std::make_unique<ProductCross<T>>(shape, next_weight, outputs, std::move(parts));
}

template const VectorCrossShape* VectorCrossShapeOf<float>(const Block<float>&);
template const VectorCrossShape* VectorCrossShapeOf<double>(const Block<double>&);
template std::unique_ptr<Block<float>> MakeProductCross<float>(const VectorCrossShape&, int64_t, int64_t,
                                                               std::vector<CrossPart>);
template std::unique_ptr<Block<double>> MakeProductCross<double>(const VectorCrossShape&, int64_t, int64_t,
                                                                 std::vector<CrossPart>);

BlockType VectorCrossType() {
  return {.type = "vector_cross",
          .text = "Cross network with weight vectors (DCN).",
          .make_options = [] { return std::make_shared<VectorCrossOptions>(); },
          .make_f32 = Make<float>,
          .make_f64 = Make<double>};
}

}  // namespace sluice::nn
