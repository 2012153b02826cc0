#include "config/text.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::config {
namespace {

using testing::ElementsAre;

std::vector<std::string> Expand(const std::string& key) {
  auto names = ExpandRanges(key);
  return names.ok() ? *names : std::vector<std::string>{"error: " + names.status().message()};
}

TEST(EditDistanceTest, CountsEditsAndSwaps) {
  EXPECT_EQ(EditDistance("", ""), 0);
  EXPECT_EQ(EditDistance("abc", ""), 3);
  EXPECT_EQ(EditDistance("kitten", "sitting"), 3);
  EXPECT_EQ(EditDistance("lerning_rate", "learning_rate"), 1);
  EXPECT_EQ(EditDistance("batch_szie", "batch_size"), 1);
  EXPECT_EQ(EditDistance("Batch", "batch"), 0);
}

TEST(NearestTest, TakesTheFirstOfTheLeast) {
  EXPECT_EQ(Nearest("fiel", {"files", "file", "field"}), "file");
  EXPECT_EQ(Nearest("x", {}), "");
  EXPECT_EQ(Nearest(std::string(10'000'000, 'a'), {"aa", "bb"}), "aa");
}

TEST(ExpandRangesTest, ExpandsGroupsListsAndZeros) {
  EXPECT_THAT(Expand("C"), ElementsAre("C"));
  EXPECT_THAT(Expand(""), ElementsAre(""));
  EXPECT_THAT(Expand("C{1..3}"), ElementsAre("C1", "C2", "C3"));
  EXPECT_THAT(Expand("C{7}x"), ElementsAre("C7x"));
  EXPECT_THAT(Expand("C{08..10}"), ElementsAre("C08", "C09", "C10"));
  EXPECT_THAT(Expand("{user,item}_{1..2}"), ElementsAre("user_1", "user_2", "item_1", "item_2"));
  EXPECT_THAT(Expand("C{1,3..4,x}"), ElementsAre("C1", "C3", "C4", "Cx"));
  EXPECT_THAT(Expand("a{{1..2}}"), ElementsAre("a{1..2}"));
  EXPECT_EQ(Expand("C{1..10000}").size(), 10000u);
}

TEST(ExpandRangesTest, RefusesMalformedGroups) {
  for (const char* key : {"C{", "C}", "C{}", "C{1,}", "C{1..}", "C{..3}", "C{a..b}", "C{-1..3}", "C{3..1}",
                          "C{1..10001}", "C{1..99999999999999999999}", "{1..101}{1..100}"})
    EXPECT_FALSE(ExpandRanges(key).ok()) << key;
}

TEST(ExpandRangesTest, InvertsEscape) {
  for (const char* name : {"a", "{", "}", "C{1..3}", "}{", "{{}}"})
    EXPECT_THAT(Expand(EscapeRanges(name)), ElementsAre(name));
}

TEST(ExpandEnvironmentTest, InvertsEscape) {
  for (const char* text : {"", "$", "${", "$${", "${x}", "a$b", "$$", "$$${x}"}) {
    auto back = ExpandEnvironment(EscapeEnvironment(text));
    ASSERT_TRUE(back.ok()) << text;
    EXPECT_EQ(*back, text);
  }
}

TEST(ParseTest, IsStrict) {
  int64_t whole = 0;
  for (const char* text :
       {"", " 1", "1 ", "+1", "1_", "_1", "1__0", "0x10", "1.5", "1e-3", "1e30", "one", "inf", "nan"})
    EXPECT_FALSE(ParseInteger(text, &whole)) << text;
  EXPECT_TRUE(ParseInteger("-9223372036854775808", &whole));
  EXPECT_EQ(whole, std::numeric_limits<int64_t>::min());
  EXPECT_TRUE(ParseInteger("2.5e3", &whole));
  EXPECT_EQ(whole, 2500);
  EXPECT_TRUE(ParseInteger("1_000_000", &whole));
  EXPECT_EQ(whole, 1'000'000);
  double real = 0;
  for (const char* text : {"", "-", ".", "e5", "1e", "inf", "-inf", "nan", ".nan", "-nan", "0x1p3", "1,5", "1e999"})
    EXPECT_FALSE(ParseReal(text, &real)) << text;
  EXPECT_TRUE(ParseReal("-.5e-2", &real));
  EXPECT_EQ(real, -0.005);
  EXPECT_TRUE(ParseReal("-.inf", &real));
  EXPECT_EQ(real, -INFINITY);
  bool flag = false;
  EXPECT_FALSE(ParseBool("True", &flag));
  EXPECT_TRUE(ParseBool("true", &flag));
  EXPECT_TRUE(flag);
}

TEST(ShownTest, IsOneShortLine) {
  EXPECT_EQ(Shown("a\nb\tc\x01"), "a\\nb\\tc\\x01");
  EXPECT_EQ(Shown(std::string(100, 'x')), std::string(60, 'x') + "...");
  // 59 bytes, then a letter of two: it is kept whole.
  EXPECT_EQ(Shown(std::string(59, 'x') + "\xc3\xa9zzz"), std::string(59, 'x') + "\xc3\xa9...");
}

}  // namespace
}  // namespace sluice::config
