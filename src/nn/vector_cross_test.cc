#include "nn/vector_cross.h"

#include "nn/block_test_util.h"

namespace sluice::nn {
namespace {

using testing::BlockHarness;
using testing::CheckFloatAgainstDouble;
using testing::CheckGradients;
using testing::Value;

// DCN, equation 3, layer by layer.
std::vector<double> Naive(const std::vector<double>& x0, const BlockHarness<double>& h, int64_t layers) {
  const int64_t d = static_cast<int64_t>(x0.size());
  const double* weight = h.params.data() + h.layout().Find("block/weight")->offset;
  const double* bias = h.params.data() + h.layout().Find("block/bias")->offset;
  std::vector<double> x = x0;
  for (int64_t l = 0; l < layers; ++l) {
    double dot = 0;
    for (int64_t j = 0; j < d; ++j) dot += x[j] * weight[j * layers + l];
    for (int64_t j = 0; j < d; ++j) x[j] += x0[j] * dot + bias[l * d + j];
  }
  return x;
}

TEST(VectorCrossTest, IsThePapersRecursion) {
  const int64_t d = 6, n = 5;
  for (const int64_t layers : {1, 2, 4}) {
    BlockHarness<double> h("vector_cross", {d}, {{"layers", layers}}, n);
    h.Forward(2);
    for (int64_t i = 0; i < n; ++i) {
      const auto begin = h.inputs[0].begin() + i * d;
      const std::vector<double> expected = Naive({begin, begin + d}, h, layers);
      for (int64_t j = 0; j < d; ++j) EXPECT_NEAR(h.out[i * d + j], expected[j], 1e-12) << layers << " layers";
    }
  }
}

TEST(VectorCrossTest, GradientsMatchFiniteDifferences) {
  BlockHarness<double> h("vector_cross", {7}, {{"layers", int64_t{3}}}, 4);
  CheckGradients(h);
  CheckFloatAgainstDouble("vector_cross", {40}, {{"layers", int64_t{3}}}, 50, 2e-5);
}

TEST(VectorCrossTest, RefusesSeveralInputs) {
  data::Schema schema;
  ParamRegistry registry;
  BuildContext context;
  context.schema = &schema;
  context.name = "cross";
  context.input_widths = {3, 4};
  context.params = &registry;
  const BlockConfig config = MakeBlock("cross", "vector_cross", {});
  const auto made = FindBlockType("vector_cross")->make_f64(*config.options, context);
  ASSERT_FALSE(made.ok());
  EXPECT_NE(made.status().message().find("takes one input, not 2"), std::string::npos);
}

}  // namespace
}  // namespace sluice::nn
