#include "nn/activation.h"

#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "nn/activation_kernels.h"

namespace sluice::nn {
namespace {

std::vector<float> Ramp() {
  std::vector<float> z;
  for (float x = -30; x < 30; x += 0.037f) z.push_back(x);
  z.push_back(-200);
  z.push_back(200);
  return z;
}

TEST(ActivationTest, FloatFollowsDouble) {
  const std::vector<float> z = Ramp();
  const auto n = static_cast<int64_t>(z.size());
  const std::vector<double> exact_z(z.begin(), z.end());
  for (const std::string& name : ActivationNames()) {
    const Activation kind = ParseActivation(name).value();
    std::vector<float> y(z.size());
    std::vector<double> exact(z.size());
    ActivationForward<float>(kind, {z.data(), 1, n, n}, {y.data(), 1, n, n});
    ActivationForward<double>(kind, {exact_z.data(), 1, n, n}, {exact.data(), 1, n, n});
    for (size_t i = 0; i < z.size(); ++i)
      ASSERT_NEAR(y[i], exact[i], 3e-7 * std::fmax(1.0, std::fabs(exact[i]))) << name << " of " << z[i];
  }
}

TEST(ActivationTest, NanStaysNan) {
  for (const std::string& name : ActivationNames()) {
    const float z = std::numeric_limits<float>::quiet_NaN();
    float y = 0;
    ActivationForward<float>(ParseActivation(name).value(), {&z, 1, 1, 1}, {&y, 1, 1, 1});
    EXPECT_TRUE(std::isnan(y)) << name;
  }
}

TEST(ActivationTest, UnknownNameIsRefused) {
  const auto result = ParseActivation("swish");
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.status().message().find("'swish'"), std::string::npos);
}

#if defined(__x86_64__)
TEST(ActivationTest, EveryInstructionSetGivesTheSameBits) {
  const std::vector<float> z = Ramp();
  const int64_t cols = 37, rows = static_cast<int64_t>(z.size()) / cols;
  for (const std::string& name : ActivationNames()) {
    const Activation kind = ParseActivation(name).value();
    const Matrix<const float> in{z.data(), rows, cols, cols};
    std::vector<std::vector<float>> results;
    const auto run = [&](auto forward, auto backward, auto dropout) {
      std::vector<float> out(static_cast<size_t>(4 * rows * cols + cols));
      const auto part = [&](int i) { return Matrix<float>{out.data() + i * rows * cols, rows, cols, cols}; };
      forward(kind, in, part(0));
      backward(kind, part(0), in, 0.7f, part(1), out.data() + 4 * rows * cols);
      dropout(0.3, 17, 5, in, part(2));
      results.push_back(out);
    };
    run(plain::ActivationForwardKernel<float>, plain::ActivationBackwardKernel<float, float, float>,
        plain::DropoutKernel<float>);
    if (BestIsa() >= Isa::kAvx2)
      run(avx2::ActivationForwardKernel<float>, avx2::ActivationBackwardKernel<float, float, float>,
          avx2::DropoutKernel<float>);
    if (BestIsa() >= Isa::kAvx512)
      run(avx512::ActivationForwardKernel<float>, avx512::ActivationBackwardKernel<float, float, float>,
          avx512::DropoutKernel<float>);
    for (const auto& result : results) EXPECT_EQ(result, results[0]) << name;
  }
}
#endif

}  // namespace
}  // namespace sluice::nn
