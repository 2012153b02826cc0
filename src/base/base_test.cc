#include <atomic>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <set>
#include <stdexcept>
#include <vector>

#include <gtest/gtest.h>

#include "base/aligned_buffer.h"
#include "base/bf16.h"
#include "base/chunks.h"
#include "base/hash.h"
#include "base/rng.h"
#include "base/simd.h"
#include "base/status.h"
#include "base/thread_pool.h"

namespace sluice {
namespace {

Result<int> Half(int x) {
  if (x % 2 != 0) return InvalidArgument("{} is odd", x);
  return x / 2;
}

Status Quarter(int x, int* out) {
  SLUICE_ASSIGN_OR_RETURN(const int half, Half(x));
  SLUICE_ASSIGN_OR_RETURN(*out, Half(half));
  return Status::Ok();
}

TEST(StatusTest, MacrosCarryTheFirstFailure) {
  int out = -1;
  EXPECT_TRUE(Quarter(8, &out).ok());
  EXPECT_EQ(out, 2);
  const Status status = Quarter(6, &out).WithContext("quarter");
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "quarter: 3 is odd");
  EXPECT_EQ(status.ExitCode(), 2);
}

TEST(StatusTest, ExitCodesAreTheDocumentedOnes) {
  EXPECT_EQ(Status().ExitCode(), 0);
  EXPECT_EQ(DataLoss("x").ExitCode(), 3);
  EXPECT_EQ(Status(StatusCode::kUnavailable, "x").ExitCode(), 4);
  EXPECT_EQ(Status(StatusCode::kInternal, "x").ExitCode(), 70);
  EXPECT_EQ(Status(StatusCode::kCancelled, "x").ExitCode(), 130);
}

TEST(ChunksTest, ChunksAndPartsCoverEverySampleOnce) {
  for (int64_t size : {0, 1, 23, 24, 25, 100, 4096}) {
    int64_t next = 0;
    for (int c = 0; c < kNumChunks; ++c) {
      EXPECT_EQ(ChunkRange(size, c).begin, next);
      next = ChunkRange(size, c).end;
    }
    EXPECT_EQ(next, size);
    // 1, 2, 3, 4, 6, 8, 12 or 24 takers get whole chunks.
    for (int parts : {1, 2, 3, 4, 6, 8, 12, 24})
      for (int p = 0; p < parts; ++p)
        EXPECT_EQ(PartRange(size, p, parts).begin, ChunkRange(size, p * kNumChunks / parts).begin);
  }
}

TEST(RngTest, NumbersDependOnSeedStreamAndIndexOnly) {
  const CounterRng a(1, 2), same(1, 2), other_seed(2, 2), other_stream(1, 3);
  EXPECT_EQ(a.Bits(7), same.Bits(7));
  EXPECT_NE(a.Bits(7), other_seed.Bits(7));
  EXPECT_NE(a.Bits(7), other_stream.Bits(7));
  EXPECT_NE(CounterRng(1, 2).Bits(0), CounterRng(2, 1).Bits(0));
}

TEST(RngTest, MomentsMatchTheDistributions) {
  const CounterRng rng(42, 0);
  constexpr int kN = 200000;
  double mean = 0, normal_mean = 0, normal_square = 0;
  std::vector<int> bins(10);
  for (int i = 0; i < kN; ++i) {
    mean += rng.Uniform(i);
    ++bins[rng.Below(i, 10)];
    const double z = rng.Normal(i);
    normal_mean += z;
    normal_square += z * z;
  }
  // Five standard errors.
  EXPECT_NEAR(mean / kN, 0.5, 5 * std::sqrt(1.0 / 12 / kN));
  EXPECT_NEAR(normal_mean / kN, 0, 5 / std::sqrt(kN));
  EXPECT_NEAR(normal_square / kN, 1, 5 * std::sqrt(2.0 / kN));
  for (int count : bins) EXPECT_NEAR(count, kN / 10.0, 5 * std::sqrt(kN * 0.09));
}

TEST(HashTest, VocabulariesPartKeys) {
  EXPECT_EQ(StringKey("abc", VocabularySalt("C1")), StringKey("abc", VocabularySalt("C1")));
  EXPECT_NE(StringKey("abc", VocabularySalt("C1")), StringKey("abc", VocabularySalt("C2")));
  EXPECT_NE(IntegerKey(5, VocabularySalt("C1")), IntegerKey(5, VocabularySalt("C2")));
  std::set<Key> keys;
  for (uint64_t v = 0; v < 100000; ++v) keys.insert(IntegerKey(v, 1));
  EXPECT_EQ(keys.size(), 100000u);
}

TEST(ThreadPoolTest, EveryTaskRunsOnceWhateverTheNumberOfThreads) {
  for (int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    for (int round = 0; round < 50; ++round) {
      std::vector<std::atomic<int>> hits(101);
      pool.ForEach(101, [&](int64_t task, int) { ++hits[task]; });
      std::atomic<int64_t> covered{0};
      pool.ForParts(1000, [&](Range range, int) { covered += range.size(); });
      for (auto& hit : hits) EXPECT_EQ(hit.load(), 1);
      EXPECT_EQ(covered.load(), 1000);
    }
  }
}

TEST(ThreadPoolTest, ExceptionOfATaskReachesTheCallerAndThePoolGoesOn) {
  ThreadPool pool(3);
  for (int bad = 0; bad < 3; ++bad) {
    EXPECT_THROW(pool.Run([&](int thread) {
      if (thread == bad) throw std::runtime_error("task failed");
    }), std::runtime_error);
  }
  std::atomic<int> ran{0};
  pool.Run([&](int) { ++ran; });
  EXPECT_EQ(ran.load(), 3);
}

TEST(AlignedBufferTest, GrowsAndStaysAligned) {
  AlignedBuffer<float> buffer;
  for (int64_t size : {0, 1, 1000, 10, 2000000}) {
    buffer.Resize(size);
    buffer.Zero();
    EXPECT_EQ(buffer.size(), size);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % 64, 0u);
    for (int64_t i = 0; i < size; i += 997) EXPECT_EQ(buffer[i], 0.0f);
  }
}

