#include <sys/resource.h>

#include <algorithm>
#include <map>
#include <set>

#include "data/stream_cases.h"
#include "data/testing.h"

namespace sluice::data {
namespace {

using testing::Case;
using testing::Drain;
using testing::Drained;
using testing::kSamples;
using testing::MakeData;
using testing::MakeFeatures;
using testing::ReadAll;
using testing::TempFolder;

class StreamTest : public ::testing::TestWithParam<Case> {};

TEST_P(StreamTest, ContinuesExactlyFromEveryPosition) {
  TempFolder folder;
  const DataConfig data = MakeData(GetParam(), folder);
  OpenOptions options = {.batch_size = 64, .epochs = 2, .seed = 5, .num_reader_threads = 1};
  auto fitted = FitFeatures(data, MakeFeatures(GetParam()), true);
  ASSERT_TRUE(fitted.ok()) << fitted.status().message();
  auto source = OpenSource(data, fitted.value(), options);
  ASSERT_TRUE(source.ok()) << source.status().message();
  const std::string start = source.value()->position();
  const Drained whole = Drain(source.value().get());
  ASSERT_TRUE(whole.status.ok()) << whole.status.message();
  ASSERT_GT(whole.batch_sizes.size(), 6u);
  const SourceStats whole_stats = source.value()->stats();
  size_t before = 0;
  for (size_t b = 0; b <= whole.batch_sizes.size(); ++b) {
    options.num_reader_threads = static_cast<int>(b % 3);
    auto resumed = OpenSource(data, fitted.value(), options);
    const std::string position = b == 0 ? start : whole.positions[b - 1];
    const Status sought = resumed.value()->Seek(position);
    ASSERT_TRUE(sought.ok()) << sought.message();
    EXPECT_EQ(resumed.value()->position(), position);
    const Drained rest = Drain(resumed.value().get());
    ASSERT_TRUE(rest.status.ok()) << rest.status.message();
    EXPECT_EQ(rest.samples,
              std::vector<std::string>(whole.samples.begin() + static_cast<int64_t>(before), whole.samples.end()));
    EXPECT_EQ(rest.batch_sizes,
              std::vector<int64_t>(whole.batch_sizes.begin() + static_cast<int64_t>(b), whole.batch_sizes.end()));
    EXPECT_EQ(resumed.value()->stats().samples, whole_stats.samples);
    EXPECT_EQ(resumed.value()->stats().dropped_negatives, whole_stats.dropped_negatives);
    if (b < whole.batch_sizes.size()) before += static_cast<size_t>(whole.batch_sizes[b]);
  }
}

TEST_P(StreamTest, TrainAndEvalSidesComplementEachOther) {
  TempFolder folder;
  DataConfig data = MakeData(GetParam(), folder);
  if (data.split.kind == "none") data.split.kind = "hash";
  data.negative_keep_rate = 1;
  auto fitted = FitFeatures(data, MakeFeatures(GetParam()), true);
  ASSERT_TRUE(fitted.ok()) << fitted.status().message();
  const auto read = [&](Purpose purpose, int threads) {
    auto source =
        OpenSource(data, fitted.value(), {.purpose = purpose, .batch_size = 50, .num_reader_threads = threads});
    Drained out;
    if (!source.ok()) {
      out.status = source.status();
      return out;
    }
    return Drain(source.value().get());
  };
  Drained train = read(Purpose::kTrain, 2);
  const Drained eval = read(Purpose::kEval, 1);
  const Drained all = read(Purpose::kPredict, 0);
  ASSERT_TRUE(train.status.ok()) << train.status.message();
  ASSERT_TRUE(eval.status.ok()) << eval.status.message();
  EXPECT_NEAR(static_cast<double>(eval.samples.size()) / kSamples, 0.3, 0.1);
  std::vector<std::string> both = train.samples;
  both.insert(both.end(), eval.samples.begin(), eval.samples.end());
  std::vector<std::string> expected = all.samples;
  ASSERT_EQ(expected.size(), static_cast<size_t>(kSamples));
  std::sort(both.begin(), both.end());
  std::sort(expected.begin(), expected.end());
  EXPECT_EQ(both, expected);
}

std::vector<Case> Cases() {
  return {{"Criteo", "criteo"},
          {"CriteoShuffled", "criteo", 100, "tail"},
          {"CriteoWindowOfAll", "criteo", 5000, "hash", 0.5},
          {"CriteoGzip", "criteo.gz", 70, "tail", 0.5},
          {"CriteoZstd", "criteo.zst", 0, "tail"},
          {"Csv", "csv", 0, "hash"},
          {"CsvShuffled", "csv", 128, "tail", 0.7},
          {"CsvTime", "csv", 33, "time"},
          {"Libffm", "libffm", 100, "tail", 0.5},
          {"Libsvm", "libsvm.gz", 100, "hash"},
          {"Packed", "packed", 0, "tail"},
          {"PackedShuffled", "packed", 300, "hash", 0.5}};
}

INSTANTIATE_TEST_SUITE_P(All, StreamTest, ::testing::ValuesIn(Cases()),
                         [](const auto& test) { return test.param.name; });

TEST(ShuffleTest, PermutesWithinWindowsByEpochAndSeed) {
  TempFolder folder;
  DataConfig data;
  data.train = {folder.Write("a.tsv", testing::CriteoText(0, 500))};
  const auto plain = ReadAll(data, {}, {.batch_size = 50, .num_reader_threads = 0});
  data.shuffle_window = 200;
  const auto shuffled = ReadAll(data, {}, {.batch_size = 50, .epochs = 2, .seed = 1});
  const auto other = ReadAll(data, {}, {.batch_size = 50, .seed = 2});
  ASSERT_TRUE(shuffled.status.ok()) << shuffled.status.message();
  for (const auto& [begin, end] : std::map<int64_t, int64_t>{{0, 200}, {200, 400}, {400, 500}}) {
    const auto part = [&, begin = begin, end = end](const Drained& from, int64_t shift) {
      return std::multiset<std::string>(from.samples.begin() + begin + shift, from.samples.begin() + end + shift);
    };
    EXPECT_EQ(part(shuffled, 0), part(plain, 0));
    EXPECT_EQ(part(shuffled, 500), part(plain, 0));
  }
  const std::vector<std::string> first(shuffled.samples.begin(), shuffled.samples.begin() + 500);
  const std::vector<std::string> second(shuffled.samples.begin() + 500, shuffled.samples.end());
  EXPECT_NE(first, plain.samples);
  EXPECT_NE(first, second);
  EXPECT_NE(first, other.samples);
}

TEST(NegativesTest, KeepRateIsMetAndNamesTheLogitCorrection) {
  TempFolder folder;
  DataConfig data;
  data.train = {folder.Write("a.tsv", testing::CriteoText(0, 4000))};
  data.negative_keep_rate = 0.25;
  auto fitted = FitFeatures(data, {}, true);
  auto source = OpenSource(data, fitted.value(), {});
  Batch batch;
  int64_t positives = 0, negatives = 0;
  while (source.value()->Next(&batch).value())
    for (const float label : batch.labels) ++(label > 0 ? positives : negatives);
  const auto stats = source.value()->stats();
  EXPECT_EQ(positives + negatives + stats.dropped_negatives, 4000);
  EXPECT_NEAR(static_cast<double>(negatives) / static_cast<double>(4000 - positives), 0.25, 0.03);
  EXPECT_DOUBLE_EQ(LogitCorrection(data), std::log(0.25));
}

TEST(SeekTest, RefusesStandardInputAndOtherSettings) {
  TempFolder folder;
  DataConfig data;
  data.train = {"-"};
  auto fitted = FitFeatures(data, {}, true);
  ASSERT_TRUE(fitted.ok()) << fitted.status().message();
  auto standard_input = OpenSource(data, fitted.value(), {.num_reader_threads = 0});
  ASSERT_TRUE(standard_input.ok());
  EXPECT_EQ(standard_input.value()->Seek(standard_input.value()->position()).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(OpenSource(data, fitted.value(), {.epochs = 2}).status().code(), StatusCode::kInvalidArgument);

  data.train = {folder.Write("a.tsv", testing::CriteoText(0, 10))};
  auto source = OpenSource(data, fitted.value(), {.seed = 1});
  auto other = OpenSource(data, fitted.value(), {.seed = 2});
  EXPECT_EQ(other.value()->Seek(source.value()->position()).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(source.value()->Seek("nonsense").code(), StatusCode::kDataLoss);
}

// Peak resident bytes of this process so far.
int64_t PeakBytes() {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss * int64_t{1024};
}

TEST(MemoryTest, DoesNotGrowWithTheLengthOfTheFile) {
#ifdef SLUICE_SANITIZED
  GTEST_SKIP() << "sanitizers keep freed memory for a while";
#endif
  TempFolder folder;
  const std::string text = testing::CriteoText(0, 2000);
  {
    std::ofstream file(folder.path("long.tsv"), std::ios::binary);
    for (int i = 0; i < 200; ++i) file << text;  // about 60 MB
  }
  DataConfig data;
  data.shuffle_window = 5000;
  const auto drain = [&](const std::string& path) {
    data.train = {path};
    auto fitted = FitFeatures(data, {}, true);
    auto source = OpenSource(data, fitted.value(), {.num_reader_threads = 2});
    Batch batch;
    int64_t samples = 0;
    while (source.value()->Next(&batch).value()) samples += batch.size;
    return samples;
  };
  {
    std::ofstream file(folder.path("short.tsv"), std::ios::binary);
    for (int i = 0; i < 10; ++i) file << text;
  }
  EXPECT_EQ(drain(folder.path("short.tsv")), 20000);
  const int64_t before = PeakBytes();
  EXPECT_EQ(drain(folder.path("long.tsv")), 400000);
  EXPECT_LT(PeakBytes() - before, 24 << 20);
}

}  // namespace
}  // namespace sluice::data
