#include "nn/builtin_blocks.h"
#include "nn/interaction_kernels.h"
#include "nn/matrix_ops.h"

namespace sluice::nn {
namespace {

struct DotInteractionOptions : BlockOptions {
  int64_t dim = 16;
  bool keep_first = true;

  void Visit(config::Visitor& v) override {
    v.Field("dim", dim, {.text = "Width of a vector; inputs are as many vectors as fit their widths.", .min = 1});
    v.Field("keep_first", keep_first, {.text = "Put the first input in front of the products."});
  }
  std::shared_ptr<BlockOptions> Clone() const override { return std::make_shared<DotInteractionOptions>(*this); }
};

// Dot products of all pairs of vectors in one or two inputs. Source: DLRM (Naumov et al. 2019), section 2.1.
// Shapes       vectors x_0 .. x_{m-1}, the first input's before the second's; out = [first input where kept |
//              <x_v, x_u> for v = 1 .. m-1, u = 0 .. v-1].
// Cost         m (m - 1) / 2 * dim products forward, twice that backward.
template <class T>
class DotInteraction final : public Block<T> {
 public:
  DotInteraction(int64_t dim, std::vector<int64_t> widths, bool keep_first)
      : dim_(dim), widths_(std::move(widths)), kept_(keep_first ? widths_[0] : 0) {}

  int64_t num_vectors() const { return SumOfWidths(widths_) / dim_; }
  int64_t output_width() const override { return kept_ + num_vectors() * (num_vectors() - 1) / 2; }
  size_t state_size(int64_t) const override {
    return static_cast<size_t>(InteractionScratch(num_vectors(), dim_)) * sizeof(T) +
           static_cast<size_t>(num_vectors() + 8) * sizeof(T*);
  }

  void Forward(BlockIo<T>& io) const override {
    if (kept_ > 0) CopyMatrix(io.in[0], Matrix<T>{io.out.data, io.out.rows, kept_, io.out.ld});
    SLUICE_DISPATCH(DotPairs<T>)(Edges(io.in), io.out.data + kept_, io.out.ld, Scratch(io), Pointers(io));
  }

  void Backward(BlockIo<T>& io) const override {
    VectorEdges<T> grad{.width = dim_, .rows = io.out_grad.rows};
    grad.first = {io.in_grad[0].data, io.in_grad[0].ld, widths_[0] / dim_, io.accumulate[0] != 0};
    if (widths_.size() > 1)
      grad.second = {io.in_grad[1].data, io.in_grad[1].ld, widths_[1] / dim_, io.accumulate[1] != 0};
    SLUICE_DISPATCH(DotPairsGrad<T>)
    (Edges(io.in), io.out_grad.data + kept_, io.out_grad.ld, grad, Scratch(io), Pointers(io));
    if (kept_ > 0) WriteGrad(io.in_grad[0], true, [&](int64_t i, int64_t j) { return io.out_grad.row(i)[j]; });
  }

 private:
  VectorEdges<const T> Edges(const std::vector<Matrix<const T>>& in) const {
    VectorEdges<const T> edges{.width = dim_, .rows = in[0].rows};
    edges.first = {in[0].data, in[0].ld, widths_[0] / dim_};
    if (widths_.size() > 1) edges.second = {in[1].data, in[1].ld, widths_[1] / dim_};
    return edges;
  }
  T* Scratch(const BlockIo<T>& io) const { return reinterpret_cast<T*>(io.state); }
  const T** Pointers(const BlockIo<T>& io) const {
    return reinterpret_cast<const T**>(Scratch(io) + InteractionScratch(num_vectors(), dim_));
  }

  int64_t dim_;
  std::vector<int64_t> widths_;
  int64_t kept_;
};

template <class T>
Result<std::unique_ptr<Block<T>>> Make(const BlockOptions& base, BuildContext& context) {
  const auto& options = static_cast<const DotInteractionOptions&>(base);
  const auto& widths = context.input_widths;
  if (widths.empty() || widths.size() > 2)
    return InvalidArgument("model block `{}` (dot_interaction) takes one or two inputs, not {}", context.name,
                           widths.size());
  for (const int64_t width : widths)
    if (width % options.dim != 0)
      return InvalidArgument(
          "model block `{}` (dot_interaction): an input of width {} is not made of vectors of "
          "width {} (dim)",
          context.name, width, options.dim);
  if (SumOfWidths(widths) / options.dim < 2)
    return InvalidArgument("model block `{}` (dot_interaction) needs at least two vectors", context.name);
  return std::unique_ptr<Block<T>>(new DotInteraction<T>(options.dim, widths, options.keep_first));
}

}  // namespace

BlockType DotInteractionType() {
  return {.type = "dot_interaction",
          .text = "Dot products of all pairs of vectors, behind the first input (DLRM).",
          .make_options = [] { return std::make_shared<DotInteractionOptions>(); },
          .make_f32 = Make<float>,
          .make_f64 = Make<double>};
}

}  // namespace sluice::nn
