// eval and predict on several ranks that are threads: what one process says, to the bit.
#include <atomic>
#include <fstream>
#include <sstream>

#include "train/ranks_test_util.h"

namespace sluice::train {
namespace {

std::string Contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

class ScoringByRanksTest : public RanksTest {
 protected:
  static std::map<std::string, double> MetricsBy(int ranks, EvaluateOptions options) {
    options.ranks = ranks;
    auto metrics = Evaluate(options);
    EXPECT_TRUE(metrics.ok()) << ranks << " ranks: " << metrics.status().message();
    return metrics.ok() ? ByName(*metrics) : std::map<std::string, double>();
  }
  static std::string ScoresBy(int ranks, PredictOptions options) {
    options.ranks = ranks;
    options.output = fmt::format("{}/scores-{}.tsv", Folder(), ranks);
    const auto report = Predict(options);
    EXPECT_TRUE(report.ok()) << ranks << " ranks: " << report.status().message();
    return Contents(options.output);
  }
  static void ExpectSameScores(const std::string& run, const std::string& data,
                               const std::vector<std::string>& overrides = {},
                               const std::vector<std::string>& columns = {}) {
    const EvaluateOptions eval = {.checkpoint = run, .inputs = {data}, .overrides = overrides};
    const PredictOptions predict = {.checkpoint = run, .inputs = {data}, .columns = columns, .overrides = overrides};
    const auto metrics = MetricsBy(1, eval);
    const std::string scores = ScoresBy(1, predict);
    EXPECT_GT(metrics.at("samples"), 0);
    EXPECT_GT(scores.size(), 10 * metrics.at("samples"));
    for (const int ranks : {2, 3, 8}) {
      EXPECT_EQ(MetricsBy(ranks, eval), metrics) << ranks << " ranks";
      EXPECT_EQ(ScoresBy(ranks, predict), scores) << ranks << " ranks";
    }
  }
};

TEST_F(ScoringByRanksTest, EqualsOneProcessForEveryModelAndPrecision) {
  for (const std::string model : {"lr", "deepfm", "dlrm", "dcnv2", "xdeepfm"}) {
    RunConfig config = Tiny(model, 500, 3);
    config.precision = model == "dlrm" ? "fp64" : model == "dcnv2" ? "bf16" : "fp32";
    config.deterministic = model == "xdeepfm";
    config.model.batch_norm = model == "deepfm";
    config.train.overlap = model == "deepfm" ? "true" : "false";
    const std::string run = NewRun();
    MustTrain(config, run);
    SCOPED_TRACE(model);
    ExpectSameScores(run, TinyData(300, 3));
  }
}

TEST_F(ScoringByRanksTest, TakesCheckpointsThatRanksWroteHoweverTheyWerePlaced) {
  RunConfig config = Tiny("deepfm", 500, 3);
  config.precision = "fp32";
  config.strategy.placement = "des_rs";
  config.strategy.fields = {{"C1", {.placement = "field_a2a"}}, {"C2", {.placement = "rows_a2a"}}};
  config.strategy.wire.rows = "bf16";  // of training; scores are exact
  const std::string run = NewRun();
  MustTrainOn(3, config, run);
  ExpectSameScores(run, TinyData(300, 3), {"train.batch_size=64"}, {"label", "C1"});
}

// oneDNN sums a product with a single row in another order than one with several.
TEST_F(ScoringByRanksTest, SharesOfOneSampleOrNoneAgreeToRounding) {
  RunConfig config = Tiny("deepfm", 500, 3);
  config.precision = "fp32";
  const std::string run = NewRun();
  MustTrain(config, run);
  const std::string data = TinyData(307, 3);  // batches of 60, the last of 7 samples
  std::istringstream alone(ScoresBy(1, {.checkpoint = run, .inputs = {data}, .header = false}));
  std::istringstream shared(ScoresBy(8, {.checkpoint = run, .inputs = {data}, .header = false}));
  int samples = 0;
  for (double one, other; alone >> one && shared >> other; ++samples) EXPECT_NEAR(one, other, 1e-6) << samples;
  EXPECT_EQ(samples, 307);
  const auto metrics = MetricsBy(1, {.checkpoint = run, .inputs = {data}});
  for (const auto& [name, value] : MetricsBy(8, {.checkpoint = run, .inputs = {data}}))
    EXPECT_NEAR(value, metrics.at(name), 1e-6) << name;
}

// Keys that were not admitted read a row of their vocabulary, which one rank owns and all need.
TEST_F(ScoringByRanksTest, MissingKeysReadTheDefaultRowOnEveryRank) {
  RunConfig config = Tiny("deepfm", 2000, 3);
  embedding::TableConfig table;
  table.admission.kind = "count";
  table.admission.count = 40;
  table.on_missing = "default";
  config.tables = {{"default", table}};
  const std::string run = NewRun();
  MustTrain(config, run);
  ExpectSameScores(run, TinyData(300, 3));
}

TEST_F(ScoringByRanksTest, HeldOutPartOfTheRunAndBadLines) {
  RunConfig config = Config();
  config.train.max_steps = 10;
  const std::string run = NewRun();
  MustTrain(config, run);
  EXPECT_EQ(MetricsBy(3, {.checkpoint = run}), MetricsBy(1, {.checkpoint = run}));
  const std::string data = Folder() + "/bad.tsv";
  std::ofstream file(data);
  std::ifstream good(Data());
  std::string line;
  for (int i = 0; i < 700 && std::getline(good, line); ++i) file << (i % 50 == 7 ? "x\ty\n" : line + "\n");
  file.close();
  ExpectSameScores(run, data, {"data.on_bad_line=skip"});
  const auto refused = Evaluate({.checkpoint = run, .inputs = {data}, .ranks = 2});
  EXPECT_EQ(refused.status().code(), StatusCode::kDataLoss) << refused.status().message();
}

TEST_F(ScoringByRanksTest, AFailureOfOneEndsAll) {
  RunConfig config = Tiny("lr", 500, 1);
  const std::string run = NewRun();
  MustTrain(config, run);
  const std::string data = TinyData(307, 1);
  const auto nowhere = Predict({.checkpoint = run, .inputs = {data}, .output = Folder() + "/none/s.tsv", .ranks = 3});
  EXPECT_EQ(nowhere.status().ExitCode(), 3) << nowhere.status().message();
  const auto input = Predict({.checkpoint = run, .ranks = 2});
  EXPECT_EQ(input.status().code(), StatusCode::kInvalidArgument);
  EXPECT_NE(input.status().message().find("standard input"), std::string::npos) << input.status().message();
  EXPECT_EQ(Evaluate({.checkpoint = run, .ranks = 2}).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(Evaluate({.checkpoint = Folder() + "/none", .ranks = 2}).status().code(), StatusCode::kNotFound);
}

TEST_F(ScoringByRanksTest, AnInterruptEndsAll) {
  RunConfig config = Tiny("lr", 500, 1);
  for (const char* overlap : {"true", "false"}) {
    config.train.overlap = overlap;
    const std::string run = NewRun();
    MustTrain(config, run);
    InterruptFlag() = true;
    const auto report =
        Evaluate({.checkpoint = run, .inputs = {TinyData(2000, 1)}, .overrides = {"train.batch_size=32"}, .ranks = 3});
    InterruptFlag() = false;
    EXPECT_EQ(report.status().code(), StatusCode::kCancelled) << report.status().message();
  }
}

}  // namespace
}  // namespace sluice::train
