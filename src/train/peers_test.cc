#include "train/peers.h"

#include <gtest/gtest.h>

namespace sluice::train {
namespace {

TEST(ThreadsPerRankTest, RanksOfOneMachineShareIt) {
  const Host four = {"a", 4, {0, 1, 2, 3}};
  EXPECT_EQ(ThreadsPerRank({four}, 0), 4);
  EXPECT_EQ(ThreadsPerRank({four, four}, 0), 2);
  EXPECT_EQ(ThreadsPerRank({four, four, four}, 0), 1);
  EXPECT_EQ(ThreadsPerRank({four, four}, 8), 4);
  EXPECT_EQ(ThreadsPerRank({four, four, four, four, four}, 1), 1);
}

TEST(ThreadsPerRankTest, ARankBoundToItsProcessorsKeepsThem) {
  EXPECT_EQ(ThreadsPerRank({{"a", 2, {0, 1}}, {"a", 2, {2, 3}}}, 0), 2);
  EXPECT_EQ(ThreadsPerRank({{"a", 2, {0, 1}}, {"b", 2, {0, 1}}}, 0), 2);
}

TEST(ThreadsPerRankTest, TheSmallestMachineDecides) {
  EXPECT_EQ(ThreadsPerRank({{"a", 8, {0, 1, 2, 3, 4, 5, 6, 7}}, {"b", 2, {0, 1}}}, 0), 2);
  EXPECT_EQ(ThreadsPerRank({{"a", 3, {0, 1, 2, 3, 4, 5, 6, 7}}, {"b", 4, {0, 1, 2, 3}}}, 0), 3);  // a quota
}

TEST(ThreadsPerRankTest, WithoutMasksRanksShareByTheirNumber) {
  EXPECT_EQ(ThreadsPerRank({{"a", 6, {}}, {"a", 6, {}}}, 0), 3);
}

TEST(ThisHostTest, HasAtLeastOneProcessor) {
  const Host host = ThisHost();
  EXPECT_GE(host.usable, 1);
  EXPECT_FALSE(host.name.empty());
  EXPECT_EQ(host.name.find(' '), std::string::npos);
}

}  // namespace
}  // namespace sluice::train
