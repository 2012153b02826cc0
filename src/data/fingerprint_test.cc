#include "data/fingerprint.h"

#include "data/testing.h"

namespace sluice::data {
namespace {

using testing::TempFolder;

std::vector<FileFingerprint> Files(const DataConfig& data) {
  auto files = FingerprintFiles(data);
  EXPECT_TRUE(files.ok()) << files.status().message();
  auto again = ParseFingerprints(FormatFingerprints(files.value()));
  EXPECT_TRUE(again.ok()) << again.status().message();
  EXPECT_EQ(DifferenceOfFiles(again.value(), files.value()), "");
  return again.value();
}

TEST(FingerprintTest, SeesLengthContentAndNumber) {
  TempFolder folder;
  DataConfig data;
  const std::string path = folder.Write("a b.tsv", std::string(300000, 'x'));
  data.train = {folder.path("*.tsv")};
  const auto first = Files(data);
  EXPECT_EQ(DifferenceOfFiles(Files(data), first), "");

  for (const size_t at : {0u, 70000u, 299999u}) {  // its start, its end
    std::string other(300000, 'x');
    if (at == 70000u) std::fill(other.begin() + 70000, other.begin() + 110000, 'y');  // a stretch within
    other[at] = 'y';
    folder.Write("a b.tsv", other);
    EXPECT_EQ(DifferenceOfFiles(Files(data), first), path + " has the same length, but other content") << at;
  }
  folder.Write("a b.tsv", std::string(300001, 'x'));
  EXPECT_EQ(DifferenceOfFiles(Files(data), first), path + " has 300001 bytes here and 300000 there");
  folder.Write("a b.tsv", std::string(300000, 'x'));
  folder.Write("b.tsv", "");
  EXPECT_EQ(DifferenceOfFiles(Files(data), first), "2 files here and 1 there");
  folder.Write("a.tsv", "x");  // sorts after "a b.tsv"
  EXPECT_EQ(DifferenceOfFiles({Files(data)[1]}, first), folder.path("a.tsv") + " here and " + path + " there");
}

TEST(FingerprintTest, RefusesTextThatIsNone) {
  for (const char* text : {"x", "1 2", "1 2\n", "1 2 a", "a 2 a\n", "1 a a\n", "1  a\n"})
    EXPECT_FALSE(ParseFingerprints(text).ok()) << text;
  EXPECT_TRUE(ParseFingerprints("").ok());
}

TEST(FingerprintTest, AMissingFileIsNamed) {
  DataConfig data;
  data.train = {"/nowhere/data.tsv"};
  const auto files = FingerprintFiles(data);
  EXPECT_EQ(files.status().code(), StatusCode::kNotFound);
  EXPECT_NE(files.status().message().find("/nowhere/data.tsv"), std::string::npos);
}

}  // namespace
}  // namespace sluice::data
