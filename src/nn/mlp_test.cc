#include <cmath>

#include "nn/activation.h"
#include "nn/block_test_util.h"
#include "nn/gemm.h"

namespace sluice::nn {
namespace {

using testing::BlockHarness;
using testing::CheckFloatAgainstDouble;
using testing::CheckGradients;
using testing::Value;

using Widths = std::vector<int64_t>;

double ReferenceActivation(const std::string& name, double z) {
  const double sigmoid = 1 / (1 + std::exp(-z));
  if (name == "none") return z;
  if (name == "relu") return std::fmax(z, 0.0);
  if (name == "leaky_relu") return z > 0 ? z : 0.01 * z;
  if (name == "sigmoid") return sigmoid;
  if (name == "tanh") return std::tanh(z);
  if (name == "silu") return z * sigmoid;
  if (name == "gelu") return 0.5 * z * (1 + std::tanh(std::sqrt(2 / M_PI) * (z + 0.044715 * z * z * z)));
  return std::log(1 + std::exp(z));
}

TEST(MlpTest, FollowsItsFormula) {
  for (const std::string& name : ActivationNames()) {
    BlockHarness<double> h("mlp", {5}, {{"layers", Widths{4, 3}}, {"activation", name}, {"linear_output", true}}, 7);
    h.Forward(2);
    const double* w0 = h.params.data() + h.layout().Find("block/layer0/weight")->offset;
    const double* b0 = h.params.data() + h.layout().Find("block/layer0/bias")->offset;
    const double* w1 = h.params.data() + h.layout().Find("block/layer1/weight")->offset;
    const double* b1 = h.params.data() + h.layout().Find("block/layer1/bias")->offset;
    for (int i = 0; i < 7; ++i) {
      double hidden[4];
      for (int u = 0; u < 4; ++u) {
        double z = b0[u];
        for (int j = 0; j < 5; ++j) z += h.inputs[0][i * 5 + j] * w0[j * 4 + u];
        hidden[u] = ReferenceActivation(name, z);
      }
      for (int o = 0; o < 3; ++o) {
        double sum = b1[o];
        for (int u = 0; u < 4; ++u) sum += hidden[u] * w1[u * 3 + o];
        EXPECT_NEAR(h.out[i * 3 + o], sum, 1e-13) << name;
      }
    }
  }
}

TEST(MlpTest, GradientsMatchFiniteDifferences) {
  for (const std::string& name : ActivationNames()) {
    for (const double dropout : {0.0, 0.4}) {
      for (const bool linear : {false, true}) {
        SCOPED_TRACE(fmt::format("{} dropout {} linear output {}", name, dropout, linear));
        BlockHarness<double> h(
            "mlp", {5},
            {{"layers", Widths{6, 4, 2}}, {"activation", name}, {"dropout", dropout}, {"linear_output", linear}}, 6);
        CheckGradients(h);
      }
    }
  }
}

TEST(MlpTest, FloatFollowsDouble) {
  for (const std::string& name : ActivationNames())
    CheckFloatAgainstDouble("mlp", {37}, {{"layers", Widths{64, 33, 1}}, {"activation", name}}, 50, 2e-5);
}

// Eight bits of fraction in activations, weights and gradients: errors of a few rounding steps of 2^-9 per layer.
TEST(MlpTest, Bf16FollowsFloatWithinItsRounding) {
  data::Schema schema;
  schema.labels = {"label"};
  for (const std::string& name : ActivationNames()) {
    SCOPED_TRACE(name);
    const int64_t rows = 40, width = 3, inputs = 21;
    std::vector<std::vector<float>> outs, param_grads, in_grads;
    for (const Precision precision : {Precision::kFp32, Precision::kBf16}) {
      ParamRegistry registry;
      BuildContext context{.schema = &schema,
                           .name = "m",
                           .input_widths = {inputs},
                           .precision = precision,
                           .params = &registry,
                           .request_columns = {}};
      const BlockConfig config =
          MakeBlock("m", "mlp", {}, {{"layers", Widths{48, 32, width}}, {"activation", name}, {"dropout", 0.25}});
      auto block = FindBlockType("mlp")->make_f32(*config.options, context);
      ASSERT_TRUE(block.ok());
      std::vector<float> params(static_cast<size_t>(registry.trained.size()));
      registry.trained.Initialise(3, params.data());
      std::vector<float> in(rows * inputs), out(rows * width), out_grad(rows * width), in_grad(rows * inputs);
      for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<float>(Value(4, static_cast<int64_t>(i)));
      for (size_t i = 0; i < out_grad.size(); ++i) out_grad[i] = static_cast<float>(Value(5, static_cast<int64_t>(i)));
      AlignedBuffer<std::byte> state(static_cast<int64_t>(block.value()->state_size(rows)) + 1);
      AlignedBuffer<std::byte> shared(static_cast<int64_t>(block.value()->shared_size()) + 1);
      for (int task = 0; task < block.value()->num_prepare_tasks(); ++task)
        block.value()->Prepare(task, params.data(), true, shared.data());
      std::vector<float> grads(params.size());
      StepInfo step{.batch_size = rows, .training = true, .seed = 9};
      BlockIo<float> io;
      io.in = {{in.data(), rows, inputs, inputs}};
      io.out = {out.data(), rows, width, width};
      io.in_grad = {{in_grad.data(), rows, inputs, inputs}};
      io.accumulate = {0};
      io.out_grad = {out_grad.data(), rows, width, width};
      io.params = params.data();
      io.param_grads = grads.data();
      io.state = state.data();
      io.shared = shared.data();
      io.samples = {0, rows};
      io.step = &step;
      block.value()->Forward(io);
      block.value()->Backward(io);
      outs.push_back(out);
      param_grads.push_back(grads);
      in_grads.push_back(in_grad);
    }
    const auto compare = [](const std::vector<std::vector<float>>& both, const char* what) {
      double difference = 0, norm = 0;
      for (size_t i = 0; i < both[0].size(); ++i) {
        difference += std::pow(static_cast<double>(both[0][i]) - both[1][i], 2);
        norm += std::pow(static_cast<double>(both[0][i]), 2);
      }
      EXPECT_LT(std::sqrt(difference / norm), 0.02) << what;
      EXPECT_GT(difference, 0) << what << ": bf16 was not used";
    };
    compare(outs, "out");
    compare(param_grads, "parameter gradients");
    // A unit whose sign rounding flips moves a whole column of the gradient.
    compare(in_grads, "input gradient");
  }
}

TEST(MlpTest, DropoutIsAFunctionOfSampleAndSeedAndOffInEvaluation) {
  const OptionList options = {{"layers", Widths{64}}, {"dropout", 0.5}, {"activation", std::string("none")}};
  BlockHarness<float> h("mlp", {8}, options, 30);
  const std::vector<float> one = h.Forward(1);
  const std::vector<float> in_pieces = h.Forward(4);
  for (size_t i = 0; i < one.size(); ++i) EXPECT_NEAR(in_pieces[i], one[i], one[i] == 0 ? 0 : 1e-5);
  h.step.first_sample = 30;
  EXPECT_NE(h.Forward(1), one);
  h.step.first_sample = 0;
  h.step.seed += 1;
  EXPECT_NE(h.Forward(1), one);
  h.step.training = false;
  for (const float x : h.Forward(1)) EXPECT_NE(x, 0.0f);
  int64_t dropped = 0;
  for (const float x : one) dropped += x == 0.0f ? 1 : 0;
  EXPECT_NEAR(static_cast<double>(dropped) / static_cast<double>(one.size()), 0.5, 0.06);
}

TEST(GemmTest, MatchesTheDefinitionInEveryForm) {
  const int64_t m = 19, n = 23, k = 17;
  for (const bool ta : {false, true}) {
    for (const bool tb : {false, true}) {
      std::vector<double> a(m * k), b(k * n);
      for (size_t i = 0; i < a.size(); ++i) a[i] = std::floor(8 * Value(1, static_cast<int64_t>(i)));
      for (size_t i = 0; i < b.size(); ++i) b[i] = std::floor(8 * Value(2, static_cast<int64_t>(i)));
      std::vector<double> expected(m * n, 0.0);
      for (int64_t i = 0; i < m; ++i)
        for (int64_t j = 0; j < n; ++j)
          for (int64_t p = 0; p < k; ++p)
            expected[i * n + j] += a[ta ? p * m + i : i * k + p] * b[tb ? j * k + p : p * n + j];
      const std::vector<float> af(a.begin(), a.end()), bf(b.begin(), b.end());
      std::vector<Bf16> ah(a.size()), bh(b.size());
      for (size_t i = 0; i < a.size(); ++i) ah[i] = ToBf16(af[i]);
      for (size_t i = 0; i < b.size(); ++i) bh[i] = ToBf16(bf[i]);
      std::vector<double> cd(m * n, 1.0);
      std::vector<float> cf(m * n, 1.0f), ch(m * n, 1.0f);
      const auto av = [&](const auto* x) {
        return Matrix<const std::remove_cvref_t<decltype(*x)>>{x, ta ? k : m, ta ? m : k, ta ? m : k};
      };
      const auto bv = [&](const auto* x) {
        return Matrix<const std::remove_cvref_t<decltype(*x)>>{x, tb ? n : k, tb ? k : n, tb ? k : n};
      };
      // Small integers: every sum is exact, in bf16 too.
      Gemm<double>(av(a.data()), bv(b.data()), Matrix<double>{cd.data(), m, n, n},
                   {.transpose_a = ta, .transpose_b = tb, .accumulate = true});
      Gemm<float>(av(af.data()), bv(bf.data()), Matrix<float>{cf.data(), m, n, n},
                  {.transpose_a = ta, .transpose_b = tb, .accumulate = true});
      Gemm<Bf16>(av(ah.data()), bv(bh.data()), Matrix<float>{ch.data(), m, n, n},
                 {.transpose_a = ta, .transpose_b = tb, .accumulate = true});
      std::vector<float> through(m * n, 1.0f);
      Bf16GemmThroughFloat<float>(av(ah.data()), bv(bh.data()), {through.data(), m, n, n},
                                  {.transpose_a = ta, .transpose_b = tb, .accumulate = true});
      EXPECT_EQ(through, ch);
      std::vector<Bf16> narrow(m * n), narrow_through(m * n);
      Gemm<Bf16>(av(ah.data()), bv(bh.data()), Matrix<Bf16>{narrow.data(), m, n, n},
                 {.transpose_a = ta, .transpose_b = tb, .relu = true});
      Bf16GemmThroughFloat<Bf16>(av(ah.data()), bv(bh.data()), {narrow_through.data(), m, n, n},
                                 {.transpose_a = ta, .transpose_b = tb, .relu = true});
      for (int64_t i = 0; i < m * n; ++i) ASSERT_EQ(narrow[i].bits, narrow_through[i].bits) << ta << tb << i;
      std::vector<float> bias(n), relu(m * n);
      for (int64_t j = 0; j < n; ++j) bias[j] = static_cast<float>(j - 11);
      Gemm<float>(av(af.data()), bv(bf.data()), Matrix<float>{relu.data(), m, n, n},
                  {.transpose_a = ta, .transpose_b = tb, .bias = bias.data(), .relu = true});
      for (int64_t i = 0; i < m * n; ++i) {
        ASSERT_EQ(cd[i], expected[i] + 1) << ta << tb << i;
        ASSERT_EQ(cf[i], expected[i] + 1) << ta << tb << i;
        ASSERT_EQ(ch[i], expected[i] + 1) << ta << tb << i;
        ASSERT_EQ(relu[i], std::fmax(expected[i] + bias[i % n], 0.0)) << ta << tb << i;
      }
    }
  }
}

TEST(Bf16Test, RoundsToNearestEven) {
  EXPECT_EQ(ToFloat(ToBf16(1.0f)), 1.0f);
  EXPECT_EQ(ToFloat(ToBf16(1.00390625f)), 1.0f);       // half way: to even
  EXPECT_EQ(ToFloat(ToBf16(1.01171875f)), 1.015625f);  // half way: to even, upwards
  EXPECT_EQ(ToFloat(ToBf16(-1.004f)), -1.0078125f);
  EXPECT_TRUE(std::isinf(ToFloat(ToBf16(3.4e38f))));
  EXPECT_TRUE(std::isnan(ToFloat(ToBf16(std::nanf("1")))));
}

}  // namespace
}  // namespace sluice::nn
