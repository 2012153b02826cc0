#include <cmath>
#include <limits>
#include <set>

#include "data/numbers.h"
#include "data/plan.h"
#include "data/testing.h"

namespace sluice::data {
namespace {

using testing::TempFolder;

FeatureConfig Numeric(const std::string& transform) {
  FeatureConfig config;
  config.type = "numeric";
  config.transform = transform;
  return config;
}

// The only batch of a csv text.
Batch ReadCsv(const std::string& text, const FeatureList& features, DataConfig data = {},
              Purpose purpose = Purpose::kTrain) {
  TempFolder folder;
  data.train = {folder.Write("a.csv", text)};
  Batch batch;
  auto fitted = FitFeatures(data, features, true);
  EXPECT_TRUE(fitted.ok()) << fitted.status().message();
  if (!fitted.ok()) return batch;
  // What a checkpoint saves is what is used.
  auto loaded = FittedFeatures::Load(fitted.value().Save());
  EXPECT_TRUE(loaded.ok()) << loaded.status().message();
  EXPECT_EQ(loaded.value().Save(), fitted.value().Save());
  auto source = OpenSource(data, loaded.value(), {.purpose = purpose, .batch_size = 100000});
  EXPECT_TRUE(source.ok()) << source.status().message();
  if (!source.ok()) return batch;
  const auto more = source.value()->Next(&batch);
  EXPECT_TRUE(more.ok()) << more.status().message();
  testing::ExpectWellFormed(batch, source.value()->schema());
  return batch;
}

TEST(NumberTest, ReadsWhatStrtodReadsAndRefusesTheRest) {
  for (const std::string text : {"0", "-0", "7", "+12", "-345678901234567", "123456789012345678901", "1.5", "-2e3", "1e-300", ".5"}) {
    double x = 0;
    ASSERT_TRUE(ParseNumber(text.data(), text.data() + text.size(), &x)) << text;
    EXPECT_EQ(x, std::strtod(text.c_str(), nullptr)) << text;
  }
  for (const std::string text : {"", "-", "+", "nan", "inf", "-inf", "1e999", "1x", " 1", "1 ", "--1", "+-1", "0x10", "1,5"}) {
    double x = 0;
    EXPECT_FALSE(ParseNumber(text.data(), text.data() + text.size(), &x)) << text;
  }
}

TEST(TransformTest, LogAndClipAndMissing) {
  FeatureConfig log = Numeric("log");
  log.missing_value = -1;
  log.column = "x";
  FeatureConfig clip = Numeric("none");
  clip.clip = {-2, 10};
  clip.column = "x";
  const Batch batch = ReadCsv("label,x\n1,0\n1,3\n1,-5\n1,\n1,2.5\n1,100000\n", {{"l", log}, {"c", clip}});
  const auto expected = [](double x) { return static_cast<float>(x < 0 ? -std::log1p(-x) : std::log1p(x)); };
  EXPECT_EQ(batch.dense, (std::vector<float>{expected(0), 0, expected(3), 3, expected(-5), -2, -1, 0, expected(2.5), 2.5f,
                                             expected(100000), 10}));
}

TEST(TransformTest, SqlogBucketsAreThoseOfTheCriteoWinners) {
  const Batch batch = ReadCsv("label,x\n1,-1\n1,0\n1,2\n1,3\n1,20\n1,1000000\n1,\n", {{"x", Numeric("sqlog")}});
  const uint64_t salt = VocabularySalt("x");
  std::vector<Key> expected;
  for (const int64_t x : {-1, 0, 2, 3, 20, 1000000})
    expected.push_back(IntegerKey(static_cast<uint64_t>(
                                      x > 2 ? static_cast<int64_t>(std::floor(std::pow(std::log(static_cast<double>(x)), 2))) : x),
                                  salt));
  expected.push_back(MissingKey(salt));
  EXPECT_EQ(batch.fields[0].keys, expected);
}

TEST(TransformTest, BucketBoundariesBelongToTheUpperBucket) {
  FeatureConfig bucket = Numeric("bucket");
  bucket.boundaries = {0, 10};
  const Batch batch = ReadCsv("label,x\n1,-1\n1,0\n1,9.9\n1,10\n", {{"x", bucket}});
  const uint64_t salt = VocabularySalt("x");
  EXPECT_EQ(batch.fields[0].keys,
            (std::vector<Key>{IntegerKey(0, salt), IntegerKey(1, salt), IntegerKey(1, salt), IntegerKey(2, salt)}));
}

TEST(TransformTest, QuantileBucketsHoldEqualShares) {
  std::string text = "label,x,same\n";
  for (int i = 0; i < 1000; ++i) text += fmt::format("1,{},5\n", (i * 377) % 1000);
  FeatureConfig quantile = Numeric("quantile");
  quantile.buckets = 10;
  const Batch batch = ReadCsv(text, {{"x", quantile}, {"same", quantile}});
  for (int64_t i = 0; i < 1000; ++i) {
    const uint64_t bucket = static_cast<uint64_t>((i * 377) % 1000) / 100;
    ASSERT_EQ(batch.fields[0].keys[i], IntegerKey(bucket, VocabularySalt("x")));
  }
  EXPECT_EQ(std::set<Key>(batch.fields[1].keys.begin(), batch.fields[1].keys.end()).size(), 1u);
}

TEST(TransformTest, StandardiseUsesTheFirstSamplesOnly) {
  DataConfig data;
  data.fit_samples = 4;
  const Batch batch = ReadCsv("label,x\n1,1\n1,3\n1,\n1,5\n1,1000\n", {{"x", Numeric("standardise")}}, data);
  const double deviation = std::sqrt(8.0 / 3.0);
  EXPECT_FLOAT_EQ(batch.dense[0], static_cast<float>(-2 / deviation));
  EXPECT_FLOAT_EQ(batch.dense[1], 0);
  EXPECT_FLOAT_EQ(batch.dense[2], 0);
  EXPECT_FLOAT_EQ(batch.dense[4], static_cast<float>(997 / deviation));
}

TEST(FieldTest, SeveralKeysWithWeightsUpToMaxKeys) {
  FeatureConfig keys;
  keys.multi = true;
  keys.weighted = true;
  keys.max_keys = 2;
  keys.vocabulary = "shared";
  FeatureConfig one;
  one.vocabulary = "shared";
  const Batch batch = ReadCsv("label,k,o\n1,a:2|b|c:3,a\n0,,b\n1,x:y:0.5,c\n", {{"k", keys}, {"o", one}});
  const uint64_t salt = VocabularySalt("shared");
  EXPECT_EQ(batch.fields[0].offsets, (std::vector<int32_t>{0, 2, 3, 4}));
  EXPECT_EQ(batch.fields[0].keys,
            (std::vector<Key>{StringKey("a", salt), StringKey("b", salt), MissingKey(salt), StringKey("x:y", salt)}));
  EXPECT_EQ(batch.fields[0].weights, (std::vector<float>{2, 1, 1, 0.5f}));
  EXPECT_EQ(batch.fields[1].keys[0], batch.fields[0].keys[0]);
}

TEST(FieldTest, CrossHasAKeyPerCombination) {
  FeatureConfig multi;
  multi.multi = true;
  FeatureConfig cross;
  cross.type = "cross";
  cross.crosses = {"a", "b"};
  const Batch batch = ReadCsv("label,a,b\n1,x|y,p|q\n1,x,p\n", {{"a", multi}, {"b", multi}, {"a_b", cross}});
  EXPECT_EQ(batch.fields[2].offsets, (std::vector<int32_t>{0, 4, 5}));
  EXPECT_EQ(std::set<Key>(batch.fields[2].keys.begin(), batch.fields[2].keys.end()).size(), 4u);
  EXPECT_EQ(batch.fields[2].keys[0], batch.fields[2].keys[4]);
  const Batch plain = ReadCsv("label,a,b\n1,x,p\n1,p,x\n", {{"a", {}}, {"b", {}}, {"a_b", cross}});
  EXPECT_TRUE(plain.fields[2].offsets.empty());
  EXPECT_NE(plain.fields[2].keys[0], plain.fields[2].keys[1]);
}

TEST(FieldTest, CrossesOfGoodLinesSurviveBadOnes) {
  FeatureConfig multi;
  multi.multi = true;
  FeatureConfig cross;
  cross.type = "cross";
  cross.crosses = {"a", "b"};
  const FeatureList features = {{"a", multi}, {"b", {}}, {"n", Numeric("none")}, {"a_b", cross}};
  DataConfig data;
  data.on_bad_line = "skip";
  const Batch skipped = ReadCsv("label,a,b,n\n1,x|y,p,1\n1,u|v|w,q,bad\n0,y,p,2\n", features, data);
  const Batch good = ReadCsv("label,a,b,n\n1,x|y,p,1\n0,y,p,2\n", features, data);
  ASSERT_EQ(skipped.size, 2);
  for (size_t f = 0; f < good.fields.size(); ++f) {
    EXPECT_EQ(skipped.fields[f].offsets, good.fields[f].offsets);
    EXPECT_EQ(skipped.fields[f].keys, good.fields[f].keys);
  }
}

TEST(ColumnTest, LabelsWeightsAndGroups) {
  DataConfig data;
  data.label = {"click", "buy"};
  data.sample_weight = "w";
  data.group = "user";
  const Batch batch = ReadCsv("w,click,a,buy,user\n0.5,1,x,0,u1\n2,0,y,1,u2\n1,1,z,1,u1\n", {{"a", {}}}, data);
  EXPECT_EQ(batch.labels, (std::vector<float>{1, 0, 0, 1, 1, 1}));
  EXPECT_EQ(batch.sample_weights, (std::vector<float>{0.5f, 2, 1}));
  EXPECT_EQ(batch.groups[0], batch.groups[2]);
  EXPECT_NE(batch.groups[0], batch.groups[1]);
}

TEST(PredictTest, PassesColumnsThroughAndNeedsNoLabel) {
  DataConfig data;
  data.passthrough = {"id", "a"};
  data.sample_weight = "w";
  TempFolder folder;
  data.train = {folder.Write("a.csv", "label,id,a,w\n1,7,x,1\n")};
  auto fitted = FitFeatures(data, {{"a", {}}}, true);
  ASSERT_TRUE(fitted.ok()) << fitted.status().message();
  data.train = {folder.Write("b.csv", "a,id\nx,8\n\"y,z\",9\n")};
  auto source = OpenSource(data, fitted.value(), {.purpose = Purpose::kPredict});
  ASSERT_TRUE(source.ok()) << source.status().message();
  Batch batch;
  const auto more = source.value()->Next(&batch);
  ASSERT_TRUE(more.ok()) << more.status().message();
  EXPECT_EQ(batch.passthrough, (std::vector<std::string>{"8,x", "9,\"y,z\""}));
}

TEST(PredictTest, CriteoLinesWithoutLabelGiveTheSameFeatures) {
  TempFolder folder;
  DataConfig data;
  data.train = {folder.Write("a.tsv", testing::CriteoText(0, 50))};
  auto fitted = FitFeatures(data, {}, true);
  Batch with, without;
  ASSERT_TRUE(OpenSource(data, fitted.value(), {}).value()->Next(&with).ok());
  data.train = {folder.Write("b.tsv", testing::CriteoText(0, 50, false))};
  const auto more = OpenSource(data, fitted.value(), {.purpose = Purpose::kPredict}).value()->Next(&without);
  ASSERT_TRUE(more.ok()) << more.status().message();
  EXPECT_EQ(with.dense, without.dense);
  for (size_t f = 0; f < with.fields.size(); ++f) EXPECT_EQ(with.fields[f].keys, without.fields[f].keys);
}

TEST(InferTest, CsvTypesComeFromTheHead) {
  TempFolder folder;
  std::string text = "label,many,few,text\n";
  for (int i = 0; i < 200; ++i) text += fmt::format("{},{},{},t{}\n", i % 2, i * 1.5, i % 3, i);
  DataConfig data;
  data.train = {folder.Write("a.csv", text)};
  const auto dense = InferFeatures(data, true);
  ASSERT_TRUE(dense.ok()) << dense.status().message();
  ASSERT_EQ(dense.value().size(), 3u);
  EXPECT_EQ(dense.value()[0].second.transform, "standardise");
  EXPECT_EQ(dense.value()[1].second.type, "categorical");
  EXPECT_EQ(dense.value()[2].second.type, "categorical");
  EXPECT_EQ(InferFeatures(data, false).value()[0].second.transform, "quantile");
}

TEST(LibffmTest, FieldsBecomeFeatures) {
  TempFolder folder;
  DataConfig data;
  data.train = {folder.Write("a.ffm", "1 0:5:1 1:7:0.5 1:8:2 # note\n-1 0:6:1\n")};
  auto fitted = FitFeatures(data, {}, true);
  ASSERT_TRUE(fitted.ok()) << fitted.status().message();
  auto source = OpenSource(data, fitted.value(), {});
  Batch batch;
  const auto more = source.value()->Next(&batch);
  ASSERT_TRUE(more.ok()) << more.status().message();
  const uint64_t f0 = VocabularySalt("F0"), f1 = VocabularySalt("F1");
  EXPECT_EQ(batch.labels, (std::vector<float>{1, 0}));
  EXPECT_EQ(batch.fields[0].keys, (std::vector<Key>{StringKey("5", f0), StringKey("6", f0)}));
  EXPECT_EQ(batch.fields[1].offsets, (std::vector<int32_t>{0, 2, 3}));
  EXPECT_EQ(batch.fields[1].keys, (std::vector<Key>{StringKey("7", f1), StringKey("8", f1), MissingKey(f1)}));
  EXPECT_EQ(batch.fields[1].weights, (std::vector<float>{0.5f, 2, 1}));
}

TEST(LibsvmTest, RangesOfIndicesBecomeFeatures) {
  TempFolder folder;
  DataConfig data;
  data.group = "qid";
  data.train = {folder.Write("a.svm", "+1 qid:3 1:0.5 4:2 70000:1\n-1 qid:3 2:7\n")};
  FeatureConfig number = Numeric("none");
  number.column = "1";
  FeatureConfig low;
  low.column = "2-10";
  low.weighted = true;
  FeatureConfig rest;
  rest.column = "11-100000";
  rest.multi = true;
  auto fitted = FitFeatures(data, {{"n", number}, {"low", low}, {"rest", rest}}, true);
  auto source = OpenSource(data, fitted.value(), {});
  ASSERT_TRUE(source.ok()) << source.status().message();
  Batch batch;
  const auto more = source.value()->Next(&batch);
  ASSERT_TRUE(more.ok()) << more.status().message();
  EXPECT_EQ(batch.dense, (std::vector<float>{0.5f, 0}));
  EXPECT_EQ(batch.fields[0].keys, (std::vector<Key>{StringKey("4", VocabularySalt("low")), StringKey("2", VocabularySalt("low"))}));
  EXPECT_EQ(batch.fields[0].weights, (std::vector<float>{2, 7}));
  EXPECT_EQ(batch.fields[1].keys, (std::vector<Key>{StringKey("70000", VocabularySalt("rest")), MissingKey(VocabularySalt("rest"))}));
  EXPECT_EQ(batch.groups[0], batch.groups[1]);
}

// The census data, where SLUICE_DATA_DIR has it.
TEST(AdultTest, ReadsTheStandardSplit) {
  const char* folder = std::getenv("SLUICE_DATA_DIR");
  if (folder == nullptr) GTEST_SKIP() << "SLUICE_DATA_DIR is not set";
  DataConfig data;
  data.train = {std::string(folder) + "/adult/train.csv.gz"};
  data.eval = {std::string(folder) + "/adult/test.csv.gz"};
  data.label = {"salary-class"};
  data.positive_label = ">50K";
  auto fitted = FitFeatures(data, {}, false);
  ASSERT_TRUE(fitted.ok()) << fitted.status().message();
  EXPECT_EQ(fitted.value().features.size(), 14u);
  for (const auto& [purpose, samples, positives] :
       {std::tuple{Purpose::kTrain, 32561, 7841}, std::tuple{Purpose::kEval, 16281, 3846}}) {
    auto source = OpenSource(data, fitted.value(), {.purpose = purpose});
    ASSERT_TRUE(source.ok()) << source.status().message();
    Batch batch;
    double sum = 0;
    for (;;) {
      const auto more = source.value()->Next(&batch);
      ASSERT_TRUE(more.ok()) << more.status().message();
      if (!more.value()) break;
      for (const float label : batch.labels) sum += label;
    }
    EXPECT_EQ(source.value()->stats().samples, samples);
    EXPECT_EQ(sum, positives);
  }
}

}  // namespace
}  // namespace sluice::data
