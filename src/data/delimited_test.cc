#include <cmath>

#include "data/testing.h"

namespace sluice::data {
namespace {

using testing::TempFolder;

TEST(CriteoTest, KeysAndNumbersAreThoseOfTheText) {
  TempFolder folder;
  DataConfig data;
  data.train = {folder.Write("a.tsv", "1\t5" + std::string(11, '\t') + "\t-3\t0123abcd" + std::string(25, '\t') + "\n")};
  auto fitted = FitFeatures(data, {}, true);
  ASSERT_TRUE(fitted.ok()) << fitted.status().message();
  auto source = OpenSource(data, fitted.value(), {.num_reader_threads = 0});
  ASSERT_TRUE(source.ok()) << source.status().message();
  Batch batch;
  auto more = source.value()->Next(&batch);
  ASSERT_TRUE(more.ok()) << more.status().message();
  ASSERT_EQ(batch.size, 1);
  EXPECT_EQ(batch.labels[0], 1);
  EXPECT_EQ(batch.dense[0], static_cast<float>(std::log1p(5.0)));
  EXPECT_EQ(batch.dense[1], 0);
  EXPECT_EQ(batch.dense[12], static_cast<float>(-std::log1p(3.0)));
  EXPECT_EQ(batch.fields[0].keys[0], StringKey("0123abcd", VocabularySalt("C1")));
  EXPECT_EQ(batch.fields[25].keys[0], MissingKey(VocabularySalt("C26")));
  ASSERT_FALSE(source.value()->Next(&batch).value());
}

TEST(CriteoTest, StreamIsTheSameForAnyThreadsAndBlocks) {
  TempFolder folder;
  DataConfig data;
  data.train = {folder.Write("a.tsv", testing::CriteoText(0, 700)), folder.Write("b.tsv", testing::CriteoText(700, 1000))};
  data.block_bytes = 1 << 20;
  const auto whole = testing::ReadAll(data, {}, {.batch_size = 64, .epochs = 2, .num_reader_threads = 0});
  ASSERT_TRUE(whole.status.ok()) << whole.status.message();
  ASSERT_EQ(whole.samples.size(), 2000u);
  ASSERT_EQ(whole.batch_sizes[15], 1000 - 15 * 64);
  for (const int threads : {0, 1, 3}) {
    data.block_bytes = 4096;
    const auto pieces = testing::ReadAll(data, {}, {.batch_size = 64, .epochs = 2, .num_reader_threads = threads});
    ASSERT_TRUE(pieces.status.ok()) << pieces.status.message();
    EXPECT_EQ(pieces.samples, whole.samples) << threads;
    EXPECT_EQ(pieces.batch_sizes, whole.batch_sizes);
  }
}

TEST(CsvTest, QuotesBlanksAndMissingValues) {
  TempFolder folder;
  DataConfig data;
  data.format = "csv";
  data.label = {"y"};
  data.positive_label = "yes";
  data.train = {folder.Write("a.csv", "a,b,y,n\n x , \"p,\"\"q\"\"\nr\" ,yes, 1.5\r\n?,,no,\n")};
  FeatureConfig number;
  number.type = "numeric";
  number.missing_value = -7;
  auto fitted = FitFeatures(data, {{"a", {}}, {"b", {}}, {"n", number}}, true);
  ASSERT_TRUE(fitted.ok()) << fitted.status().message();
  auto source = OpenSource(data, fitted.value(), {.num_reader_threads = 0});
  ASSERT_TRUE(source.ok()) << source.status().message();
  Batch batch;
  auto more = source.value()->Next(&batch);
  ASSERT_TRUE(more.ok()) << more.status().message();
  ASSERT_EQ(batch.size, 2);
  const uint64_t a = VocabularySalt("a"), b = VocabularySalt("b");
  EXPECT_EQ(batch.labels, (std::vector<float>{1, 0}));
  EXPECT_EQ(batch.fields[0].keys, (std::vector<Key>{StringKey("x", a), MissingKey(a)}));
  EXPECT_EQ(batch.fields[1].keys, (std::vector<Key>{StringKey("p,\"q\"\nr", b), MissingKey(b)}));
  EXPECT_EQ(batch.dense, (std::vector<float>{1.5f, -7}));
}

}  // namespace
}  // namespace sluice::data
