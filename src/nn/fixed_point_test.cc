// Sums in fixed point: the same in any order and by any owner, told where they are out of range, equal bits on every
// instruction set. The oracle rounds each term with ldexp and nearbyint and adds in 128 bits.
#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "nn/fixed_point.h"
#include "nn/sparse_fixed_kernels.h"

namespace sluice::nn {
namespace {

int64_t Naive(double x, FixedPoint fixed) { return static_cast<int64_t>(std::nearbyint(std::ldexp(x, fixed.bits))); }

// Calls body with the functions of every instruction set that this processor has.
#define FOR_ALL_ISAS(FUNCTION, ...)           \
  do {                                        \
    {                                         \
      const auto function = plain::FUNCTION;  \
      __VA_ARGS__                             \
    }                                         \
    if (BestIsa() >= Isa::kAvx2) {            \
      const auto function = avx2::FUNCTION;   \
      __VA_ARGS__                             \
    }                                         \
    if (BestIsa() >= Isa::kAvx512) {          \
      const auto function = avx512::FUNCTION; \
      __VA_ARGS__                             \
    }                                         \
  } while (false)

TEST(FixedPointTest, SumsOfPartsAreThoseOfIntegers) {
  std::mt19937_64 random(3);
  const int64_t n = 1037, parts = 5;
  std::vector<float> values(static_cast<size_t>(parts * n));
  for (float& x : values)
    x = std::ldexp(static_cast<float>(random() % 2000) - 1000.0f, static_cast<int>(random() % 20) - 22);
  std::vector<int64_t> expected(static_cast<size_t>(n), 0);
  for (int64_t b = 0; b < parts; ++b)
    for (int64_t i = 0; i < n; ++i) expected[i] += Naive(static_cast<double>(values[b * n + i]), kDenseGradientFixed);
  FOR_ALL_ISAS(SumPartsFixed<float>, {
    std::vector<int64_t> sums(static_cast<size_t>(n), -1);
    EXPECT_TRUE(function(values.data(), n, parts, kDenseGradientFixed.scale(), sums.data(), n));
    EXPECT_EQ(sums, expected);
  });
}

TEST(FixedPointTest, ComesBackAsTheNearestNumber) {
  std::vector<int64_t> sums = {0,         1, -1, (int64_t{1} << 57) + 1, -(int64_t{1} << 57) - 12345, 1234567890123,
                               -987654321};
  const auto n = static_cast<int64_t>(sums.size());
  FOR_ALL_ISAS(FromFixed<double>, {
    std::vector<double> out(sums.size());
    EXPECT_TRUE(function(sums.data(), kPartialFixed.unit(), out.data(), n));
    for (size_t i = 0; i < sums.size(); ++i)
      EXPECT_EQ(out[i], std::ldexp(static_cast<double>(sums[i]), -kPartialFixed.bits)) << sums[i];
  });
}

TEST(FixedPointTest, TellsWhatIsOutOfRange) {
  const double limit = kPartialFixed.addend_limit();
  for (const double bad : {limit, -2 * limit, 1e300, double{NAN}, double{INFINITY}, -double{INFINITY}}) {
    FOR_ALL_ISAS(SumPartsFixed<double>, {
      std::vector<double> values(33, 0.5);
      std::vector<int64_t> sums(33);
      EXPECT_TRUE(function(values.data(), 33, 1, kPartialFixed.scale(), sums.data(), 33));
      values[17] = bad;
      EXPECT_FALSE(function(values.data(), 33, 1, kPartialFixed.scale(), sums.data(), 33)) << bad;
    });
  }
  // 2^7 addends near the limit reach the limit of sums.
  for (const auto& [parts, fits] : std::vector<std::pair<int, bool>>{{127, true}, {130, false}}) {
    FOR_ALL_ISAS(SumPartsFixed<double>, {
      std::vector<double> values(static_cast<size_t>(parts), limit - 1);
      int64_t sum = 0;
      EXPECT_EQ(function(values.data(), 1, parts, kPartialFixed.scale(), &sum, 1), fits) << parts;
    });
  }
  const int64_t huge = kFixedSumLimit;
  double out;
  FOR_ALL_ISAS(FromFixed<double>, { EXPECT_FALSE(function(&huge, 1.0, &out, 1)); });
  FOR_ALL_ISAS(AddFixedSums, {
    int64_t sum = kFixedSumLimit - 1;
    const int64_t one = 1;
    EXPECT_FALSE(function(&one, &sum, 1));
  });
}

// Bags of weighted keys over rows of `dim` columns.
struct Bags {
  static constexpr int64_t kSamples = 50, kRows = 12;
  int64_t dim;
  std::vector<double> rows, grads, q_grads;
  std::vector<int32_t> index, offsets = {0};
  std::vector<float> weights;

