#if SLUICE_HAS_SERVICE
#include "service/grpc/kept_pushes.h"

#include <gtest/gtest.h>

#include <string>

namespace sluice::service {
namespace {

std::shared_ptr<KeptPush> Push(int64_t clock, size_t bytes) {
  auto push = std::make_shared<KeptPush>();
  push->header.push_clock = clock;
  push->row_gradients = grpc::Slice(std::string(bytes, 'x'));
  return push;
}

std::vector<uint64_t> Sequences(const KeptPushes& kept) {
  std::vector<uint64_t> sequences;
  for (const auto& push : kept.list()) sequences.push_back(push->header.sequence);
  return sequences;
}

TEST(KeptPushesTest, NumbersInOrderAndForgetsWhatACheckpointHolds) {
  KeptPushes kept;
  kept.BeginAfter(4);
  EXPECT_EQ(kept.first_sequence(), 5u);
  EXPECT_FALSE(kept.all_durable());  // of the four before, nobody has said so
  for (int64_t clock = 1; clock <= 3; ++clock) kept.Add(Push(clock, 100));
  EXPECT_EQ(Sequences(kept), (std::vector<uint64_t>{5, 6, 7}));
  kept.Durable(5);
  EXPECT_EQ(kept.first_sequence(), 6u);
  EXPECT_EQ(kept.oldest().header.push_clock, 2);
  EXPECT_FALSE(kept.all_durable());
  kept.Durable(7);
  EXPECT_TRUE(kept.empty());
  EXPECT_TRUE(kept.all_durable());
  EXPECT_EQ(kept.first_sequence(), 8u);
  kept.Durable(3);  // an answer that was overtaken takes nothing back
  EXPECT_TRUE(kept.all_durable());
}

TEST(KeptPushesTest, ForgetsTheOldestForRoomButNoneUnderWay) {
  KeptPushes kept;
  for (int64_t clock = 1; clock <= 4; ++clock) kept.Add(Push(clock, 100));
  kept.TrimTo(400, [](uint64_t) { return false; });
  EXPECT_EQ(kept.list().size(), 4u);
  kept.TrimTo(250, [](uint64_t sequence) { return sequence == 2; });
  EXPECT_EQ(Sequences(kept), (std::vector<uint64_t>{2, 3, 4}));
  kept.TrimTo(250, [](uint64_t) { return false; });
  EXPECT_EQ(Sequences(kept), (std::vector<uint64_t>{3, 4}));
  EXPECT_FALSE(kept.all_durable());
}

}  // namespace
}  // namespace sluice::service
#endif  // SLUICE_HAS_SERVICE
