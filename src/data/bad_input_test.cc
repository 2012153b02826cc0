#include <sys/stat.h>

#include "data/testing.h"

namespace sluice::data {
namespace {

using ::testing::HasSubstr;
using testing::CriteoLine;
using testing::Drained;
using testing::ReadAll;
using testing::TempFolder;

// A line that cannot be read, put between good ones.
struct BadLine {
  std::string name;
  std::string format;
  std::string line;      // with its newline
  std::string message;   // what the failure says beside file and line
};

void PrintTo(const BadLine& bad, std::ostream* out) { *out << bad.name; }

std::string GoodLine(const std::string& format, int64_t i) {
  if (format == "criteo") return CriteoLine(i);
  if (format == "csv") return fmt::format("{},a{},{}\n", i % 2, i, i);
  if (format == "libsvm") return fmt::format("{} 1:2 {}:0.5\n", i % 2, 10 + i);
  return fmt::format("{} 0:{}:1 1:7:0.5\n", i % 2, i);
}

FeatureList Features(const std::string& format) {
  FeatureConfig number;
  number.type = "numeric";
  FeatureConfig weighted;
  weighted.weighted = true;
  weighted.column = "1";
  FeatureConfig zero;
  zero.column = "0";
  if (format == "csv") return {{"name", {}}, {"number", number}};
  if (format == "libffm") return {{"a", zero}, {"b", weighted}};
  return {};
}

class BadLineTest : public ::testing::TestWithParam<BadLine> {};

TEST_P(BadLineTest, EndsTheRunNamingFileLineAndColumn) {
  TempFolder folder;
  const auto& [name, format, line, message] = GetParam();
  DataConfig data;
  data.format = format;
  data.max_line_bytes = 4096;
  data.block_bytes = 4096;
  const int64_t header = format == "csv" ? 1 : 0;
  std::string text = header != 0 ? "label,name,number\n" : "";
  for (int64_t i = 0; i < 20; ++i) text += GoodLine(format, i);
  text += line;
  for (int64_t i = 20; i < 40; ++i) text += GoodLine(format, i);
  data.train = {folder.Write("data", text)};
  for (const int threads : {0, 2}) {
    const Drained out = ReadAll(data, Features(format), {.num_reader_threads = threads});
    EXPECT_EQ(out.status.code(), StatusCode::kDataLoss);
    EXPECT_THAT(out.status.message(), HasSubstr(fmt::format("data:{}: ", 21 + header)));
    EXPECT_THAT(out.status.message(), HasSubstr(message));
  }
  // Skipped and counted where the user asks for it; the good lines are all there.
  data.on_bad_line = "skip";
  auto fitted = FitFeatures(data, Features(format), true);
  ASSERT_TRUE(fitted.ok()) << fitted.status().message();
  for (const int threads : {0, 2}) {
    auto source = OpenSource(data, fitted.value(), {.num_reader_threads = threads});
    const Drained out = testing::Drain(source.value().get());
    ASSERT_TRUE(out.status.ok()) << out.status.message();
    EXPECT_EQ(out.samples.size(), 40u);
    EXPECT_EQ(source.value()->stats().skipped_lines, 1);
  }
  data.max_bad_lines = 0;
  EXPECT_THAT(ReadAll(data, Features(format), {}).status.message(), HasSubstr("max_bad_lines"));
}

std::string WithLabel(const std::string& label) {
  const std::string line = CriteoLine(3, false);
  return label + "\t" + line;
}

std::vector<BadLine> BadLines() {
  const std::string tabs12(12, '\t');
  const std::string tabs26(26, '\t');
  return {
      {"TooFewColumns", "criteo", "1\t2\t3\n", "3 columns where 40 are expected"},
      {"TooManyColumns", "criteo", "1\t" + CriteoLine(2), "41 columns where 40 are expected"},
      {"LabelOutOfRange", "criteo", WithLabel("2"), "column 1: the label 2 is outside [0, 1]"},
      {"LabelMissing", "criteo", WithLabel(""), "column 1: the label is missing"},
      {"LabelNaN", "criteo", WithLabel("nan"), "column 1: the label is not a number: 'nan'"},
      {"LabelText", "criteo", WithLabel("yes"), "data.positive_label"},
      {"NumberIsText", "criteo", "1\t12x" + tabs12 + tabs26 + "\n", "column 2: not a finite number: '12x'"},
      {"NumberIsNaN", "criteo", "1\tnan" + tabs12 + tabs26 + "\n", "column 2: not a finite number: 'nan'"},
      {"NumberIsInfinite", "criteo", "1\t\t-inf" + std::string(11, '\t') + tabs26 + "\n", "column 3: not a finite number"},
      {"NumberOverflows", "criteo", "1\t1e999" + tabs12 + tabs26 + "\n", "column 2: not a finite number"},
      {"NulByte", "criteo", "1" + tabs12 + "\t" + std::string(1, '\0') + tabs26 + "\n", "NUL"},
      {"NotUtf8", "criteo", "1" + tabs12 + "\t\t\xff\xfe" + std::string(25, '\t') + "\n", "not UTF-8"},
      {"OverlongUtf8", "criteo", "1" + tabs12 + "\t\t\xc0\xaf" + std::string(25, '\t') + "\n", "not UTF-8"},
      {"OverLong", "criteo", "1" + tabs12 + "\t\t" + std::string(5000, 'a') + std::string(25, '\t') + "\n", "max_line_bytes = 4096"},
      {"VeryLong", "criteo", std::string(50000, 'a') + "\n", "max_line_bytes = 4096"},
      {"CsvTooFew", "csv", "1,a\n", "2 columns where 3 are expected"},
      {"CsvTextAfterQuote", "csv", "1,\"a\"b,2\n", "column 2: text after a closing quote"},
      {"CsvNumber", "csv", "1,a,--3\n", "column 3: not a finite number: '--3'"},
      {"CsvLabel", "csv", "-1,a,3\n", "column 1: the label -1 is outside"},
      {"CsvNul", "csv", "1," + std::string(1, '\0') + ",3\n", "NUL"},
      {"LibsvmNoValue", "libsvm", "1 3:\n", "not index:value: '3:'"},
      {"LibsvmText", "libsvm", "1 abc:1\n", "column 3: not index:value: 'abc:1'"},
      {"LibsvmNegative", "libsvm", "1 -4:1\n", "not index:value"},
      {"LibsvmLabel", "libsvm", "7 3:1\n", "the label 7 is outside"},
      {"LibffmTwoParts", "libffm", "1 3\n", "not field:key:value: '3'"},
      {"LibffmNaN", "libffm", "1 0:3:nan 1:4:1\n", "column 3: not field:key:value: '0:3:nan'"},
      {"LibffmUnknownField", "libffm", "1 0:3:1 1:4:1 9:4:1\n", "field 9 belongs to no feature"},
      {"LibffmTwoKeys", "libffm", "1 0:3:1 0:4:1\n", "more than one value of feature 'a'"},
  };
}

INSTANTIATE_TEST_SUITE_P(All, BadLineTest, ::testing::ValuesIn(BadLines()),
                         [](const auto& test) { return test.param.name; });

TEST(BadFileTest, MissingFolderEmptyAndUnmatched) {
  TempFolder folder;
  DataConfig data;
  const auto read = [&](const std::string& path) {
    data.train = {path};
    return ReadAll(data, {}, {}).status;
  };
  EXPECT_EQ(read(folder.path("none.tsv")).code(), StatusCode::kNotFound);
  EXPECT_THAT(read(folder.path("none.tsv")).message(), HasSubstr("none.tsv"));
  EXPECT_EQ(read(folder.path("none*.tsv")).code(), StatusCode::kNotFound);
  EXPECT_THAT(read(folder.path("none*.tsv")).message(), HasSubstr("no file matches"));
  EXPECT_EQ(read(folder.path("")).code(), StatusCode::kIo);
  EXPECT_THAT(read(folder.path("")).message(), HasSubstr("folder"));
  EXPECT_EQ(read(folder.Write("empty.tsv", "")).code(), StatusCode::kDataLoss);
  EXPECT_THAT(read(folder.path("empty.tsv")).message(), HasSubstr("the file is empty"));
  EXPECT_EQ(read(folder.WriteGzip("empty.tsv.gz", "")).code(), StatusCode::kDataLoss);
  EXPECT_EQ(read(folder.Write("blank.tsv", "\n\n")).code(), StatusCode::kDataLoss);
  EXPECT_THAT(read(folder.path("blank.tsv")).message(), HasSubstr("holds no samples"));
  EXPECT_EQ(read(folder.Write("empty.csv", "")).code(), StatusCode::kDataLoss);
  EXPECT_EQ(ReadAll(DataConfig(), {}, {}).status.code(), StatusCode::kInvalidArgument);
}

TEST(BadFileTest, LastLineWithoutNewlineAndWindowsLinesAreFine) {
  TempFolder folder;
  DataConfig data;
  std::string text = testing::CriteoText(0, 3);
  data.train = {folder.Write("a.tsv", text)};
  const auto good = ReadAll(data, {}, {});
  text.pop_back();
  data.train = {folder.Write("a.tsv", text)};
  EXPECT_EQ(ReadAll(data, {}, {}).samples, good.samples);
  std::string windows;
  for (const char c : text) windows += c == '\n' ? "\r\n" : std::string(1, c);
  data.train = {folder.Write("a.tsv", windows + "\r\n")};
  EXPECT_EQ(ReadAll(data, {}, {}).samples, good.samples);
}

TEST(BadFileTest, TruncatedLineAtTheEndIsNamed) {
  TempFolder folder;
  DataConfig data;
  const std::string text = testing::CriteoText(0, 3);
  data.train = {folder.Write("a.tsv", text.substr(0, text.size() - 60))};
  EXPECT_THAT(ReadAll(data, {}, {}).status.message(), HasSubstr("a.tsv:3: "));
}

TEST(BadFileTest, CutAndDamagedCompressedDataIsNamed) {
  TempFolder folder;
  DataConfig data;
  const std::string text = testing::CriteoText(0, 3000);
  const std::vector<std::string> paths = {folder.WriteGzip("a.tsv.gz", text), folder.WriteZstd("a.tsv.zst", text)};
  for (const std::string& path : paths) {
    const std::string packed = testing::ReadFile(path);
    data.train = {folder.Write("cut", packed.substr(0, packed.size() / 2))};
    const auto cut = ReadAll(data, {}, {.num_reader_threads = 1}).status;
    EXPECT_EQ(cut.code(), StatusCode::kDataLoss);
    EXPECT_THAT(cut.message(), HasSubstr("is cut short"));
    std::string damaged = packed;
    for (size_t i = packed.size() / 2; i < packed.size() / 2 + 40; ++i) damaged[i] = static_cast<char>(~damaged[i]);
    data.train = {folder.Write("damaged", damaged)};
    EXPECT_EQ(ReadAll(data, {}, {}).status.code(), StatusCode::kDataLoss);
    data.train = {folder.Write("garbage", packed + "no compressed data")};
    EXPECT_EQ(ReadAll(data, {}, {}).status.code(), StatusCode::kDataLoss);
    // Several members or frames one after another are one stream.
    data.train = {folder.Write("twice", packed + packed)};
    EXPECT_EQ(ReadAll(data, {}, {}).samples.size(), 6000u);
  }
}

TEST(BadFileTest, UnclosedQuoteIsNamed) {
  TempFolder folder;
  DataConfig data;
  data.max_line_bytes = 4096;
  data.train = {folder.Write("a.csv", "label,name,number\n1,a,2\n1,\"open,2\n0,b,3\n")};
  EXPECT_THAT(ReadAll(data, Features("csv"), {}).status.message(), HasSubstr("a.csv:3: column 2: a quote is never closed"));
  // A long one is given up on after max_line_bytes, so that memory stays bounded.
  std::string text = "label,name,number\n1,\"open,2\n";
  for (int i = 0; i < 5000; ++i) text += "0,b,3\n";
  data.train = {folder.Write("b.csv", text)};
  const auto status = ReadAll(data, Features("csv"), {}).status;
  EXPECT_THAT(status.message(), HasSubstr("b.csv:2: "));
  EXPECT_THAT(status.message(), HasSubstr("never closed"));
}

TEST(BadFileTest, CsvWithoutANeededColumnListsThoseThere) {
  TempFolder folder;
  DataConfig data;
  data.train = {folder.Write("a.csv", "label,nam\n1,a\n")};
  const auto status = ReadAll(data, Features("csv"), {}).status;
  EXPECT_EQ(status.code(), StatusCode::kNotFound);
  EXPECT_THAT(status.message(), HasSubstr("no column 'name'; the columns are: label, nam"));
}

TEST(BadOptionTest, EachIsNamed) {
  TempFolder folder;
  DataConfig data;
  data.train = {folder.Write("a.csv", "label,name,number\n1,a,2\n")};
  const auto message = [&](const FeatureList& features) { return ReadAll(data, features, {}).status.message(); };
  FeatureConfig f;
  f.transform = "log";
  EXPECT_THAT(message({{"name", f}}), HasSubstr("features.name.transform"));
  f.type = "numeric";
  f.transform = "bucket";
  EXPECT_THAT(message({{"number", f}}), HasSubstr("features.number.boundaries"));
  f.boundaries = {2, 1};
  EXPECT_THAT(message({{"number", f}}), HasSubstr("ascend"));
  FeatureConfig cross;
  cross.type = "cross";
  cross.crosses = {"name", "nobody"};
  EXPECT_THAT(message({{"name", {}}, {"x", cross}}), HasSubstr("'nobody' is no sparse feature"));
  data.separator = "ab";
  EXPECT_THAT(message({{"name", {}}}), HasSubstr("data.separator"));
}

}  // namespace
}  // namespace sluice::data
