#include "cli/comparison.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "cli/compare_runs.h"
#include "cli/network.h"

namespace sluice::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// What two workers report: 300 and 100 samples.
constexpr const char* kWorkers[] = {
    R"({"auc": 0.75, "logloss": 0.5, "samples": 300, "train_s": 2.0, "staleness_mean": 1.0, "peak_rss_bytes": 1000,
        "bytes_per_sample": {"sent": 10.0, "received": 30.0, "rows": 28.0, "row gradients": 12.0}})",
    R"({"auc": null, "logloss": null, "samples": 100, "train_s": 4.0, "staleness_mean": 3.0, "peak_rss_bytes": 3000,
        "bytes_per_sample": {"sent": 20.0, "received": 40.0, "rows": 36.0, "row gradients": 24.0}})"};

ComparedRun Done(const std::string& preset, int64_t seed, double rate, double auc) {
  ComparedRun run;
  run.preset = preset;
  run.seed = seed;
  run.samples = 1000;
  run.samples_per_s = rate;
  run.auc = auc;
  run.logloss = 0.5;
  run.bytes_per_sample = {{"partials", 12.5}, {"rows", 0.0}};
  run.sent_per_sample = 12.5;
  run.largest_rss_bytes = 3 << 20;
  run.cores = 1.5;
  return run;
}

Comparison Example() {
  Comparison comparison;
  comparison.config = "a&b.yaml";
  comparison.network = "over loopback and shared memory";
  comparison.ranks = 2;
  comparison.cores = 2;
  comparison.seeds = {1, 2};
  comparison.runs = {Done("des", 1, 100, 0.70), Done("field_a2a", 1, 50, 0.72), Done("des", 2, 300, 0.74)};
  ComparedRun refused;
  refused.preset = "ps-async";
  refused.state = ComparedRun::State::kNotSupported;
  refused.why = "this build has no parameter service";
  ComparedRun failed;
  failed.preset = "field_a2a";
  failed.seed = 2;
  failed.state = ComparedRun::State::kFailed;
  failed.why = "rank 1 was lost";
  comparison.runs.push_back(failed);
  comparison.runs.push_back(refused);
  return comparison;
}

TEST(ReadReportsTest, WorkersAreWeighedByTheirSamples) {
  ComparedRun run;
  ASSERT_TRUE(ReadReports({kWorkers[0], kWorkers[1]}, &run).ok());
  EXPECT_EQ(run.samples, 400);
  EXPECT_DOUBLE_EQ(run.samples_per_s, 100);  // by the slower one
  EXPECT_DOUBLE_EQ(run.auc, 0.75);
  EXPECT_DOUBLE_EQ(run.staleness, 1.5);
  EXPECT_DOUBLE_EQ(run.bytes_per_sample.at("rows"), 30);
  EXPECT_DOUBLE_EQ(run.bytes_per_sample.at("row gradients"), 15);
  EXPECT_DOUBLE_EQ(run.sent_per_sample, 45);  // what servers send is received
  EXPECT_EQ(run.peak_rss_bytes, (std::vector<int64_t>{1000, 3000}));
  EXPECT_EQ(run.largest_rss_bytes, 3000);
}

TEST(ReadReportsTest, ARunByRanksTellsOfAllProcessesAndIsNotCountedTwice) {
  ComparedRun run;
  ASSERT_TRUE(ReadReports({R"({"auc": null, "logloss": null, "progressive_auc": 0.6, "progressive_logloss": 0.4,
      "samples": 10, "train_s": 1, "peak_rss_bytes": 5, "bytes_per_sample": {"sent": 7, "received": 7, "partials": 4, "input_keys": 2, "row_gradients": 1},
      "processes": [{"peak_rss_bytes": 5, "cpu_s": 1}, {"peak_rss_bytes": 6, "cpu_s": 1}]})"},
                          &run)
                  .ok());
  EXPECT_DOUBLE_EQ(run.sent_per_sample, 7);
  // Kinds have the names that they have with parameter servers.
  EXPECT_EQ(run.bytes_per_sample, (std::map<std::string, double>{{"keys", 2}, {"partials", 4}, {"row gradients", 1}}));
  EXPECT_DOUBLE_EQ(run.auc, 0.6);
  EXPECT_DOUBLE_EQ(run.logloss, 0.4);
  EXPECT_EQ(run.peak_rss_bytes, (std::vector<int64_t>{5, 6}));
  EXPECT_TRUE(std::isnan(run.staleness));
}

TEST(ReadReportsTest, OtherTextsAreRefused) {
  for (const char* text : {"", "{", "[]", "{}", R"({"samples": "x"})", R"({"samples": -1, "bytes_per_sample": {}})",
                           R"({"samples": 1, "bytes_per_sample": 2})", R"({"samples": 0, "bytes_per_sample": {}})"}) {
    ComparedRun run;
    EXPECT_EQ(ReadReports({text}, &run).code(), StatusCode::kDataLoss) << text;
  }
}

TEST(SummarizeTest, MeanAndSampleDeviationOfWhatIsFinite) {
  const MeanSpread value = Summarize({1, NAN, 3});
  EXPECT_DOUBLE_EQ(value.mean, 2);
  EXPECT_DOUBLE_EQ(value.spread, std::sqrt(2.0));
  EXPECT_EQ(value.n, 2);
  EXPECT_EQ(Summarize({NAN}).n, 0);
  EXPECT_EQ(Summarize({5}).spread, 0);
}

