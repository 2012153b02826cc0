#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cmath>
#include <fstream>

#include "metric/evaluator.h"
#include "metric/test_data.h"

namespace sluice::metric {
namespace {

// Peak resident memory of this process since the last reset, which the system allows on some machines only.
int64_t PeakBytes() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

TEST(EvaluatorSlowTest, MemoryStaysBoundedOverThirtyMillionSamples) {
  constexpr int64_t kBatch = 10000, kBatches = 3000, kBound = 1 << 20;
  const TestData data = RandomData(kBatch, 41);
  Evaluator evaluator({.max_in_memory = kBound});
  ASSERT_TRUE(evaluator.Add({data.scores, data.labels}).ok());
  const int64_t before = PeakBytes();
  for (int64_t i = 1; i < kBatches; ++i) ASSERT_TRUE(evaluator.Add({data.scores, data.labels}).ok());
  const Metrics all = evaluator.Finish().value();
  // 240 MB of records went through; 16 bytes per record of the bound may stay, and some for the allocator.
  EXPECT_LT(PeakBytes() - before, 16 * kBound + (12 << 20));
  EXPECT_EQ(all.samples, kBatch * kBatches);
  ASSERT_TRUE(evaluator.Add({data.scores, data.labels}).ok());
  EXPECT_NEAR(all.auc, evaluator.Finish().value().auc, 1e-12);  // every sample repeated 3,000 times
}

}  // namespace
}  // namespace sluice::metric
