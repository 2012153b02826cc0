#include "config/describe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/test_settings.h"

namespace sluice::config {
namespace {

using testing::HasSubstr;
using testing::Not;

const KeyInfo& Find(const std::vector<KeyInfo>& keys, const std::string& path) {
  static const KeyInfo kNone;
  for (const KeyInfo& key : keys)
    if (key.path == path) return key;
  ADD_FAILURE() << "no key " << path;
  return kNone;
}

TEST(DescribeTest, ListsEveryKeyWithItsFacts) {
  const auto keys = Describe<TestSettings>();
  const KeyInfo& batch = Find(keys, "train.batch_size");
  EXPECT_EQ(batch.type, "integer");
  EXPECT_EQ(batch.default_value, "2048");
  EXPECT_EQ(batch.range, "1 to 1048576");
  EXPECT_EQ(batch.unit, "samples");
  EXPECT_EQ(batch.text, "Samples per step.");
  EXPECT_FALSE(batch.performance_only);
  EXPECT_TRUE(Find(keys, "train.overlap").performance_only);
  EXPECT_EQ(Find(keys, "mlp").default_value, "[400, 400]");
  EXPECT_EQ(Find(keys, "mlp").range, ">= 1");
  EXPECT_TRUE(Find(keys, "features.<name>").section);
  EXPECT_TRUE(Find(keys, "features.<name>.type").required);
  EXPECT_EQ(Find(keys, "features.<name>.init.kind").range, "one of: normal, uniform, zero");
  EXPECT_EQ(Find(keys, "layers[].name").type, "text");
}

TEST(DescribeTest, KeepsTheKeysOfASectionTogether) {
  struct Outer {
    TestTrain train;
    int64_t last = 3;
    void Visit(Visitor& v) {
      v.Struct("train", train, {.text = "Training."});
      v.Field("last", last, {.text = "After a section."});
    }
  };
  const auto keys = Describe<Outer>();
  EXPECT_EQ(keys[0].path, "last");
  EXPECT_EQ(keys[1].path, "train");
  EXPECT_EQ(keys[2].path, "train.batch_size");
}

TEST(DescribeTest, ShowsTheValuesOfTheStructAsDefaults) {
  TestSettings settings;
  settings.train.batch_size = 7;
  EXPECT_EQ(Find(Describe(settings), "train.batch_size").default_value, "7");
}

TEST(HelpTextTest, ListsKeysBelowAPrefix) {
  const std::string all = HelpText(Describe<TestSettings>(), 80);
  EXPECT_THAT(all, HasSubstr("  train.batch_size  = 2048\n      Samples per step. [integer, 1 to 1048576 samples]\n"));
  EXPECT_THAT(all, HasSubstr("features.<name>.type  (required)"));
  const std::string some = HelpText(Describe<TestSettings>(), 80, "train");
  EXPECT_THAT(some, HasSubstr("train.overlap"));
  EXPECT_THAT(some, Not(HasSubstr("mlp")));
  EXPECT_THAT(some, HasSubstr("speed only"));
}

TEST(MarkdownReferenceTest, MakesATablePerSection) {
  const std::string text = MarkdownReference(Describe<TestSettings>(), 3);
  EXPECT_THAT(text, HasSubstr("### `train`\n\nTraining.\n\n| key |"));
  EXPECT_THAT(
      text,
      HasSubstr(
          "| `train.overlap` | true/false | `true` |  | Overlap the stages. Speed only: cannot change results. |\n"));
  EXPECT_THAT(text, HasSubstr("| `layers[].name` | text | required |"));
}

}  // namespace
}  // namespace sluice::config
