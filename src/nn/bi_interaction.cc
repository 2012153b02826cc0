#include "nn/builtin_blocks.h"
#include "nn/interaction_kernels.h"

namespace sluice::nn {
namespace {

struct BiInteractionOptions : BlockOptions {
  int64_t dim = 16;

  void Visit(config::Visitor& v) override {
    v.Field("dim", dim, {.text = "Width of a vector; the input is as many vectors as fit its width.", .min = 1});
  }
  std::shared_ptr<BlockOptions> Clone() const override { return std::make_shared<BiInteractionOptions>(*this); }
};

// Sum of the element-wise products of all pairs of vectors in its input, [dim]. Source: neural factorisation machines
// (He and Chua, SIGIR 2017), equation 4.
template <class T>
class BiInteraction final : public Block<T> {
 public:
  BiInteraction(int64_t dim, int64_t width) : dim_(dim), width_(width) {}

  int64_t output_width() const override { return dim_; }
  size_t state_size(int64_t) const override { return static_cast<size_t>(2 * dim_) * sizeof(T); }

  void Forward(BlockIo<T>& io) const override {
    SLUICE_DISPATCH(PairSum<T>)(Edges(io), io.out.data, io.out.ld, reinterpret_cast<T*>(io.state));
  }

  void Backward(BlockIo<T>& io) const override {
    const Matrix<T>& grad = io.in_grad[0];
    if (grad.empty()) return;
    SLUICE_DISPATCH(PairSumGrad<T>)
    (Edges(io), io.out_grad.data, io.out_grad.ld, {grad.data, grad.ld, width_ / dim_, io.accumulate[0] != 0},
     reinterpret_cast<T*>(io.state));
  }

 private:
  VectorEdges<const T> Edges(const BlockIo<T>& io) const {
    return {.first = {io.in[0].data, io.in[0].ld, width_ / dim_}, .second = {}, .width = dim_, .rows = io.in[0].rows};
  }

  int64_t dim_, width_;
};

template <class T>
Result<std::unique_ptr<Block<T>>> Make(const BlockOptions& base, BuildContext& context) {
  const auto& options = static_cast<const BiInteractionOptions&>(base);
  SLUICE_ASSIGN_OR_RETURN(const int64_t width, OnlyInputWidth(context, "bi_interaction"));
  if (width % options.dim != 0)
    return InvalidArgument(
        "model block `{}` (bi_interaction): its input of width {} is not made of vectors of width {} "
        "(dim)",
        context.name, width, options.dim);
  return std::unique_ptr<Block<T>>(new BiInteraction<T>(options.dim, width));
}

}  // namespace

BlockType BiInteractionType() {
  return {.type = "bi_interaction",
          .text = "Sum of the element-wise products of all pairs of vectors.",
          .make_options = [] { return std::make_shared<BiInteractionOptions>(); },
          .make_f32 = Make<float>,
          .make_f64 = Make<double>};
}

}  // namespace sluice::nn
