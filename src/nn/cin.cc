#include <algorithm>

#include "nn/builtin_blocks.h"
#include "nn/elementwise_kernels.h"
#include "nn/gemm.h"
#include "nn/matrix_ops.h"

namespace sluice::nn {
namespace {

struct CinOptions : BlockOptions {
  int64_t dim = 16;
  std::vector<int64_t> layers = {128, 128};

  void Visit(config::Visitor& v) override {
    v.Field("dim", dim, {.text = "Width of a vector; the input is as many vectors as fit its width.", .min = 1});
    v.Field("layers", layers, {.text = "Feature maps of each layer.", .min = 1});
  }
  std::shared_ptr<BlockOptions> Clone() const override { return std::make_shared<CinOptions>(*this); }
};

// Compressed interaction network: with x^0 the m input vectors of width D,
//   x^k_h = sum over i, j of W^k[i, j, h] (x^{k-1}_i * x^0_j),   out = [sum over D of x^k_h, layer after layer].
// Source: xDeepFM (Lian et al., KDD 2018), equations 6 and 8, with the identity as activation, which the paper found
// best.
// Shapes       inside, vectors stand transposed: row (sample, d) holds column d of every vector, so that a layer is one
//              product [samples * D, H_{k-1} m] x [H_{k-1} m, H_k] of outer products with the weights.
// State        x^0 and every x^k, transposed; the outer products of kTile samples at a time.
// Cost         2 D m H_{k-1} H_k products per layer and sample forward, twice that backward.
template <class T>
class Cin final : public Block<T> {
 public:
  Cin(int64_t dim, int64_t num_vectors, std::vector<int64_t> maps, std::vector<int64_t> weights)
      : dim_(dim), num_vectors_(num_vectors), maps_(std::move(maps)), weights_(std::move(weights)) {
    widest_ = num_vectors_;
    for (size_t k = 0; k + 1 < maps_.size(); ++k) widest_ = std::max(widest_, maps_[k]);
  }

  int64_t output_width() const override { return SumOfWidths(maps_); }
  size_t state_size(int64_t rows) const override { return Carve(nullptr, rows).size; }
  typename Block<T>::Flops flops() const override {
    double products = 0;
    for (size_t k = 0; k < maps_.size(); ++k)
      products += 2.0 * static_cast<double>(dim_ * num_vectors_ * Inputs(k)) * static_cast<double>(maps_[k]);
    return {.forward = products, .backward = 2 * products, .input_backward = 0};
  }

  void Forward(BlockIo<T>& io) const override {
    const State s = Carve(io.state, io.out.rows);
    const Matrix<const T>& in = io.in[0];
    for (int64_t i = 0; i < in.rows; ++i)
      for (int64_t v = 0; v < num_vectors_; ++v)
        for (int64_t d = 0; d < dim_; ++d) s.x[0].row(i * dim_ + d)[v] = in.row(i)[v * dim_ + d];
    for (size_t k = 0; k < maps_.size(); ++k) {
      for (int64_t begin = 0; begin < s.x[0].rows; begin += kTile * dim_) {
        const Range rows{begin, std::min(begin + kTile * dim_, s.x[0].rows)};
        const Matrix<T> z = OuterProducts(s, k, rows);
        Gemm<T>(z, Weight(io, k), s.x[k + 1].Rows(rows));
      }
    }
    for (int64_t i = 0; i < io.out.rows; ++i) {
      T* out = io.out.row(i);
      for (size_t k = 0; k < maps_.size(); out += maps_[k++]) {
        std::fill(out, out + maps_[k], T(0));
        for (int64_t d = 0; d < dim_; ++d) SLUICE_DISPATCH(AddRow<T>)(s.x[k + 1].row(i * dim_ + d), out, maps_[k]);
      }
    }
  }

