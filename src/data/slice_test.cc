#include <algorithm>
#include <numeric>

#include "base/chunks.h"
#include "data/stream_cases.h"
#include "data/testing.h"

namespace sluice::data {
namespace {

using testing::Case;
using testing::Drain;
using testing::Drained;
using testing::MakeData;
using testing::MakeFeatures;
using testing::SampleBytes;
using testing::TempFolder;

struct SliceCase {
  Case data;
  int64_t batch_size = 64;
  int threads = 1;
};
void PrintTo(const SliceCase& c, std::ostream* out) { *out << c.data.name; }

class SliceTest : public ::testing::TestWithParam<SliceCase> {
 protected:
  void SetUp() override {
    data_ = MakeData(GetParam().data, folder_);
    auto fitted = FitFeatures(data_, MakeFeatures(GetParam().data), true);
    ASSERT_TRUE(fitted.ok()) << fitted.status().message();
    features_ = std::move(fitted).value();
  }
  std::unique_ptr<BatchSource> Open(Slice slice, Purpose purpose = Purpose::kTrain) {
    const OpenOptions options = {.purpose = purpose,
                                 .batch_size = GetParam().batch_size,
                                 .epochs = 2,
                                 .seed = 5,
                                 .num_reader_threads = GetParam().threads,
                                 .slice = slice};
    auto source = OpenSource(data_, features_, options);
    EXPECT_TRUE(source.ok()) << source.status().message();
    return source.ok() ? std::move(source).value() : nullptr;
  }

