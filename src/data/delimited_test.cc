#include <unistd.h>

#include <cmath>
#include <thread>

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

TEST(CsvTest, KeysOfAnyLengthAreStringKeys) {
  TempFolder folder;
  std::string text = "label,a\n";
  for (size_t length = 1; length <= 300; ++length) text += "1," + std::string(length, static_cast<char>('a' + length % 26)) + "\n";
  DataConfig data;
  data.train = {folder.Write("a.csv", text)};
  auto fitted = FitFeatures(data, {{"a", {}}}, true);
  auto source = OpenSource(data, fitted.value(), {});
  Batch batch;
  ASSERT_TRUE(source.value()->Next(&batch).ok());
  ASSERT_EQ(batch.size, 300);
  for (size_t length = 1; length <= 300; ++length)
    EXPECT_EQ(batch.fields[0].keys[length - 1],
              StringKey(std::string(length, static_cast<char>('a' + length % 26)), VocabularySalt("a")));
}

TEST(CsvTest, FilesWithOtherColumnOrdersAndWithoutHeader) {
  TempFolder folder;
  DataConfig data;
  data.train = {folder.Write("a.csv", "\xef\xbb\xbflabel,a,b\n1,x,y\n"), folder.Write("b.csv", "b,extra,label,a\ny,0,1,x\n")};
  const FeatureList features = {{"a", {}}, {"b", {}}};
  const auto with = testing::ReadAll(data, features, {});
  ASSERT_TRUE(with.status.ok()) << with.status.message();
  ASSERT_EQ(with.samples.size(), 2u);
  EXPECT_EQ(with.samples[0], with.samples[1]);
  data.train = {folder.Write("c.csv", "y;1;x\n")};
  data.header = false;
  data.separator = ";";
  data.columns = {"b", "label", "a"};
  const auto without = testing::ReadAll(data, features, {});
  ASSERT_TRUE(without.status.ok()) << without.status.message();
  EXPECT_EQ(without.samples[0], with.samples[0]);
}

// Standard input replaced by the reading end of a pipe.
class PipedInput {
 public:
  PipedInput() : saved_(dup(STDIN_FILENO)) {
    SLUICE_CHECK(pipe(ends_) == 0 && dup2(ends_[0], STDIN_FILENO) == STDIN_FILENO, "pipe");
    close(ends_[0]);
  }
  ~PipedInput() {
    dup2(saved_, STDIN_FILENO);
    close(saved_);
  }
  void Write(const std::string& text) const { SLUICE_CHECK(write(ends_[1], text.data(), text.size()) >= 0, "write"); }
  void Close() const { close(ends_[1]); }

 private:
  int saved_;
  int ends_[2];
};

TEST(StandardInputTest, IsReadLikeAFile) {
  TempFolder folder;
  DataConfig data;
  data.train = {folder.Write("a.tsv", testing::CriteoText(0, 500))};
  const auto file = testing::ReadAll(data, {}, {});
  PipedInput input;
  std::thread writer([&] {
    for (int i = 0; i < 500; ++i) input.Write(testing::CriteoLine(i));
    input.Close();
  });
  data.train = {"-"};
  const auto piped = testing::ReadAll(data, {}, {});
  writer.join();
  ASSERT_TRUE(piped.status.ok()) << piped.status.message();
  EXPECT_EQ(piped.samples, file.samples);
}

TEST(StandardInputTest, ASilentOneDoesNotHoldUpTheEnd) {
  PipedInput input;
  DataConfig data;
  data.train = {"-"};
  data.block_bytes = 4096;
  auto fitted = FitFeatures(data, {}, true);
  {
    auto source = OpenSource(data, fitted.value(), {.batch_size = 4, .num_reader_threads = 1});
    ASSERT_TRUE(source.ok());
    input.Write(testing::CriteoText(0, 60));
    Batch batch;
    EXPECT_TRUE(source.value()->Next(&batch).value());
    EXPECT_EQ(batch.size, 4);
  }  // the reader waits for more, and is told to stop
  input.Close();
}

}  // namespace
}  // namespace sluice::data