  void Backward(BlockIo<T>& io) const override {
    const State s = Carve(io.state, io.out_grad.rows);
    const int64_t total = s.x[0].rows;
    const bool wants_input = !io.in_grad[0].empty();
    for (int64_t r = 0; r < total; ++r) std::fill(s.dx0.row(r), s.dx0.row(r) + num_vectors_, T(0));
    int64_t column = output_width();
    Matrix<T> grad = s.dx[0], below = s.dx[1];
    for (size_t k = maps_.size(); k-- > 0;) {
      column -= maps_[k];
      grad.cols = maps_[k];
      // Every x^k_h[d] adds to the pooled output; those of inner layers also feed the layer above.
      for (int64_t r = 0; r < total; ++r) {
        const T* pooled = io.out_grad.row(r / dim_) + column;
        if (k + 1 == maps_.size())
          std::copy(pooled, pooled + maps_[k], grad.row(r));
        else
          SLUICE_DISPATCH(AddRow<T>)(pooled, grad.row(r), maps_[k]);
      }
      below.cols = Inputs(k);
      for (int64_t begin = 0; begin < total; begin += kTile * dim_) {
        const Range rows{begin, std::min(begin + kTile * dim_, total)};
        const Matrix<T> z = OuterProducts(s, k, rows);
        Gemm<T>(z, grad.Rows(rows), Gradient(io, k), {.transpose_a = true, .accumulate = true});
        if (k == 0 && !wants_input) continue;
        Gemm<T>(grad.Rows(rows), Weight(io, k), z, {.transpose_b = true});  // the gradient of z
        for (int64_t r = rows.begin; r < rows.end; ++r) SLUICE_DISPATCH(OuterGradRow<T>)
        (z.row(r - rows.begin), s.x[k].row(r), Inputs(k), s.x[0].row(r), num_vectors_, below.row(r), s.dx0.row(r));
      }
      std::swap(grad, below);
    }
    // After the swap `grad` holds the gradient of x^0 as the first layer's x^{k-1}.
    WriteGrad(io.in_grad[0], io.accumulate[0], [&](int64_t i, int64_t j) {
      const int64_t r = i * dim_ + j % dim_, v = j / dim_;
      return s.dx0.row(r)[v] + grad.row(r)[v];
    });
  }

 private:
  static constexpr int64_t kTile = 8;  // samples whose outer products stand in memory at a time

  struct State {
    std::vector<Matrix<T>> x;  // [rows * D, maps]
    Matrix<T> dx[2];
    Matrix<T> dx0;
    T* outer = nullptr;
    size_t size = 0;
  };

  // Vectors that layer k reads beside x^0.
  int64_t Inputs(size_t k) const { return k == 0 ? num_vectors_ : maps_[k - 1]; }

  State Carve(std::byte* memory, int64_t samples) const {
    StateCarver carver(memory);
    State s;
    const int64_t rows = samples * dim_;
    s.x.push_back(carver.TakeMatrix<T>(rows, num_vectors_));
    for (const int64_t maps : maps_) s.x.push_back(carver.TakeMatrix<T>(rows, maps));
    const int64_t widest = std::max(widest_, maps_.back());
    for (Matrix<T>& dx : s.dx) dx = carver.TakeMatrix<T>(rows, widest);
    s.dx0 = carver.TakeMatrix<T>(rows, num_vectors_);
    s.outer = carver.Take<T>(kTile * dim_ * widest_ * num_vectors_);
    s.size = carver.size();
    return s;
  }

  Matrix<T> OuterProducts(const State& s, size_t k, Range rows) const {
    const int64_t width = Inputs(k) * num_vectors_;
    const Matrix<T> z{s.outer, rows.size(), width, width};
    for (int64_t r = rows.begin; r < rows.end; ++r) SLUICE_DISPATCH(OuterRow<T>)
    (s.x[k].row(r), Inputs(k), s.x[0].row(r), num_vectors_, z.row(r - rows.begin));
    return z;
  }

  Matrix<const T> Weight(const BlockIo<T>& io, size_t k) const {
    return {io.params + weights_[k], Inputs(k) * num_vectors_, maps_[k], maps_[k]};
  }
  Matrix<T> Gradient(const BlockIo<T>& io, size_t k) const {
    return {io.param_grads + weights_[k], Inputs(k) * num_vectors_, maps_[k], maps_[k]};
  }

  int64_t dim_, num_vectors_, widest_ = 0;
  std::vector<int64_t> maps_, weights_;
};

template <class T>
Result<std::unique_ptr<Block<T>>> Make(const BlockOptions& base, BuildContext& context) {
  const auto& options = static_cast<const CinOptions&>(base);
  SLUICE_ASSIGN_OR_RETURN(const int64_t width, OnlyInputWidth(context, "cin"));
  if (options.layers.empty()) return InvalidArgument("model block `{}` (cin): layers is empty", context.name);
  if (width % options.dim != 0)
    return InvalidArgument("model block `{}` (cin): its input of width {} is not made of vectors of width {} (dim)",
                           context.name, width, options.dim);
  const int64_t num_vectors = width / options.dim;
  std::vector<int64_t> weights;
  int64_t inputs = num_vectors;
  for (size_t k = 0; k < options.layers.size(); inputs = options.layers[k++])
    weights.push_back(context.params->trained.Add(fmt::format("{}/layer{}/weight", context.name, k),
                                                  {inputs, num_vectors, options.layers[k]}, Init::kXavierUniform));
  return std::unique_ptr<Block<T>>(new Cin<T>(options.dim, num_vectors, options.layers, std::move(weights)));
}

}  // namespace

BlockType CinType() {
  return {.type = "cin",
          .text = "Compressed interaction network over vectors (xDeepFM).",
          .make_options = [] { return std::make_shared<CinOptions>(); },
          .make_f32 = Make<float>,
          .make_f64 = Make<double>};
}

}  // namespace sluice::nn
