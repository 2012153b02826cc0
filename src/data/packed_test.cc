#include "data/packed.h"

#include "data/testing.h"

namespace sluice::data {
namespace {

using ::testing::HasSubstr;
using testing::Drained;
using testing::ReadAll;
using testing::TempFolder;

// A text with every kind of column, and the same packed.
struct Both {
  explicit Both(const TempFolder& folder, int64_t samples = 10000) {
    std::string content = "label,w,g,a,m,x,q\n";
    for (int64_t i = 0; i < samples; ++i) {
      const uint64_t bits = Mix64(static_cast<uint64_t>(i));
      content += fmt::format("{},{},{},a{},m{}:{}|n{},{},{}\n", bits % 2, bits % 5, bits % 20, bits % 100, bits % 30, bits % 4,
                             bits % 9, bits % 1000, bits % 77);
    }
    text.train = {folder.Write("a.csv", content)};
    text.sample_weight = "w";
    text.group = "g";
    FeatureConfig multi;
    multi.multi = true;
    multi.weighted = true;
    FeatureConfig number;
    number.type = "numeric";
    number.transform = "standardise";
    FeatureConfig quantile = number;
    quantile.transform = "quantile";
    FeatureConfig cross;
    cross.type = "cross";
    cross.crosses = {"a", "q"};
    features = {{"a", {}}, {"m", multi}, {"x", number}, {"q", quantile}, {"a_q", cross}};
    auto fit = FitFeatures(text, features, true);
    SLUICE_CHECK(fit.ok(), "{}", fit.status().message());
    fitted = fit.value();
    auto source = OpenSource(text, fitted, {.batch_size = 1000});
    packed.train = {folder.path("a.sluice")};
    const auto written = Pack(source.value().get(), fitted, packed.train[0]);
    SLUICE_CHECK(written.ok() && written.value() == samples, "packing failed");
  }
  DataConfig text;
  DataConfig packed;
  FeatureList features;
  FittedFeatures fitted;
};

TEST(PackedTest, HoldsWhatTheTextGives) {
  TempFolder folder;
  const Both both(folder);
  EXPECT_FALSE(std::filesystem::exists(both.packed.train[0] + ".partial"));
  const Drained text = ReadAll(both.text, both.features, {.batch_size = 333, .epochs = 2});
  ASSERT_TRUE(text.status.ok()) << text.status.message();
  for (const int threads : {0, 1, 3}) {
    const Drained packed = ReadAll(both.packed, {}, {.batch_size = 333, .epochs = 2, .num_reader_threads = threads});
    ASSERT_TRUE(packed.status.ok()) << packed.status.message();
    EXPECT_EQ(packed.samples, text.samples);
    EXPECT_EQ(packed.batch_sizes, text.batch_sizes);
  }
  EXPECT_EQ(CountPackedSamples(both.packed.train[0]).value(), 10000);
}

TEST(PackedTest, FeaturesMayBeChosenAndReordered) {
  TempFolder folder;
  Both both(folder, 300);
  const FeatureList some = {both.features[3], both.features[0]};
  both.text.sample_weight.clear();
  both.text.group.clear();
  const Drained text = ReadAll(both.text, some, {});
  auto fitted = FitFeatures(both.packed, some, true);
  ASSERT_TRUE(fitted.ok()) << fitted.status().message();
  fitted.value().has_sample_weight = fitted.value().has_group = false;
  auto source = OpenSource(both.packed, fitted.value(), {});
  ASSERT_TRUE(source.ok()) << source.status().message();
  EXPECT_EQ(testing::Drain(source.value().get()).samples, text.samples);
}

TEST(PackedTest, OtherSchemaIsRefusedNamingFeatureAndOption) {
  TempFolder folder;
  const Both both(folder, 300);
  const auto refuse = [&](auto&& change) {
    FittedFeatures other = both.fitted;
    change(&other);
    const auto source = OpenSource(both.packed, other, {});
    EXPECT_EQ(source.status().code(), StatusCode::kInvalidArgument);
    return source.status().message();
  };
  EXPECT_THAT(refuse([](auto* f) { f->features[0].name = "new"; }), HasSubstr("holds no feature 'new'"));
  EXPECT_THAT(refuse([](auto* f) { f->features[0].config.vocabulary = "v"; }), HasSubstr("'a' was packed with another vocabulary"));
  EXPECT_THAT(refuse([](auto* f) { f->features[2].config.transform = "log"; }), HasSubstr("'x' was packed with another transform"));
  EXPECT_THAT(refuse([](auto* f) { f->features[3].boundaries.pop_back(); }), HasSubstr("'q' was packed with another set of bucket"));
  EXPECT_THAT(refuse([](auto* f) { f->features[2].mean += 1; }), HasSubstr("another mean"));
  EXPECT_THAT(refuse([](auto* f) { f->labels.push_back("second"); }), HasSubstr("holds 1 labels, not 2"));
}

TEST(PackedTest, EveryFlippedBitIsFound) {
  TempFolder folder;
  const Both both(folder, 20);
  const std::string good = testing::ReadFile(both.packed.train[0]);
  std::string bad = good;
  for (size_t at = 0; at < good.size(); ++at) {
    bad[at] = static_cast<char>(bad[at] ^ (1 << (at % 8)));
    const auto file = PackedFile::Parse(std::as_bytes(std::span(bad)), "flipped");
    Status status = file.status();
    Batch batch;
    if (file.ok()) status = file.value().Decode(0, "flipped", &batch);
    ASSERT_EQ(status.code(), StatusCode::kDataLoss) << "byte " << at;
    ASSERT_THAT(status.message(), HasSubstr("flipped: "));
    bad[at] = good[at];
  }
  // The same through a source.
  DataConfig data;
  bad[good.size() / 2] ^= 1;
  data.train = {folder.Write("flipped.sluice", bad)};
  auto source = OpenSource(data, both.fitted, {.num_reader_threads = 1});
  const Status status = source.ok() ? testing::Drain(source.value().get()).status : source.status();
  EXPECT_EQ(status.code(), StatusCode::kDataLoss);
  EXPECT_THAT(status.message(), HasSubstr(data.train[0]));
}

TEST(PackedTest, EveryTruncationIsFound) {
  TempFolder folder;
  const Both both(folder, 20);
  const std::string good = testing::ReadFile(both.packed.train[0]);
  const auto parse = [](const std::string& bytes) {
    return PackedFile::Parse(std::as_bytes(std::span(bytes)), "cut").status().code();
  };
  for (size_t size = 0; size < good.size(); ++size) ASSERT_EQ(parse(good.substr(0, size)), StatusCode::kDataLoss) << size;
  EXPECT_EQ(parse(good + "x"), StatusCode::kDataLoss);
  EXPECT_EQ(parse(good), StatusCode::kOk);
  DataConfig data;
  data.train = {folder.Write("cut.sluice", good.substr(0, good.size() - 1))};
  EXPECT_EQ(OpenSource(data, both.fitted, {}).status().code(), StatusCode::kDataLoss);
}

TEST(PackedTest, OtherVersionsAndOtherFilesAreNamed) {
  TempFolder folder;
  const Both both(folder, 20);
  std::string bytes = testing::ReadFile(both.packed.train[0]);
  bytes[8] = 9;
  DataConfig data;
  data.train = {folder.Write("v9.sluice", bytes)};
  EXPECT_THAT(OpenSource(data, both.fitted, {}).status().message(), HasSubstr("version 9, where this program reads 1"));
  data.train = {folder.Write("text.sluice", testing::CriteoText(0, 10))};
  EXPECT_THAT(OpenSource(data, both.fitted, {}).status().message(), HasSubstr("is not a packed file"));
}

TEST(PackedTest, FailedPackingLeavesNothing) {
  TempFolder folder;
  DataConfig data;
  data.train = {folder.Write("a.tsv", testing::CriteoText(0, 5000) + "bad\n")};
  auto fitted = FitFeatures(data, {}, true);
  auto source = OpenSource(data, fitted.value(), {});
  EXPECT_EQ(Pack(source.value().get(), fitted.value(), folder.path("out.sluice")).status().code(), StatusCode::kDataLoss);
  EXPECT_FALSE(std::filesystem::exists(folder.path("out.sluice")));
  EXPECT_FALSE(std::filesystem::exists(folder.path("out.sluice.partial")));
  auto again = OpenSource(data, fitted.value(), {});
  EXPECT_EQ(Pack(again.value().get(), fitted.value(), folder.path("no/such/folder.sluice")).status().code(), StatusCode::kIo);
}

}  // namespace
}  // namespace sluice::data
