#include "embedding/admission.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/rng.h"

namespace sluice::embedding {
namespace {

Admission ByCount(int64_t count, int64_t candidates, int64_t window = 0) {
  AdmissionConfig config;
  config.kind = "count";
  config.count = count;
  config.candidates = candidates;
  config.window_steps = window;
  return Admission::Make(config).value();
}

TEST(CandidateCountsTest, CountsExactlyWhileThereIsRoom) {
  const Admission admission = ByCount(5, 1 << 20);   // 1,024 per shard
  CandidateCounts counts;
  for (uint32_t round = 1; round <= 5; ++round)
    for (uint64_t key = 0; key < 200; ++key) EXPECT_EQ(counts.Add(admission, Mix64(key), round, 1), round);
  // Admitted keys were forgotten.
  for (uint64_t key = 0; key < 200; ++key) EXPECT_EQ(counts.Add(admission, Mix64(key), 6, 3), 3u);
}

TEST(CandidateCountsTest, ForgetsTheRarestAndOldestWhenFull) {
  const Admission admission = ByCount(100, 8192);   // one set per shard
  CandidateCounts counts;
  for (uint64_t key = 0; key < 8; ++key) counts.Add(admission, Mix64(key), 1, key == 3 ? 1 : 2);
  counts.Add(admission, Mix64(1), 5000, 1);
  EXPECT_EQ(counts.Add(admission, Mix64(100), 5000, 7), 7u);   // in the place of key 3
  EXPECT_EQ(counts.Add(admission, Mix64(1), 5000, 1), 4u);
  EXPECT_EQ(counts.Add(admission, Mix64(100), 5000, 1), 8u);
  EXPECT_EQ(counts.Add(admission, Mix64(3), 5000, 1), 1u);     // forgotten
}

TEST(CandidateCountsTest, ForgetsAfterTheWindow) {
  const Admission admission = ByCount(100, 1 << 20, 80);
  CandidateCounts counts;
  EXPECT_EQ(counts.Add(admission, 5, 1, 1), 1u);
  EXPECT_EQ(counts.Add(admission, 5, 80, 1), 2u);
  EXPECT_EQ(counts.Add(admission, 5, 300, 1), 1u);
}

TEST(CandidateCountsTest, StateRestores) {
  const Admission admission = ByCount(9, 1 << 20);
  CandidateCounts a, b;
  for (uint64_t key = 0; key < 100; ++key) a.Add(admission, Mix64(key), 1, 1 + key % 4);
  ASSERT_TRUE(b.Restore(admission, a.State()));
  for (uint64_t key = 0; key < 100; ++key) EXPECT_EQ(b.Add(admission, Mix64(key), 2, 1), 2 + key % 4);
  EXPECT_FALSE(b.Restore(ByCount(9, 1 << 21), a.State()));
}

TEST(AdmittedByChanceTest, HappensAsOftenAsAsked) {
  constexpr int kKeys = 100000;
  for (const uint32_t sightings : {1u, 3u}) {
    int admitted = 0;
    for (uint64_t key = 0; key < kKeys; ++key) admitted += AdmittedByChance(0.2, 7, key, 3, sightings);
    const double expected = 1 - std::pow(0.8, sightings);
    EXPECT_NEAR(admitted / double{kKeys}, expected, 5 * std::sqrt(expected * (1 - expected) / kKeys));
  }
  EXPECT_TRUE(AdmittedByChance(1.0, 7, 1, 1, 1));
  EXPECT_FALSE(AdmittedByChance(0.0, 7, 1, 1, 100));
}

TEST(AdmissionTest, RefusesWhatIsOutOfRange) {
  AdmissionConfig config;
  config.kind = "count";
  config.count = 0;
  EXPECT_FALSE(Admission::Make(config).ok());
  config = {};
  config.probability = 1.5;
  EXPECT_FALSE(Admission::Make(config).ok());
}

}  // namespace
}  // namespace sluice::embedding
