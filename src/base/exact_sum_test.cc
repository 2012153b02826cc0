#include "base/exact_sum.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace sluice {
namespace {

TEST(ExactSumTest, IsTheSameInAnyOrderAndGrouping) {
  std::mt19937_64 random(7);
  std::vector<double> values;
  for (int i = 0; i < 20000; ++i)
    values.push_back(std::ldexp(static_cast<double>(random()) * 0x1p-64 - 0.3, static_cast<int>(random() % 60) - 40));
  ExactSum first;
  long double naive = 0;
  for (const double x : values) {
    first.Add(x);
    naive += x;
  }
  EXPECT_NEAR(first.Value(), static_cast<double>(naive), 1e-9 * std::abs(static_cast<double>(naive)));
  for (const int groups : {1, 3, 8}) {
    std::shuffle(values.begin(), values.end(), random);
    std::vector<ExactSum> parts(static_cast<size_t>(groups));
    for (size_t i = 0; i < values.size(); ++i) parts[i * i % parts.size()].Add(values[i]);
    for (size_t p = 1; p < parts.size(); ++p)
      for (size_t w = 0; w < parts[0].words().size(); ++w) parts[0].words()[w] += parts[p].words()[w];
    EXPECT_EQ(parts[0].Value(), first.Value()) << groups;
  }
}

TEST(ExactSumTest, LosesNothingWhereMagnitudesDiffer) {
  ExactSum sum;
  sum.Add(0x1p50);
  sum.Add(0x1p-60);
  sum.Add(-0x1p50);
  EXPECT_EQ(sum.Value(), 0x1p-60);
  EXPECT_EQ(ExactSum().Value(), 0);
}

TEST(ExactSumTest, IsNotANumberWhereAnAddendWasNone) {
  for (const double bad : {double{NAN}, double{INFINITY}, -double{INFINITY}, 0x1p62}) {
    ExactSum sum;
    sum.Add(1);
    sum.Add(bad);
    EXPECT_TRUE(std::isnan(sum.Value()));
  }
}

}  // namespace
}  // namespace sluice
