#include "sync/all_reduce_sync.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <mutex>
#include <random>
#include <thread>

#include <gtest/gtest.h>

#include "comm/rank_threads.h"

namespace sluice::sync {
namespace {

using comm::Communicator;
using std::chrono::milliseconds;

// Gradient i of a rank in a step: values whose sums round, so that the order of additions shows.
float Gradient(int rank, int step, int64_t i) {
  return 1.0f / static_cast<float>(1 + (i * 7 + rank * 13 + step * 5) % 97) * ((i + rank) % 2 == 0 ? 1.0f : -1.0f);
}

// `size` cut into parts of odd lengths, in an order that depends on the seed.
std::vector<Range> ShuffledParts(int64_t size, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<Range> parts;
  for (int64_t begin = 0; begin < size;) {
    const int64_t end = std::min<int64_t>(size, begin + 1 + static_cast<int64_t>(random() % 700));
    parts.push_back({begin, end});
    begin = end;
  }
  std::shuffle(parts.begin(), parts.end(), random);
  return parts;
}

// Every rank's gradients after each of three steps; parts are reported by two threads at a time where `report`.
std::vector<std::vector<float>> Synchronise(int num_ranks, int64_t size, const AllReduceOptions& options, bool report) {
  std::vector<std::vector<float>> results(static_cast<size_t>(num_ranks));
  comm::RunRankThreads(num_ranks, milliseconds(30000), [&](Communicator& comm) {
    AllReduceSync<float> sync(&comm, size, options);
    std::vector<float> gradients(static_cast<size_t>(size));
    for (int step = 0; step < 3; ++step) {
      for (int64_t i = 0; i < size; ++i) gradients[static_cast<size_t>(i)] = Gradient(comm.rank(), step, i);
      if (report) {
        const auto parts = ShuffledParts(size, static_cast<uint32_t>(comm.rank() * 100 + step));
        const auto some = [&](size_t first) {
          for (size_t p = first; p < parts.size(); p += 2) sync.GradientsFinal(gradients, parts[p]);
        };
        std::thread other(some, 1);
        some(0);
        other.join();
      }
      EXPECT_TRUE(sync.BeforeUpdate(gradients).ok());
      auto& result = results[static_cast<size_t>(comm.rank())];
      result.insert(result.end(), gradients.begin(), gradients.end());
    }
  });
  return results;
}

class AllReduceSyncTest : public testing::TestWithParam<int> {};

TEST_P(AllReduceSyncTest, SumsOfAllRanksAreTheSameBitsEverywhereWithAndWithoutOverlap) {
  const int n = GetParam();
  for (const int64_t size : {int64_t{1}, int64_t{16}, int64_t{4999}, int64_t{20000}}) {
    const AllReduceOptions overlapped{.bucket_bytes = 4096};
    const AllReduceOptions plain{.bucket_bytes = 4096, .overlap = false};
    const auto with = Synchronise(n, size, overlapped, true);
    for (const auto& other : {Synchronise(n, size, plain, true), Synchronise(n, size, overlapped, false)})
      for (int r = 0; r < n; ++r)
        ASSERT_EQ(with[0], other[static_cast<size_t>(r)]) << "size " << size << ", rank " << r;
    for (int r = 1; r < n; ++r) ASSERT_EQ(with[0], with[static_cast<size_t>(r)]) << "size " << size << ", rank " << r;
    for (int step = 0; step < 3; ++step) {
      for (int64_t i = 0; i < size; ++i) {
        double want = 0, magnitude = 0;
        for (int r = 0; r < n; ++r) {
          want += Gradient(r, step, i);
          magnitude += std::abs(Gradient(r, step, i));
        }
        // One rounding for each of n - 1 additions.
        ASSERT_NEAR(with[0][static_cast<size_t>(step * size + i)], want, magnitude * n * 0x1p-24) << i;
      }
    }
  }
}

TEST_P(AllReduceSyncTest, BytesAreTwiceNMinusOneTimesTheSpanAndEvenlyShared) {
  const int n = GetParam();
  const int64_t size = 10007;
  std::mutex mutex;
  int64_t sent = 0;
  comm::RunRankThreads(n, milliseconds(30000), [&](Communicator& comm) {
    AllReduceSync<float> sync(&comm, size, {.bucket_bytes = 4096});
    std::vector<float> gradients(static_cast<size_t>(size));
    for (const Range part : ShuffledParts(size, 3)) sync.GradientsFinal(gradients, part);
    EXPECT_TRUE(sync.BeforeUpdate(gradients).ok());
    const int64_t mine = comm.ledger().totals().sent_bytes[static_cast<int>(comm::Traffic::kDenseGradients)];
    EXPECT_NEAR(static_cast<double>(mine), 2.0 * (n - 1) * size * 4 / n, 2.0 * n * 4);
    std::lock_guard lock(mutex);
    sent += mine;
  });
  EXPECT_EQ(sent, 2 * (n - 1) * size * 4);
}

INSTANTIATE_TEST_SUITE_P(Ranks, AllReduceSyncTest, testing::Values(1, 2, 3, 4, 8));

TEST(AllReduceSyncWireTest, Bf16HalvesTheBytesAndKeepsItsBound) {
  const int n = 3;
  const int64_t size = 5000;
  const auto exact = Synchronise(n, size, {.bucket_bytes = 4096}, true);
  const auto rounded = Synchronise(n, size, {.bucket_bytes = 4096, .wire = comm::Wire::kBf16}, true);
  EXPECT_EQ(rounded[0], rounded[1]);
  EXPECT_EQ(rounded[0], rounded[2]);
  bool differs = false;
  for (int step = 0; step < 3; ++step) {
    for (int64_t i = 0; i < size; ++i) {
      double magnitude = 0;
      for (int r = 0; r < n; ++r) magnitude += std::abs(Gradient(r, step, i));
      const auto at = static_cast<size_t>(step * size + i);
      ASSERT_NEAR(rounded[0][at], exact[0][at], (magnitude + std::abs(exact[0][at])) * 0x1p-8) << i;
      differs |= rounded[0][at] != exact[0][at];
    }
  }
  EXPECT_TRUE(differs);
}

TEST(AllReduceSyncFaultTest, ALostRankIsAnErrorAndNobodyHangs) {
  const auto start = comm::Clock::now();
  comm::RunRankThreads(2, milliseconds(200), [&](Communicator& comm) {
    if (comm.rank() == 1) return;
    AllReduceSync<float> sync(&comm, 3000, {.bucket_bytes = 1024});
    std::vector<float> gradients(3000);
    sync.GradientsFinal(gradients, {1500, 3000});
    const Status status = sync.BeforeUpdate(gradients);
    EXPECT_EQ(status.code(), StatusCode::kUnavailable);
    EXPECT_NE(status.message().find("rank 1"), std::string::npos) << status.message();
  });
  EXPECT_LT(comm::Clock::now() - start, std::chrono::seconds(30));
}

}  // namespace
}  // namespace sluice::sync
