#include "embedding/row_init.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/rng.h"
#include "embedding/row_init_kernels.h"

namespace sluice::embedding {
namespace {

TEST(RowInitTest, NormalColumnsEqualTheScalarGenerator) {
  const RowInit init = RowInit::Make({.kind = "normal", .scale = 0.5}, 37, {}, 11).value();
  for (Key key = 0; key < 200; ++key) {
    double weights[37];
    init.Fill(key, weights);
    const CounterRng rng(11, key);
    for (uint64_t c = 0; c < 37; ++c) EXPECT_NEAR(weights[c], 0.5 * rng.Normal(c), 1e-7) << key << " " << c;
  }
}

TEST(RowInitTest, MomentsAreThoseOfTheDistribution) {
  constexpr int64_t kDim = 64, kRows = 20000;
  for (const std::string kind : {"normal", "uniform"}) {
    const RowInit init = RowInit::Make({.kind = kind, .scale = 2.0}, kDim, {}, 3).value();
    double sum = 0, squares = 0, largest = 0;
    float weights[kDim];
    for (Key key = 0; key < kRows; ++key) {
      init.Fill(key, weights);
      for (const float w : weights) {
        sum += w;
        squares += double{w} * w;
        largest = std::max(largest, std::abs(double{w}));
      }
    }
    const double n = kDim * kRows;
    const double variance = kind == "normal" ? 4.0 : 4.0 / 3;
    EXPECT_NEAR(sum / n, 0, 6 * std::sqrt(variance / n)) << kind;
    EXPECT_NEAR(squares / n, variance, 0.02) << kind;
    if (kind == "uniform") {
      EXPECT_LE(largest, 2.0);
    } else {
      EXPECT_GT(largest, 8.0);   // tails are there: 1.3 million draws
    }
  }
}

TEST(RowInitTest, InstructionSetsGiveTheSameBits) {
  double plain[67], best[67];
  float plain_f[67], best_f[67];
  for (uint64_t key = 1; key < 500; ++key) {
    plain::FillNormalKernel<double>(key, 0, 67, 0.1, plain);
    SLUICE_DISPATCH(FillNormalKernel<double>)(key, 0, 67, 0.1, best);
    ASSERT_EQ(std::memcmp(plain, best, sizeof(plain)), 0);
    plain::FillUniformKernel<float>(key, 0, 67, 0.1, plain_f);
    SLUICE_DISPATCH(FillUniformKernel<float>)(key, 0, 67, 0.1, best_f);
    ASSERT_EQ(std::memcmp(plain_f, best_f, sizeof(plain_f)), 0);
  }
}

TEST(RowInitTest, ColumnsDependNeitherOnWidthNorOnOtherRanges) {
  const RowInit narrow = RowInit::Make({.kind = "normal", .scale = 1}, 5, {}, 9).value();
  const RowInit wide =
      RowInit::Make({.kind = "normal", .scale = 1}, 20, {{7, 9, InitKind::kZero, 0}, {0, 1, InitKind::kUniform, 3}}, 9)
          .value();
  float a[5], b[20];
  for (Key key : {Key{0}, ~Key{0}, Key{1} << 63}) {
    narrow.Fill(key, a);
    wide.Fill(key, b);
    for (int c = 1; c < 5; ++c) EXPECT_EQ(a[c], b[c]);
    EXPECT_EQ(b[7], 0);
    EXPECT_EQ(b[8], 0);
    EXPECT_NE(b[9], 0);
    EXPECT_NE(a[0], b[0]);
  }
}

TEST(RowInitTest, RefusesRangesThatOverlapOrLeaveTheRow) {
  const InitConfig config;
  for (const std::vector<ColumnInit>& columns :
       {std::vector<ColumnInit>{{0, 5, InitKind::kZero, 0}}, {{2, 2, InitKind::kZero, 0}}, {{-1, 2, InitKind::kZero, 0}},
        {{0, 2, InitKind::kZero, 0}, {1, 3, InitKind::kZero, 0}}}) {
    const auto init = RowInit::Make(config, 4, columns, 1);
    ASSERT_FALSE(init.ok());
    EXPECT_EQ(init.status().code(), StatusCode::kInvalidArgument);
  }
  EXPECT_FALSE(RowInit::Make({.kind = "gauss"}, 4, {}, 1).ok());
}

}  // namespace
}  // namespace sluice::embedding
