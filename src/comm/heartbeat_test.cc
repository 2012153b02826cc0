#include "comm/heartbeat.h"

#include <cstring>
#include <mutex>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "comm/in_process.h"

namespace sluice::comm {
namespace {

using std::chrono::milliseconds;

// A patience that does not end while a test runs, and what is sooner than that on a machine however busy.
constexpr milliseconds kNever{100000}, kSoon{30000};

TEST(HeartbeatTest, NobodyIsSilentWhileAllBeatAndGoodbyesEndIt) {
  auto transports = MakeInProcessTransports(4);
  std::atomic<int> alarms{0};
  const auto start = Clock::now();
  std::vector<std::thread> threads;
  for (int r = 0; r < 4; ++r) {
    threads.emplace_back([&, r] {
      Heartbeat heartbeat(std::move(transports[r]), milliseconds(20), kNever, [&](int, const Status&) { ++alarms; });
      std::this_thread::sleep_for(milliseconds(100 + 60 * r));  // ranks end at different times
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(alarms.load(), 0);
  EXPECT_LT(Clock::now() - start, kSoon);
}

TEST(HeartbeatTest, StopsBeforeItsFirstBeat) {
  for (int round = 0; round < 20; ++round) {
    auto transports = MakeInProcessTransports(2);
    std::atomic<int> alarms{0};
    std::vector<std::thread> threads;
    for (int r = 0; r < 2; ++r)
      threads.emplace_back([&, r] {
        Heartbeat one(std::move(transports[r]), milliseconds(20), kNever, [&](int, const Status&) { ++alarms; });
      });
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(alarms.load(), 0);
  }
}

TEST(HeartbeatTest, NobodyIsWaitedForLongerThanTheTimeoutAtTheEnd) {
  auto transports = MakeInProcessTransports(2);
  const auto start = Clock::now();
  {
    Heartbeat one(std::move(transports[0]), milliseconds(20), milliseconds(50), [](int, const Status&) {});
  }
  EXPECT_LT(Clock::now() - start, kSoon);
}

TEST(HeartbeatTest, EverySurvivorNamesTheSilentRank) {
  auto transports = MakeInProcessTransports(3);
  std::mutex mutex;
  std::multiset<int> named;
  std::vector<std::thread> threads;
  for (int r : {0, 2}) {  // rank 1 never beats
    threads.emplace_back([&, r] {
      Heartbeat heartbeat(std::move(transports[r]), milliseconds(20), milliseconds(1500),
                          [&](int silent, const Status& status) {
                            EXPECT_EQ(status.code(), StatusCode::kUnavailable);
                            std::lock_guard lock(mutex);
                            named.insert(silent);
                          });
      heartbeat.WaitForWord(kNever);
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(named, (std::multiset<int>{1, 1}));
}

// The failing rank says so long before anybody's patience ends; the others hear who and why.
TEST(HeartbeatTest, ALastWordReachesEveryRankAtOnce) {
  auto transports = MakeInProcessTransports(4);
  std::mutex mutex;
  std::multiset<std::pair<int, std::string>> heard;
  const auto start = Clock::now();
  std::vector<std::thread> threads;
  for (int r = 0; r < 4; ++r) {
    threads.emplace_back([&, r] {
      Heartbeat heartbeat(std::move(transports[r]), milliseconds(1000), kNever, [&](int rank, const Status& status) {
        std::lock_guard lock(mutex);
        EXPECT_EQ(status.code(), StatusCode::kNumeric);
        heard.insert({rank, status.message()});
      });
      std::this_thread::sleep_for(milliseconds(50));
      if (r == 2) heartbeat.Abort(NumericError("step 7: a loss that is not finite"));
      if (r != 2) heartbeat.WaitForWord(kNever);
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_LT(Clock::now() - start, kSoon);
  const std::pair<int, std::string> word = {2, "step 7: a loss that is not finite"};
  EXPECT_EQ(heard, (std::multiset<std::pair<int, std::string>>{word, word, word}));
}

TEST(HeartbeatTest, TwoRanksMayFailAtOnce) {
  auto transports = MakeInProcessTransports(3);
  std::atomic<int> heard{0};
  const auto start = Clock::now();
  std::vector<std::thread> threads;
  for (int r = 0; r < 3; ++r) {
    threads.emplace_back([&, r] {
      Heartbeat heartbeat(std::move(transports[r]), milliseconds(20), kNever, [&](int, const Status&) { ++heard; });
      if (r != 1) heartbeat.Abort(NumericError("rank {}", r));
      if (r == 1) heartbeat.WaitForWord(kNever);
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_LT(Clock::now() - start, kSoon);
  EXPECT_GE(heard.load(), 1);
}

TEST(LastWordTest, ComesBackAsItWasGivenAndIsCutToFit) {
  int about = 0;
  Status status;
  ASSERT_TRUE(DecodeLastWord(EncodeLastWord(5, IoError("no space left")), 6, &about, &status).ok());
  EXPECT_EQ(about, 5);
  EXPECT_EQ(status.code(), StatusCode::kIo);
  EXPECT_EQ(status.message(), "no space left");
  ASSERT_TRUE(DecodeLastWord(EncodeLastWord(0, IoError("{}", std::string(5000, 'x'))), 1, &about, &status).ok());
  EXPECT_EQ(status.message().size(), kLastWordBytes - 12);
}

TEST(LastWordTest, DamagedWordsAreRefused) {
  int about = 0;
  Status status;
  const auto word = EncodeLastWord(1, IoError("x"));
  const auto with = [&](size_t offset, int32_t value) {
    auto damaged = word;
    std::memcpy(damaged.data() + offset, &value, sizeof value);
    return damaged;
  };
  EXPECT_TRUE(DecodeLastWord(word, 2, &about, &status).ok());
  EXPECT_FALSE(DecodeLastWord(word, 1, &about, &status).ok());
  for (const int32_t bad : {-1, 2, 1 << 30}) EXPECT_FALSE(DecodeLastWord(with(0, bad), 2, &about, &status).ok()) << bad;
  for (const int32_t bad : {-1, 0, 10, 1 << 30})
    EXPECT_FALSE(DecodeLastWord(with(4, bad), 2, &about, &status).ok()) << bad;
  for (const int32_t bad : {-1, 1013, 1 << 30})
    EXPECT_FALSE(DecodeLastWord(with(8, bad), 2, &about, &status).ok()) << bad;
  EXPECT_FALSE(DecodeLastWord(std::span(word).first(100), 2, &about, &status).ok());
}

}  // namespace
}  // namespace sluice::comm