TEST(ComparisonTableTest, APresetHasOneRowOverItsSeedsAndSaysWhyItDidNotRun) {
  const std::string table = ToTable(Example());
  EXPECT_THAT(table, HasSubstr("des         200 ±141  12.5 ±0.0  0.72000 ±0.02828"));
  EXPECT_THAT(table, HasSubstr("field_a2a         50       12.5           0.72000"));
  EXPECT_THAT(table, HasSubstr("another seed failed: rank 1 was lost"));
  EXPECT_THAT(table, HasSubstr("ps-async   not supported: this build has no parameter service"));
  EXPECT_THAT(table, HasSubstr("B/sample   partials\ndes            12.5\n"));  // nothing of kinds that sent nothing
  EXPECT_THAT(table, Not(HasSubstr("on the wire")));
  EXPECT_THAT(table, Not(HasSubstr("processes share")));
  Comparison crowded = Example();
  crowded.ranks = 4;
  EXPECT_THAT(ToTable(crowded), HasSubstr("4 processes share 2 cores"));
}

TEST(ComparisonJsonTest, HoldsEveryRunAndTheMeans) {
  const auto json = nlohmann::json::parse(ToJson(Example()));
  ASSERT_EQ(json["runs"].size(), 5);
  EXPECT_EQ(json["runs"][2]["samples_per_s"], 300);
  EXPECT_EQ(json["runs"][3]["state"], "failed");
  EXPECT_EQ(json["runs"][4]["why"], "this build has no parameter service");
  EXPECT_TRUE(json["runs"][0]["wire_per_sample"].is_null());
  ASSERT_EQ(json["presets"].size(), 3);
  EXPECT_EQ(json["presets"][0]["samples_per_s"]["mean"], 200);
  EXPECT_EQ(json["presets"][0]["bytes_per_sample"]["partials"], 12.5);
  EXPECT_EQ(json["presets"][2]["why_not"], "not supported: this build has no parameter service");
}

TEST(ComparisonChartTest, IsWellFormedAndHasABarForEachPresetThatRan) {
  const std::string svg = ToSvg(Example());
  EXPECT_THAT(svg, HasSubstr("a&amp;b.yaml"));
  EXPECT_THAT(svg, HasSubstr("not supported"));
  const auto count = [&](const std::string& part) {
    size_t n = 0;
    for (size_t at = svg.find(part); at != std::string::npos; at = svg.find(part, at + 1)) ++n;
    return n;
  };
  EXPECT_EQ(count("<title>"), 6);  // rates, bytes, memory of two presets
  EXPECT_EQ(count("<circle"), 2);
  EXPECT_EQ(count("<text"), count("</text>"));
  EXPECT_EQ(count("nan"), 0);
  EXPECT_TRUE(svg.ends_with("</svg>\n"));
  EXPECT_TRUE(ToSvg(Comparison()).ends_with("</svg>\n"));
}

TEST(JudgeTest, ARefusalIsNoFailureWhereOthersRan) {
  Comparison comparison = Example();
  EXPECT_EQ(Judge(comparison).ExitCode(), 4);
  comparison.runs.erase(comparison.runs.begin() + 3);
  EXPECT_TRUE(Judge(comparison).ok());
  comparison.runs.erase(comparison.runs.begin(), comparison.runs.begin() + 3);
  EXPECT_EQ(Judge(comparison).ExitCode(), 2);
}

TEST(CompareArgumentsTest, EachPresetIsASettingOfTheLauncher) {
  ComparePlan plan;
  plan.input.inputs = {"c.yaml"};
  plan.ranks = 3;
  plan.samples = 1000;
  Comparison comparison;
  comparison.batch_size = 96;
  comparison.worker_batch_size = 32;
  comparison.servers = 2;
  const auto has = [](const std::vector<std::string>& arguments, const std::string& word) {
    return std::find(arguments.begin(), arguments.end(), word) != arguments.end();
  };
  const auto rows = CompareArguments(plan, comparison, "rows_a2a", 7, "net-", "run");
  EXPECT_EQ(std::vector<std::string>(rows.begin(), rows.begin() + 5),
            (std::vector<std::string>{"launch", "--ranks", "3", "--networks", "net-"}));
  for (const char* word : {"seed=7", "strategy.preset=none", "strategy.placement=rows_a2a", "train.max_steps=11"})
    EXPECT_TRUE(has(rows, word)) << word;
  EXPECT_FALSE(has(rows, "train.batch_size=32"));
  const auto servers = CompareArguments(plan, comparison, "ps-async", 7, "", "run");
  for (const char* word : {"--servers", "--workers", "strategy.preset=ps-async", "strategy.placement=auto",
                           "train.batch_size=32", "train.max_steps=11"})
    EXPECT_TRUE(has(servers, word)) << word;
  EXPECT_FALSE(has(servers, "--networks"));
  const auto one = CompareArguments(plan, comparison, "one", 7, "net-", "run");
  EXPECT_EQ(one[0], "train");
  EXPECT_FALSE(has(one, "--networks"));
}

TEST(ParseRateTest, TakesUnitsAndRefusesTheRest) {
  EXPECT_DOUBLE_EQ(ParseRate("1Gbit").value(), 1000);
  EXPECT_DOUBLE_EQ(ParseRate("2.5Gbit").value(), 2500);
  EXPECT_DOUBLE_EQ(ParseRate("100Mbit").value(), 100);
  for (const char* text : {"", "1", "Gbit", "-1Gbit", "nanGbit", "1gbps", "0Mbit", "9999999Gbit", "1Gbit "})
    EXPECT_EQ(ParseRate(text).status().code(), StatusCode::kInvalidArgument) << text;
}

TEST(NetworkTest, AMissingNamespaceIsNamed) {
  EXPECT_THAT(FindNetwork("sluice-none").message(), HasSubstr("sluice-none"));
  EXPECT_FALSE(FindNetwork("../netns").ok());
}

}  // namespace
}  // namespace sluice::cli
