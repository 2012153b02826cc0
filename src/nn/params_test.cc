#include "nn/params.h"

#include <cmath>
#include <vector>

#include <gtest/gtest.h>

namespace sluice::nn {
namespace {

TEST(ParamLayoutTest, PlacesAreAlignedAndPaddingStaysZero) {
  ParamLayout layout;
  EXPECT_EQ(layout.Add("a", {3, 5}, Init::kOne), 0);
  EXPECT_EQ(layout.Add("b", {17}, Init::kNormal, 0.5), 16);
  EXPECT_EQ(layout.size(), 48);
  EXPECT_EQ(layout.Find("b")->size, 17);
  EXPECT_EQ(layout.Find("c"), nullptr);
  std::vector<float> values(48, 9.0f);
  layout.Initialise(1, values.data());
  for (int i = 0; i < 15; ++i) EXPECT_EQ(values[i], 1.0f);
  EXPECT_EQ(values[15], 0.0f);
  for (int i = 33; i < 48; ++i) EXPECT_EQ(values[i], 0.0f);
}

TEST(ParamLayoutTest, ValuesDependOnSeedNameAndElementAlone) {
  ParamLayout one, two;
  one.Add("w", {40, 60}, Init::kXavierUniform);
  two.Add("other", {7}, Init::kOne);
  two.Add("w", {40, 60}, Init::kXavierUniform);
  std::vector<float> a(static_cast<size_t>(one.size())), b(static_cast<size_t>(two.size()));
  std::vector<double> d(a.size());
  one.Initialise(5, a.data());
  two.Initialise(5, b.data());
  one.Initialise(5, d.data());
  const double bound = std::sqrt(6.0 / 100);
  double largest = 0, sum = 0;
  for (size_t i = 0; i < 2400; ++i) {
    ASSERT_EQ(a[i], b[16 + i]);
    ASSERT_EQ(a[i], static_cast<float>(d[i]));
    largest = std::fmax(largest, std::fabs(d[i]));
    sum += d[i];
  }
  EXPECT_LE(largest, bound);
  EXPECT_GT(largest, 0.99 * bound);
  EXPECT_NEAR(sum / 2400, 0, 0.1 * bound);
  two.Initialise(6, b.data());
  EXPECT_NE(a[0], b[16]);
}

}  // namespace
}  // namespace sluice::nn