TEST(Bf16Test, RoundsToNearestEvenAndKeepsSpecialValues) {
  const float inf = std::numeric_limits<float>::infinity();
  const std::vector<float> in = {0.0f, -0.0f, 1.0f, 1.00390625f, 1.01171875f, -1.004f, 3.4e38f, inf, -inf, 1e-40f};
  // 1 + 2^-8 lies midway and goes to even (1); 1 + 3 * 2^-8 midway goes to even (1 + 2^-6).
  const std::vector<float> want = {0.0f, -0.0f, 1.0f, 1.0f, 1.015625f, -1.0078125f, inf, inf, -inf, 9.1835496e-41f};
  std::vector<uint16_t> bits(in.size());
  std::vector<float> out(in.size());
  FloatToBf16(in.data(), bits.data(), static_cast<int64_t>(in.size()));
  Bf16ToFloat(bits.data(), out.data(), static_cast<int64_t>(in.size()));
  for (size_t i = 0; i < in.size(); ++i) {
    EXPECT_FLOAT_EQ(out[i], want[i]) << "of " << in[i];
    EXPECT_EQ(std::signbit(out[i]), std::signbit(in[i]));
  }
  const float nan = std::numeric_limits<float>::quiet_NaN();
  FloatToBf16(&nan, bits.data(), 1);
  Bf16ToFloat(bits.data(), out.data(), 1);
  EXPECT_TRUE(std::isnan(out[0]));
}

TEST(SimdTest, NamesTheSetInUse) {
  EXPECT_STRNE(IsaName(BestIsa()), "");
  EXPECT_STRNE(ProcessorName(), "");
}

// Each in a process of its own, since the decision is made once.
TEST(SimdDeathTest, EnvironmentDecidesOnBf16Products) {
  const auto decide = [](const char* wanted) {
    ::setenv("SLUICE_BF16_PRODUCTS", wanted, 1);
    std::exit(Bf16ProductsPay() ? 11 : 10);
  };
  EXPECT_EXIT(decide("1"), ::testing::ExitedWithCode(11), "");
  EXPECT_EXIT(decide("0"), ::testing::ExitedWithCode(10), "");
}

}  // namespace
}  // namespace sluice
