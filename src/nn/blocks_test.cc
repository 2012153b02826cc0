#include "nn/block_test_util.h"
#include "nn/gemm.h"

namespace sluice::nn {
namespace {

using testing::BlockHarness;
using testing::CheckFloatAgainstDouble;
using testing::CheckGradients;
using testing::Value;

TEST(ConcatTest, PutsInputsSideBySideAndSplitsTheGradient) {
  BlockHarness<double> h("concat", {3, 5, 1}, {}, 4);
  h.Forward(2);
  ASSERT_EQ(h.width(), 9);
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(h.out[i * 9 + 2], h.inputs[0][i * 3 + 2]);
    EXPECT_EQ(h.out[i * 9 + 3], h.inputs[1][i * 5]);
    EXPECT_EQ(h.out[i * 9 + 8], h.inputs[2][i]);
  }
  CheckGradients(h);
}

TEST(SumTest, AddsInputsAndCopiesTheGradient) {
  BlockHarness<double> h("sum", {3, 3, 3}, {}, 5);
  h.Forward();
  for (size_t i = 0; i < h.out.size(); ++i)
    EXPECT_DOUBLE_EQ(h.out[i], h.inputs[0][i] + h.inputs[1][i] + h.inputs[2][i]);
  CheckGradients(h);
}

TEST(DenseLinearTest, MultipliesPerLabel) {
  BlockHarness<double> h("dense_linear", {3, 2}, {}, 5, 2);
  h.Forward();
  for (int i = 0; i < 5; ++i) {
    for (int l = 0; l < 2; ++l) {
      double sum = 0;
      for (int j = 0; j < 3; ++j) sum += h.inputs[0][i * 3 + j] * h.params[h.layout().params()[0].offset + j * 2 + l];
      for (int j = 0; j < 2; ++j) sum += h.inputs[1][i * 2 + j] * h.params[h.layout().params()[1].offset + j * 2 + l];
      EXPECT_NEAR(h.out[i * 2 + l], sum, 1e-14);
    }
  }
  CheckGradients(h);
}

TEST(ActivationBlockTest, GradientsMatchFiniteDifferences) {
  for (const std::string kind : {"none", "relu", "leaky_relu", "sigmoid", "tanh", "silu", "gelu", "softplus"}) {
    SCOPED_TRACE(kind);
    BlockHarness<double> h("activation", {7}, {{"kind", kind}}, 6);
    CheckGradients(h);
  }
}

TEST(DropoutTest, KeepsTheExpectedShareAndItsOwnGradient) {
  const double rate = 0.3;
  BlockHarness<double> h("dropout", {50}, {{"rate", rate}}, 200);
  for (auto& x : h.inputs[0]) x = 1.0;
  const auto whole = h.Forward(1);
  int64_t dropped = 0;
  for (const double y : whole) {
    dropped += y == 0;
    EXPECT_TRUE(y == 0 || std::fabs(y - 1 / (1 - rate)) < 1e-4) << y;
  }
  EXPECT_NEAR(static_cast<double>(dropped) / 10000, rate, 0.02);
  EXPECT_EQ(h.Forward(7), whole) << "depends on how the batch is cut";
  h.Backward(std::vector<double>(10000, 1.0));
  EXPECT_EQ(h.in_grads[0], whole);

  h.step.first_sample = 200;
  EXPECT_NE(h.Forward(1), whole) << "the next batch drops the same units";
  h.step.training = false;
  EXPECT_EQ(h.Forward(1), h.inputs[0]);
}

TEST(DropoutTest, GradientsMatchFiniteDifferences) {
  BlockHarness<double> h("dropout", {9}, {{"rate", 0.4}}, 6);
  CheckGradients(h);
}

TEST(LayerNormTest, NormalisesEverySample) {
  BlockHarness<double> h("layer_norm", {8}, {{"epsilon", 0.0}}, 5);
  std::fill(h.params.begin(), h.params.begin() + 8, 1.0);
  std::fill(h.params.begin() + h.layout().params()[1].offset, h.params.end(), 0.0);
  h.Forward();
  for (int i = 0; i < 5; ++i) {
    double mean = 0, square = 0;
    for (int j = 0; j < 8; ++j) mean += h.out[i * 8 + j] / 8;
    for (int j = 0; j < 8; ++j) square += h.out[i * 8 + j] * h.out[i * 8 + j] / 8;
    EXPECT_NEAR(mean, 0, 1e-14);
    EXPECT_NEAR(square, 1, 1e-12);
  }
}

TEST(LayerNormTest, GradientsMatchFiniteDifferences) {
  BlockHarness<double> h("layer_norm", {6}, {}, 5);
  CheckGradients(h, 1e-6);
  CheckFloatAgainstDouble("layer_norm", {40}, {}, 20, 3e-6);
}

TEST(BatchNormTest, NormalisesOverTheWholeBatchHoweverItIsCut) {
  BlockHarness<double> h("batch_norm", {4}, {{"epsilon", 0.0}}, 30);
  std::fill(h.params.begin(), h.params.begin() + 4, 1.0);
  std::fill(h.params.begin() + h.layout().params()[1].offset, h.params.end(), 0.0);
  const auto whole = h.Forward(1);
  for (int j = 0; j < 4; ++j) {
    double mean = 0, square = 0;
    for (int i = 0; i < 30; ++i) mean += whole[i * 4 + j] / 30;
    for (int i = 0; i < 30; ++i) square += whole[i * 4 + j] * whole[i * 4 + j] / 30;
    EXPECT_NEAR(mean, 0, 1e-13);
    EXPECT_NEAR(square, 1, 1e-12);
  }
  const auto cut = h.Forward(7);
  for (size_t i = 0; i < whole.size(); ++i) EXPECT_NEAR(cut[i], whole[i], 1e-13);
}

TEST(BatchNormTest, GradientsMatchFiniteDifferences) {
  BlockHarness<double> h("batch_norm", {3}, {}, 7);
  CheckGradients(h, 1e-6);
  CheckFloatAgainstDouble("batch_norm", {10}, {}, 50, 1e-5);
}

TEST(BatchNormTest, RunningMomentsAreUsedInEvaluation) {
  BlockHarness<double> h("batch_norm", {2}, {{"momentum", 0.75}, {"epsilon", 0.0}}, 10);
  h.Forward(3);
  h.UpdateBuffers();
  double mean = 0, variance = 0;
  for (int i = 0; i < 10; ++i) mean += h.inputs[0][2 * i] / 10;
  for (int i = 0; i < 10; ++i) variance += (h.inputs[0][2 * i] - mean) * (h.inputs[0][2 * i] - mean) / 9;
  EXPECT_NEAR(h.buffers[0], 0.25 * mean, 1e-14);
  const double running = 0.75 + 0.25 * variance;
  EXPECT_NEAR(h.buffers[kParamAlignment], running, 1e-14);
  h.step.training = false;
  h.Forward(2);
  EXPECT_NEAR(h.out[0], h.params[0] * (h.inputs[0][0] - 0.25 * mean) / std::sqrt(running) + h.params[kParamAlignment],
              1e-13);
}

// <x_v, x_u> computed pair by pair.
TEST(DotInteractionTest, GivesThePairsInLowerTriangleOrder) {
  for (const std::array<int64_t, 3>& shape : std::vector<std::array<int64_t, 3>>{
           {16, 1, 26}, {128, 1, 26}, {4, 2, 0}, {10, 1, 1}, {8, 39, 0}, {3, 5, 12}, {17, 1, 8}, {16, 1, 15}}) {
    const int64_t dim = shape[0], first = shape[1], second = shape[2];
    SCOPED_TRACE(fmt::format("dim {} vectors {} + {}", dim, first, second));
    std::vector<int64_t> widths = {first * dim};
    if (second > 0) widths.push_back(second * dim);
    BlockHarness<double> h("dot_interaction", widths, {{"dim", dim}}, 5);
    h.Forward(2);
    const int64_t n = first + second;
    ASSERT_EQ(h.width(), first * dim + n * (n - 1) / 2);
    const auto vector = [&](int64_t i, int64_t v, int64_t d) {
      return v < first ? h.inputs[0][(i * first + v) * dim + d] : h.inputs[1][(i * second + v - first) * dim + d];
    };
    for (int64_t i = 0; i < 5; ++i) {
      const double* out = h.out.data() + i * h.width();
      for (int64_t d = 0; d < first * dim; ++d) ASSERT_EQ(*out++, h.inputs[0][i * first * dim + d]);
      for (int64_t v = 1; v < n; ++v) {
        for (int64_t u = 0; u < v; ++u) {
          double dot = 0;
          for (int64_t d = 0; d < dim; ++d) dot += vector(i, v, d) * vector(i, u, d);
          ASSERT_NEAR(*out++, dot, 1e-13) << v << "," << u;
        }
      }
    }
  }
}

TEST(DotInteractionTest, GradientsMatchFiniteDifferences) {
  BlockHarness<double> one("dot_interaction", {16, 16 * 9}, {{"dim", int64_t{16}}}, 2);
  CheckGradients(one);
  BlockHarness<double> two("dot_interaction", {5 * 11}, {{"dim", int64_t{5}}, {"keep_first", false}}, 3);
  CheckGradients(two);
  BlockHarness<double> three("dot_interaction", {20, 20 * 17}, {{"dim", int64_t{20}}}, 1);
  CheckGradients(three);
  CheckFloatAgainstDouble("dot_interaction", {16, 16 * 26}, {{"dim", int64_t{16}}}, 33, 1e-6);
  CheckFloatAgainstDouble("dot_interaction", {128, 128 * 26}, {{"dim", int64_t{128}}}, 5, 1e-6);
}

TEST(BiInteractionTest, IsTheSumOfAllPairs) {
  BlockHarness<double> h("bi_interaction", {6 * 5}, {{"dim", int64_t{6}}}, 3);
  h.Forward();
  for (int i = 0; i < 3; ++i) {
    for (int d = 0; d < 6; ++d) {
      double sum = 0;
      for (int v = 0; v < 5; ++v)
        for (int u = 0; u < v; ++u) sum += h.inputs[0][i * 30 + v * 6 + d] * h.inputs[0][i * 30 + u * 6 + d];
      EXPECT_NEAR(h.out[i * 6 + d], sum, 1e-13);
    }
  }
  CheckGradients(h);
  CheckFloatAgainstDouble("bi_interaction", {16 * 39}, {{"dim", int64_t{16}}}, 20, 2e-6);
}

TEST(CrossTest, FollowsItsFormula) {
  const int64_t d = 6, n = 4, layers = 2;
  BlockHarness<double> h("cross", {d}, {{"layers", layers}}, n);
  h.Forward(2);
  for (int64_t i = 0; i < n; ++i) {
    const double* x0 = h.inputs[0].data() + i * d;
    std::vector<double> x(x0, x0 + d);
    for (int64_t l = 0; l < layers; ++l) {
      const double* w = h.params.data() + h.layout().Find(fmt::format("block/layer{}/weight", l))->offset;
      const double* b = h.params.data() + h.layout().Find(fmt::format("block/layer{}/bias", l))->offset;
      std::vector<double> next(d);
      for (int64_t j = 0; j < d; ++j) {
        double u = b[j];
        for (int64_t k = 0; k < d; ++k) u += x[k] * w[k * d + j];
        next[j] = x0[j] * u + x[j];
      }
      x = next;
    }
    for (int64_t j = 0; j < d; ++j) ASSERT_NEAR(h.out[i * d + j], x[j], 1e-13);
  }
}

TEST(CrossTest, GradientsMatchFiniteDifferences) {
  BlockHarness<double> full("cross", {7}, {{"layers", int64_t{3}}}, 4);
  CheckGradients(full);
  BlockHarness<double> low("cross", {9}, {{"layers", int64_t{2}}, {"rank", int64_t{3}}}, 4);
  CheckGradients(low);
  CheckFloatAgainstDouble("cross", {40}, {{"layers", int64_t{3}}}, 50, 2e-5);
  CheckFloatAgainstDouble("cross", {40}, {{"layers", int64_t{3}}, {"rank", int64_t{8}}}, 50, 2e-5);
}

// Products of bf16 factors: 8 bits of fraction, errors of 2^-9 per factor that partly cancel in sums.
TEST(CrossTest, Bf16ProductsStayNearDouble) {
  CheckFloatAgainstDouble("cross", {40}, {{"layers", int64_t{3}}}, 50, 0.02, Precision::kBf16);
  CheckFloatAgainstDouble("cross", {40}, {{"layers", int64_t{3}}, {"rank", int64_t{8}}}, 50, 0.02, Precision::kBf16);
}

TEST(CinTest, FollowsItsFormula) {
  const int64_t dim = 3, m = 4, n = 11;
  const std::vector<int64_t> maps = {5, 2};
  BlockHarness<double> h("cin", {dim * m}, {{"dim", dim}, {"layers", maps}}, n);
  h.Forward(2);
  for (int64_t i = 0; i < n; ++i) {
    const double* x0 = h.inputs[0].data() + i * dim * m;
    std::vector<double> x(x0, x0 + dim * m);
    const double* out = h.out.data() + i * h.width();
    int64_t inputs = m;
    for (size_t k = 0; k < maps.size(); ++k) {
      const double* w = h.params.data() + h.layout().Find(fmt::format("block/layer{}/weight", k))->offset;
      std::vector<double> next(maps[k] * dim);
      for (int64_t f = 0; f < maps[k]; ++f) {
        double pooled = 0;
        for (int64_t d = 0; d < dim; ++d) {
          for (int64_t a = 0; a < inputs; ++a)
            for (int64_t b = 0; b < m; ++b)
              next[f * dim + d] += w[(a * m + b) * maps[k] + f] * x[a * dim + d] * x0[b * dim + d];
          pooled += next[f * dim + d];
        }
        ASSERT_NEAR(*out++, pooled, 1e-13);
      }
      x = next;
      inputs = maps[k];
    }
  }
}

TEST(CinTest, GradientsMatchFiniteDifferences) {
  BlockHarness<double> one("cin", {2 * 3}, {{"dim", int64_t{2}}, {"layers", std::vector<int64_t>{4}}}, 9);
  CheckGradients(one);
  BlockHarness<double> three("cin", {3 * 4}, {{"dim", int64_t{3}}, {"layers", std::vector<int64_t>{3, 5, 2}}}, 10);
  CheckGradients(three);
  CheckFloatAgainstDouble("cin", {16 * 10}, {{"dim", int64_t{16}}, {"layers", std::vector<int64_t>{20, 12}}}, 30, 2e-5);
}

TEST(BlockTypesTest, MakersRefuseInputsThatDoNotFit) {
  data::Schema schema;
  schema.labels = {"label"};
  struct Case {
    std::string type;
    std::vector<int64_t> widths;
    OptionList options;
    std::string expected;
  };
  const std::vector<Case> cases = {
      {"sum", {3, 4}, {}, "equal width"},
      {"sum", {}, {}, "needs inputs"},
      {"concat", {}, {}, "needs inputs"},
      {"cross", {3, 4}, {}, "takes one input, not 2"},
      {"cin", {15}, {{"dim", int64_t{4}}}, "width 15"},
      {"cin", {16}, {{"dim", int64_t{4}}, {"layers", std::vector<int64_t>{}}}, "layers is empty"},
      {"dot_interaction", {16, 15}, {}, "width 15"},
      {"dot_interaction", {16}, {}, "at least two vectors"},
      {"bi_interaction", {15}, {}, "width 15"},
      {"batch_norm", {1, 2}, {}, "one input"},
      {"layer_norm", {}, {}, "one input"},
      {"dropout", {}, {}, "one input"},
      {"activation", {2, 2}, {}, "one input"},
      {"dense_linear", {}, {}, "needs inputs"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.type);
    ParamRegistry registry;
    BuildContext context;
    context.schema = &schema;
    context.name = "here";
    context.input_widths = c.widths;
    context.params = &registry;
    const BlockConfig config = MakeBlock("here", c.type, {}, c.options);
    const auto made = FindBlockType(c.type)->make_f32(*config.options, context);
    ASSERT_FALSE(made.ok());
    EXPECT_EQ(made.status().code(), StatusCode::kInvalidArgument);
    EXPECT_NE(made.status().message().find("`here`"), std::string::npos) << made.status().message();
    EXPECT_NE(made.status().message().find(c.expected), std::string::npos) << made.status().message();
  }
}

TEST(BlockTypesTest, EveryTypeHasOptionsTextAndBothPrecisions) {
  for (const auto& [name, type] : BlockTypes()) {
    SCOPED_TRACE(name);
    EXPECT_EQ(type.type, name);
    EXPECT_FALSE(type.text.empty());
    ASSERT_TRUE(type.make_options);
    EXPECT_NE(type.make_options()->Clone(), nullptr);
    const bool dense = type.make_f32 && type.make_f64;
    const bool sparse = type.make_sparse_f32 && type.make_sparse_f64;
    EXPECT_NE(dense, sparse);
  }
}

}  // namespace
}  // namespace sluice::nn
