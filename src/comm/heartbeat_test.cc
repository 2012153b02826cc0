#include "comm/heartbeat.h"

#include <mutex>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "comm/in_process.h"

namespace sluice::comm {
namespace {

using std::chrono::milliseconds;

TEST(HeartbeatTest, NobodyIsSilentWhileAllBeatAndGoodbyesEndIt) {
  auto transports = MakeInProcessTransports(4);
  std::atomic<int> alarms{0};
  const auto start = Clock::now();
  std::vector<std::thread> threads;
  for (int r = 0; r < 4; ++r) {
    threads.emplace_back([&, r] {
      Heartbeat heartbeat(std::move(transports[r]), milliseconds(20), milliseconds(5000), [&](int) { ++alarms; });
      std::this_thread::sleep_for(milliseconds(100 + 60 * r));   // ranks end at different times
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(alarms.load(), 0);
  EXPECT_LT(Clock::now() - start, std::chrono::seconds(4));
}

TEST(HeartbeatTest, StopsBeforeItsFirstBeat) {
  for (int round = 0; round < 20; ++round) {
    auto transports = MakeInProcessTransports(2);
    std::atomic<int> alarms{0};
    {
      Heartbeat one(std::move(transports[0]), milliseconds(20), milliseconds(50), [&](int) { ++alarms; });
    }
    EXPECT_EQ(alarms.load(), 0);
  }
}

TEST(HeartbeatTest, EverySurvivorNamesTheSilentRank) {
  auto transports = MakeInProcessTransports(3);
  std::mutex mutex;
  std::multiset<int> named;
  std::vector<std::thread> threads;
  for (int r : {0, 2}) {   // rank 1 never beats
    threads.emplace_back([&, r] {
      Heartbeat heartbeat(std::move(transports[r]), milliseconds(20), milliseconds(300), [&](int silent) {
        std::lock_guard lock(mutex);
        named.insert(silent);
      });
      std::this_thread::sleep_for(milliseconds(900));
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(named, (std::multiset<int>{1, 1}));
}

}  // namespace
}  // namespace sluice::comm