  TempFolder folder_;
  DataConfig data_;
  FittedFeatures features_;
};

// Ranks in lockstep with one process: each has its consecutive share of the same global batch, and says the same of it.
void ExpectShares(BatchSource* whole, std::vector<std::unique_ptr<BatchSource>>* ranks) {
  const int size = static_cast<int>(ranks->size());
  Batch all, mine;
  int64_t batches = 0;
  for (;;) {
    const auto more = whole->Next(&all);
    ASSERT_TRUE(more.ok()) << more.status().message();
    EXPECT_EQ(all.global_size, all.size);
    int64_t next = 0;
    for (int r = 0; r < size; ++r) {
      BatchSource* source = (*ranks)[static_cast<size_t>(r)].get();
      const auto there = source->Next(&mine);
      ASSERT_TRUE(there.ok()) << there.status().message();
      ASSERT_EQ(there.value(), more.value()) << "rank " << r << ", batch " << batches;
      EXPECT_EQ(source->position(), whole->position()) << "rank " << r << ", batch " << batches;
      const SourceStats a = source->stats(), b = whole->stats();
      EXPECT_EQ(std::tie(a.samples, a.bytes, a.skipped_lines, a.dropped_negatives),
                std::tie(b.samples, b.bytes, b.skipped_lines, b.dropped_negatives));
      if (!more.value()) continue;
      ASSERT_EQ(mine.global_size, all.size);
      ASSERT_EQ(mine.first_sample, all.first_sample + next);
      ASSERT_EQ(mine.epoch, all.epoch);
      ASSERT_EQ(mine.size, ChunksOfPart(all.size, r, size).size());
      testing::ExpectWellFormed(mine, source->schema());
      for (int64_t i = 0; i < mine.size; ++i)
        ASSERT_EQ(SampleBytes(mine, i), SampleBytes(all, next + i)) << "rank " << r;
      next += mine.size;
    }
    if (!more.value()) break;
    ASSERT_EQ(next, all.size);
    ++batches;
  }
  EXPECT_GT(batches, 2);
}

TEST_P(SliceTest, RanksShareEveryBatchInOrder) {
  for (const int size : {1, 2, 3, 4, 8}) {
    SCOPED_TRACE(size);
    for (const Purpose purpose : {Purpose::kTrain, Purpose::kEval}) {
      if (purpose == Purpose::kEval && !HasEvaluation(data_)) continue;
      auto whole = Open({}, purpose);
      std::vector<std::unique_ptr<BatchSource>> ranks;
      for (int r = 0; r < size; ++r) ranks.push_back(Open({r, size}, purpose));
      ExpectShares(whole.get(), &ranks);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(SliceTest, ContinuesFromThePositionOfAnyNumberOfRanks) {
  const Drained all = Drain(Open({}).get());
  const size_t at = all.positions.size() / 2;
  auto whole = Open({});
  ASSERT_TRUE(whole->Seek(all.positions[at]).ok());
  std::vector<std::unique_ptr<BatchSource>> ranks;
  for (int r = 0; r < 3; ++r) {
    ranks.push_back(Open({r, 3}));
    ASSERT_TRUE(ranks.back()->Seek(all.positions[at]).ok());
    EXPECT_EQ(ranks.back()->position(), all.positions[at]);
  }
  ExpectShares(whole.get(), &ranks);
}

INSTANTIATE_TEST_SUITE_P(
    Formats, SliceTest,
    ::testing::Values(
        SliceCase{{"criteo", "criteo"}, 64, 2}, SliceCase{{"criteo_shuffled", "criteo", 150}, 77, 0},
        SliceCase{{"criteo_gz", "criteo.gz", 100, "hash"}, 33}, SliceCase{{"criteo_zst", "criteo.zst"}, 64},
        SliceCase{{"criteo_tail", "criteo", 0, "tail", 0.5}, 50}, SliceCase{{"csv", "csv"}, 64, 2},
        SliceCase{{"csv_shuffled", "csv", 100, "hash"}, 31}, SliceCase{{"csv_time", "csv", 0, "time", 0.7}, 64},
        SliceCase{{"csv_tail", "csv", 64, "tail"}, 64}, SliceCase{{"libffm", "libffm", 128, "hash", 0.5}, 37},
        SliceCase{{"libffm_tail", "libffm", 0, "tail"}, 10}, SliceCase{{"libsvm", "libsvm", 1000}, 64, 3},
        SliceCase{{"packed", "packed"}, 64, 2}, SliceCase{{"packed_shuffled", "packed", 200, "hash"}, 30},
        SliceCase{{"packed_tail", "packed", 0, "tail", 0.4}, 45}),
    [](const auto& test) { return test.param.data.name; });

// Global batches larger than the data, and fewer samples than ranks.
TEST(SliceEndsTest, AShareMayBeEmpty) {
  TempFolder folder;
  DataConfig data;
  data.train = {folder.Write("a.ffm", "1 0:a:1 1:b:1 1:c:1\n0 0:d:1\n1 1:e:1\n")};
  auto fitted = FitFeatures(data, {}, false);
  ASSERT_TRUE(fitted.ok()) << fitted.status().message();
  int64_t samples = 0;
  for (int r = 0; r < 8; ++r) {
    auto source = OpenSource(data, fitted.value(), {.batch_size = 100, .num_reader_threads = 0, .slice = {r, 8}});
    ASSERT_TRUE(source.ok());
    Batch batch;
    ASSERT_TRUE(source.value()->Next(&batch).value());
    testing::ExpectWellFormed(batch, source.value()->schema());
    EXPECT_EQ(batch.global_size, 3);
    samples += batch.size;
    EXPECT_FALSE(source.value()->Next(&batch).value());
  }
  EXPECT_EQ(samples, 3);
}

TEST(SliceEndsTest, FilesMayOrderTheirColumnsDifferently) {
  TempFolder folder;
  DataConfig data;
  std::string one = "label,a,b\n", two = "b,label,a\n";
  for (int i = 0; i < 40; ++i) {
    one += fmt::format("{},x{},y{}\n", i % 2, i, i);
    two += fmt::format("y{},{},x{}\n", i, i % 2, i);
  }
  data.train = {folder.Write("1.csv", one), folder.Write("2.csv", two)};
  data.shuffle_window = 80;
  auto fitted = FitFeatures(data, {{"a", {}}, {"b", {}}}, false);
  ASSERT_TRUE(fitted.ok()) << fitted.status().message();
  const OpenOptions options = {.batch_size = 20};
  auto whole = OpenSource(data, fitted.value(), options);
  std::vector<std::unique_ptr<BatchSource>> ranks;
  for (int r = 0; r < 3; ++r) {
    OpenOptions mine = options;
    mine.slice = {r, 3};
    ranks.push_back(OpenSource(data, fitted.value(), mine).value());
  }
  ExpectShares(whole.value().get(), &ranks);
}

// A bad line belongs to one rank, which names it where it stands in its file; the others go on.
TEST(SliceEndsTest, TheRankThatHasABadLineNamesIt) {
  TempFolder folder;
  std::string text = "label,n,s\n";
  for (int i = 0; i < 100; ++i) text += fmt::format("{},{},\"a\n{}\"\n", i % 2, i == 70 ? "bad" : "3", i);
  DataConfig data;
  data.train = {folder.Write("a.csv", text)};
  data.block_bytes = 4096;
  FeatureConfig number;
  number.type = "numeric";
  auto fitted = FitFeatures(data, {{"n", number}, {"s", {}}}, true);
  ASSERT_TRUE(fitted.ok()) << fitted.status().message();
  for (int r = 0; r < 4; ++r) {
    auto source = OpenSource(data, fitted.value(), {.batch_size = 100, .slice = {r, 4}});
    ASSERT_TRUE(source.ok());
    const Drained drained = Drain(source.value().get());
    EXPECT_EQ(drained.status.ok(), r != 2) << r;
    if (r == 2) {
      EXPECT_EQ(drained.status.code(), StatusCode::kDataLoss);
      EXPECT_NE(drained.status.message().find("a.csv:142: column 2"), std::string::npos) << drained.status.message();
    }
  }
}

// Where bad lines are left out, no rank counts them.
TEST(SliceEndsTest, SkippedLinesAreNobodys) {
  TempFolder folder;
  DataConfig data;
  std::string text;
  for (int i = 0; i < 200; ++i) text += i % 7 == 3 ? "1 0:x:bad\n" : fmt::format("{} 0:k{}:1\n", i % 2, i);
  data.train = {folder.Write("a.ffm", text)};
  data.on_bad_line = "skip";
  data.shuffle_window = 50;
  auto fitted = FitFeatures(data, {}, false);
  ASSERT_TRUE(fitted.ok()) << fitted.status().message();
  auto whole = OpenSource(data, fitted.value(), {.batch_size = 24});
  std::vector<std::unique_ptr<BatchSource>> ranks;
  for (int r = 0; r < 3; ++r)
    ranks.push_back(OpenSource(data, fitted.value(), {.batch_size = 24, .slice = {r, 3}}).value());
  ExpectShares(whole.value().get(), &ranks);
}

}  // namespace
}  // namespace sluice::data
