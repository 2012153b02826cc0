#include <algorithm>

#include "data/stream_cases.h"
#include "data/testing.h"

namespace sluice::data {
namespace {

using testing::Case;
using testing::Drain;
using testing::Drained;
using testing::MakeData;
using testing::MakeFeatures;
using testing::TempFolder;

class RangeTest : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    data_ = MakeData(GetParam(), folder_);
    auto fitted = FitFeatures(data_, MakeFeatures(GetParam()), true);
    ASSERT_TRUE(fitted.ok()) << fitted.status().message();
    features_ = std::move(fitted).value();
  }
  Drained Read(const InputRange& range, int threads = 1) {
    auto source =
        OpenSource(data_, features_, {.batch_size = 50, .seed = 5, .num_reader_threads = threads, .range = range});
    EXPECT_TRUE(source.ok()) << source.status().message();
    Drained drained = source.ok() ? Drain(source.value().get()) : Drained{};
    EXPECT_TRUE(drained.status.ok()) << drained.status.message();
    return drained;
  }

  TempFolder folder_;
  DataConfig data_;
  FittedFeatures features_;
};

TEST_P(RangeTest, StretchesHoldEverySampleOnce) {
  std::vector<std::string> whole = Read({}).samples;
  ASSERT_FALSE(whole.empty());
  for (const int64_t count : {1, 3, 7, 100}) {
    SCOPED_TRACE(count);
    const auto search = std::make_shared<RangeSearch>();
    std::vector<std::string> apart, together;
    for (int64_t i = 0; i < count; ++i) {
      const Drained alone = Read({.index = i, .count = count}, 0);
      apart.insert(apart.end(), alone.samples.begin(), alone.samples.end());
      // Every third stretch is somebody else's.
      if (i % 3 == 1) continue;
      const Drained after = Read({.index = i, .count = count, .search = search}, 2);
      EXPECT_EQ(after.samples, alone.samples) << "stretch " << i;
    }
    std::vector<std::string> expected = whole;
    if (GetParam().window > 0) {
      std::sort(expected.begin(), expected.end());
      std::sort(apart.begin(), apart.end());
    }
    EXPECT_EQ(apart, expected);
  }
}

TEST_P(RangeTest, ShufflesDifferBetweenEpochs) {
  if (GetParam().window == 0) return;
  const InputRange first = {.index = 0, .count = 2, .epoch = 0}, second = {.index = 0, .count = 2, .epoch = 1};
  const auto a = Read(first).samples, b = Read(second).samples;
  EXPECT_EQ(a, Read(first).samples);
  EXPECT_NE(a, b);
  EXPECT_TRUE(std::is_permutation(a.begin(), a.end(), b.begin(), b.end()));
}

INSTANTIATE_TEST_SUITE_P(Formats, RangeTest,
                         ::testing::Values(Case{"criteo", "criteo"}, Case{"criteo_shuffled", "criteo", 150},
                                           Case{"criteo_gz", "criteo.gz", 0, "hash"},
                                           Case{"criteo_tail", "criteo", 0, "tail", 0.5}, Case{"csv", "csv"},
                                           Case{"csv_time", "csv", 0, "time"}, Case{"libffm", "libffm"},
                                           Case{"packed", "packed"}, Case{"packed_tail", "packed", 0, "tail", 0.4}),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace sluice::data