  explicit Bags(int64_t columns) : dim(columns + 1) {
    std::mt19937_64 random(static_cast<uint64_t>(columns));
    const auto number = [&] { return static_cast<double>(random()) * 0x1p-64 - 0.5; };
    for (int64_t i = 0; i < kRows * dim; ++i) rows.push_back(number());
    for (int64_t i = 0; i < kSamples * columns; ++i) grads.push_back(number() / 64);
    for (int64_t i = 0; i < kSamples; ++i) {
      q_grads.push_back(number() / 64);
      for (uint64_t j = random() % 5; j > 0; --j) {
        index.push_back(static_cast<int32_t>(random() % kRows));
        weights.push_back(static_cast<float>(number()));
      }
      offsets.push_back(static_cast<int32_t>(index.size()));
    }
  }
  FieldSlice<double> Slice(const std::vector<int32_t>& of) const {
    return {rows.data(),    dim,
            of.data(),      offsets.data(),
            weights.data(), static_cast<int64_t>(of.size()),
            Pooling::kSum,  std::all_of(of.begin(), of.end(), [](int32_t row) { return row >= 0; })};
  }
};

TEST(FixedPointTest, PartialsAddUpOverOwnersToTheBitAndNearTheExactSum) {
  for (const int64_t width : {1, 5, 8, 16, 19}) {
    const Bags bags(width);
    const int64_t n = Bags::kSamples;
    FOR_ALL_ISAS(PoolFieldFixed<double>, {
      const auto pool = [&](const std::vector<int32_t>& index) {
        std::vector<int64_t> out(static_cast<size_t>(n * (width + 1)), 0);
        EXPECT_TRUE(function(bags.Slice(index), 0, width, {0, n}, true, out.data(), width + 1,
                             {width, out.data() + width, width + 1}));
        return out;
      };
      const auto whole = pool(bags.index);
      std::vector<int64_t> sum(whole.size(), 0);
      for (int owner = 0; owner < 3; ++owner) {
        auto index = bags.index;
        for (int32_t& r : index) r = r % 3 == owner ? r : -1;
        const auto part = pool(index);
        for (size_t i = 0; i < sum.size(); ++i) sum[i] += part[i];
      }
      EXPECT_EQ(sum, whole) << width;
      for (int64_t i = 0; i < n; ++i) {
        for (int64_t d = 0; d <= width; ++d) {
          double exact = 0;
          for (int32_t j = bags.offsets[i]; j < bags.offsets[i + 1]; ++j) {
            const double c = static_cast<double>(bags.weights[j]);
            const double* row = bags.rows.data() + bags.index[j] * bags.dim;
            if (d < width) exact += c * row[d];
            if (d == width) exact += c * row[width];
            for (int64_t k = 0; d == width && k < width; ++k) exact -= 0.5 * c * c * row[k] * row[k];
          }
          // At most five terms, each off by half a unit and its own rounding.
          EXPECT_NEAR(std::ldexp(static_cast<double>(whole[i * (width + 1) + d]), -kPartialFixed.bits), exact,
                      3 * kPartialFixed.unit());
        }
      }
    });
  }
}

TEST(FixedPointTest, RowGradientsAddUpOverSamplesAndOwnersToTheBit) {
  for (const int64_t width : {1, 5, 8, 16, 19}) {
    const Bags bags(width);
    const FixedPoint fixed = RowGradientFixed(64);
    FOR_ALL_ISAS(AddFieldGradFixed<double>, {
      const auto add = [&](Range samples, Range owned, int64_t* to) {
        EXPECT_TRUE(function(bags.Slice(bags.index), 0, width, samples, owned,
                             bags.grads.data() + samples.begin * width, width,
                             {width, bags.q_grads.data() + samples.begin, 1}, fixed.scale(), to));
      };
      std::vector<int64_t> whole(static_cast<size_t>(Bags::kRows * bags.dim), 0), parts = whole;
      add({0, Bags::kSamples}, {0, Bags::kRows}, whole.data());
      // From the last samples to the first, and rows in two ranges.
      for (const Range samples : {Range{31, 50}, Range{7, 31}, Range{0, 7}})
        for (const Range owned : {Range{5, 12}, Range{0, 5}})
          add(samples, owned, parts.data() + owned.begin * bags.dim);
      EXPECT_EQ(parts, whole) << width;
      std::vector<double> exact(whole.size(), 0.0);
      for (int64_t i = 0; i < Bags::kSamples; ++i) {
        for (int32_t j = bags.offsets[i]; j < bags.offsets[i + 1]; ++j) {
          const double c = static_cast<double>(bags.weights[j]);
          const int64_t at = bags.index[j] * bags.dim;
          for (int64_t d = 0; d < width; ++d)
            exact[at + d] += c * bags.grads[i * width + d] - bags.q_grads[i] * c * c * bags.rows[at + d];
          exact[at + width] += c * bags.q_grads[i];
        }
      }
      for (size_t i = 0; i < exact.size(); ++i)
        EXPECT_NEAR(std::ldexp(static_cast<double>(whole[i]), -fixed.bits), exact[i], 50 * fixed.unit());
    });
  }
}

TEST(FixedPointTest, EveryRowThatAttainsTheMaximumGetsItsGradientOnce) {
  // Rows 0 and 2 are equal; the bag holds row 2 twice.
  const std::vector<double> rows = {3, 1, 3};
  const std::vector<int32_t> index = {2, 1, 0, 2}, offsets = {0, 4};
  const FieldSlice<double> slice{rows.data(), 1, index.data(), offsets.data(), nullptr, 4, Pooling::kMax};
  const double best = 3, grad = 0.25;
  FOR_ALL_ISAS(AddMaxGradFixed<double>, {
    std::vector<int64_t> grads(3, 0);
    EXPECT_TRUE(function(slice, 0, 1, {0, 1}, {0, 3}, &best, 1, &grad, 1, kPartialFixed.scale(), grads.data()));
    const int64_t one = Naive(0.25, kPartialFixed);
    EXPECT_EQ(grads, (std::vector<int64_t>{one, 0, one}));
  });
}

TEST(FixedPointTest, RowGradientsAreScaledByTheBatch) {
  EXPECT_EQ(RowGradientFixed(1).bits, kPartialFixed.bits + 1);
  EXPECT_EQ(RowGradientFixed(4096).bits, kPartialFixed.bits + 13);
  EXPECT_EQ(RowGradientFixed(4095).bits, kPartialFixed.bits + 12);
  EXPECT_EQ(RowGradientFixed(0).bits, kPartialFixed.bits);
}

}  // namespace
}  // namespace sluice::nn
