#include "placement/strategy.h"

#include <gtest/gtest.h>

#include "config/reader.h"

namespace sluice::placement {
namespace {

// Fields a, b, c, d, of which b and c share a vocabulary.
data::Schema TestSchema() {
  data::Schema schema;
  schema.labels = {"label"};
  for (const auto& [name, vocabulary] : {std::pair("a", "a"), {"b", "shared"}, {"c", "shared"}, {"d", "d"}})
    schema.fields.push_back({.name = name, .vocabulary = vocabulary, .salt = VocabularySalt(vocabulary)});
  return schema;
}

StrategyConfig Read(const std::string& yaml) {
  StrategyConfig config;
  const Status status = config::ReadText(yaml, "test", {}, &config);
  EXPECT_TRUE(status.ok()) << status.message();
  return config;
}

Result<Strategy> SettleText(const std::string& yaml, Placement automatic = Placement::kDes) {
  const StrategyConfig config = Read(yaml);
  SLUICE_RETURN_IF_ERROR(Validate(config));
  return Settle(config, TestSchema(), 2, Uniform(automatic, 3), {1, 5, 4});
}

std::string Refusal(const std::string& yaml) {
  auto settled = SettleText(yaml);
  EXPECT_FALSE(settled.ok()) << yaml;
  return settled.ok() ? "" : settled.status().message();
}

using Placements = std::vector<Placement>;

TEST(StrategyTest, FieldsRefineThePlacementOfAll) {
  auto settled = SettleText("{placement: rows_a2a, fields: {a: field_a2a, c: {placement: des_rs}}}");
  ASSERT_TRUE(settled.ok()) << settled.status().message();
  EXPECT_EQ(settled->of_vocabulary, (Placements{Placement::kFieldA2a, Placement::kDesRs, Placement::kRowsA2a}));
  EXPECT_EQ(settled->home, (std::vector<int>{0, -1, -1}));
  EXPECT_FALSE(settled->replicated);
  EXPECT_FALSE(settled->pure());
  EXPECT_TRUE(settled->owner_computes());
}

TEST(StrategyTest, RangesAndOverridesNameFieldsToo) {
  StrategyConfig config;
  ASSERT_TRUE(config::ReadText("fields:\n  C{1..2}: field_a2a\n", "test", {"fields.C2=rows_a2a"}, &config).ok());
  ASSERT_EQ(config.fields.size(), 2u);
  EXPECT_EQ(config.fields[0].second.placement, "field_a2a");
  EXPECT_EQ(config.fields[1].first, "C2");
  EXPECT_EQ(config.fields[1].second.placement, "rows_a2a");
}

TEST(StrategyTest, AutoIsWhatAPlannerChose) {
  auto replicated = SettleText("placement: auto");
  ASSERT_TRUE(replicated.ok());
  EXPECT_TRUE(replicated->replicated);
  EXPECT_EQ(replicated->pure(), Placement::kDes);
  auto rows = SettleText("placement: auto", Placement::kRowsA2a);
  ASSERT_TRUE(rows.ok());
  EXPECT_EQ(rows->pure(), Placement::kRowsA2a);
  EXPECT_FALSE(rows->owner_computes());
}

TEST(StrategyTest, DesBesideOthersDividesTheBatch) {
  auto settled = SettleText("fields: {a: rows_a2a}");
  ASSERT_TRUE(settled.ok()) << settled.status().message();
  EXPECT_FALSE(settled->replicated);
  EXPECT_EQ(settled->of_vocabulary, (Placements{Placement::kRowsA2a, Placement::kDesRs, Placement::kDesRs}));
}

TEST(StrategyTest, TheCostliestVocabulariesFindHomesFirst) {
  auto settled = SettleText("placement: field_a2a");
  ASSERT_TRUE(settled.ok());
  EXPECT_EQ(settled->home, (std::vector<int>{1, 0, 1}));
  Strategy given = Uniform(Placement::kFieldA2a, 4);
  given.home[2] = 1;
  BalanceHomes({1, 1, 9, 1}, 2, &given);
  EXPECT_EQ(given.home, (std::vector<int>{0, 0, 1, 0}));
}

TEST(StrategyTest, RefusesWhatContradictsItself) {
  const std::string conflict = Refusal("fields: {b: rows_a2a, c: des_rs}");
  EXPECT_NE(conflict.find("strategy.fields.c"), std::string::npos) << conflict;
  EXPECT_NE(conflict.find("b is rows_a2a"), std::string::npos) << conflict;
  EXPECT_NE(Refusal("fields: {nowhere: des_rs}").find("strategy.fields.nowhere"), std::string::npos);
  EXPECT_NE(Refusal("{placement: des, dense: {mode: sharded_batch}}").find("strategy.dense.mode"), std::string::npos);
  EXPECT_NE(Refusal("{placement: des, fields: {a: rows_a2a}, dense: {mode: replicated}}").find("strategy.dense.mode"),
            std::string::npos);
  EXPECT_NE(Refusal("{placement: des, input: sharded}").find("strategy.input"), std::string::npos);
  EXPECT_NE(Refusal("{preset: des, fields: {a: rows_a2a}}").find("strategy.preset"), std::string::npos);
  EXPECT_NE(Refusal("{placement: local, fields: {a: rows_a2a}}").find("local"), std::string::npos);
}

TEST(StrategyTest, AMapOfTwoKeysIsNotASingleValue) {
  struct Two {
    std::string x, y;
    void Visit(config::Visitor& v) {
      v.Field("x", x, {.text = "X."});
      v.Field("y", y, {.text = "Y."});
    }
  };
  struct Settings {
    std::vector<std::pair<std::string, Two>> named;
    void Visit(config::Visitor& v) { v.Map("named", named, {.text = "Named."}); }
  } settings;
  const Status status = config::ReadText("named: {one: word}", "test", {}, &settings);
  EXPECT_NE(status.message().find("named.one: must be a map of keys"), std::string::npos) << status.message();
}

}  // namespace
}  // namespace sluice::placement
