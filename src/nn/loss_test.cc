#include "nn/loss.h"

#include <cmath>
#include <vector>

#include <gtest/gtest.h>

namespace sluice::nn {
namespace {

TEST(LossTest, BceFollowsItsDefinition) {
  const std::vector<double> logits = {-3, -0.5, 0, 2, 700, -700};
  const std::vector<float> labels = {0, 1, 0.25f, 1, 1, 1};
  std::vector<double> grads(6);
  const LossSums sums =
      LossAndGradient<double>(LossKind::kBce, 6, 1, logits.data(), labels.data(), nullptr, 0.5, grads.data());
  double expected = 700;  // the last sample: its logit is far on the wrong side
  for (size_t i = 0; i < 4; ++i) {
    const double p = 1 / (1 + std::exp(-logits[i])), y = labels[i];
    expected -= y * std::log(p) + (1 - y) * std::log(1 - p);
    EXPECT_NEAR(grads[i], 0.5 * (p - y), 1e-15);
  }
  EXPECT_NEAR(sums.loss, expected, 1e-12);
  EXPECT_EQ(sums.weight, 6);
  EXPECT_EQ(grads[4], 0);
  EXPECT_NEAR(grads[5], -0.5, 1e-15);
}

TEST(LossTest, WeightsCountSamplesAndLabelsAddUp) {
  const std::vector<float> logits = {1, 2, 3, 4}, labels = {0, 0, 1, 1}, weights = {2, 3};
  std::vector<float> grads(4);
  const LossSums sums =
      LossAndGradient<float>(LossKind::kMse, 2, 2, logits.data(), labels.data(), weights.data(), 0.2, grads.data());
  EXPECT_DOUBLE_EQ(sums.loss, 2 * (0.5 + 2) + 3 * (2 + 4.5));
  EXPECT_DOUBLE_EQ(sums.weight, 5);
  EXPECT_FLOAT_EQ(grads[0], 0.4f);
  EXPECT_FLOAT_EQ(grads[3], 1.8f);
}

}  // namespace
}  // namespace sluice::nn
