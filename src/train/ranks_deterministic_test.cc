// Deterministic mode: one digest for every number of ranks and threads and every placement.
#include "train/ranks_test_util.h"

namespace sluice::train {
namespace {

class DeterministicRanksTest : public RanksTest {
 protected:
  static RunConfig Deterministic(const std::string& preset, double keys) {
    RunConfig config = Tiny(preset, 1500, keys);
    config.precision = "fp32";
    config.deterministic = true;
    config.threads = 1;
    config.train.batch_size = 100;  // chunks of 4 and of 5 samples
    return config;
  }
  std::string DigestOn(int ranks, const RunConfig& config, const std::string& placement) {
    RunConfig with = config;
    with.strategy.placement = placement;
    const std::string run = NewRun();
    MustTrainOn(ranks, with, run);
    return DigestOf(run);
  }
  void ExpectOneDigest(const RunConfig& config, const std::vector<int>& rank_counts,
                       const std::vector<std::string>& placements) {
    const std::string alone = DigestOn(1, config, "auto");
    EXPECT_EQ(alone.size(), 16u);
    for (const std::string& placement : placements)
      for (const int ranks : rank_counts)
        EXPECT_EQ(DigestOn(ranks, config, placement), alone)
            << config.model.preset << ", " << ranks << " ranks, " << placement;
  }
};

TEST_F(DeterministicRanksTest, OneDigestForAnyNumberOfRanksAndPlacement) {
  RunConfig config = Deterministic("deepfm", 3);
  config.model.pooling = "mean";
  config.model.batch_norm = true;
  config.model.dropout = 0.1;
  config.train.clip_norm = 0.05;
  ExpectOneDigest(config, {2, 3, 4, 6, 8}, kPlacements);
  config.threads = 4;  // of which ranks get their share
  EXPECT_EQ(DigestOn(2, config, "rows_a2a"), DigestOn(1, config, "auto"));
}

TEST_F(DeterministicRanksTest, OneDigestForEveryModel) {
  for (const std::string preset : {"lr", "fm", "wide_deep", "dnn", "dlrm", "dcnv2", "xdeepfm"})
    ExpectOneDigest(Deterministic(preset, preset == "dnn" || preset == "fm" ? 3 : 1), {3, 8}, kPlacements);
}

TEST_F(DeterministicRanksTest, OneDigestForEveryOptimizer) {
  for (const std::string name : {"sgd", "momentum", "rowwise_adagrad", "ftrl", "adam"}) {
    RunConfig config = Deterministic("fm", 3);
    config.optimizer.name = name;
    config.optimizer.lazy_decay = name == "adam" || name == "momentum";
    embedding::TableConfig table;
    table.optimizer = config.optimizer;
    config.tables = {{"default", table}};
    config.optimizer.lazy_decay = false;
    ExpectOneDigest(config, {4}, kPlacements);
  }
}

// Rows start as zeros: every row of a bag attains the maximum.
TEST_F(DeterministicRanksTest, TiesOfMaximaHaveNoOwner) {
  RunConfig config = Deterministic("dnn", 3);
  config.model.pooling = "max";
  embedding::TableConfig table;
  table.init.kind = "zero";
  config.tables = {{"default", table}};
  ExpectOneDigest(config, {3, 4}, kPlacements);
}

TEST_F(DeterministicRanksTest, GoesOnWithOtherRanksToTheBit) {
  RunConfig config = Deterministic("deepfm", 3);
  const std::string expected = DigestOn(1, config, "auto");
  for (const auto& [from, to] : std::vector<std::pair<int, int>>{{1, 2}, {2, 1}, {4, 3}, {3, 8}}) {
    const std::string run = NewRun();
    config.train.max_steps = 7;
    config.strategy.placement = "des_rs";
    MustTrainOn(from, config, run);
    config.train.max_steps = 0;
    config.strategy.placement = "rows_a2a";
    MustTrainOn(to, config, run);
    EXPECT_EQ(DigestOf(run), expected) << from << " ranks, then " << to;
  }
}

// What fixed point rounds away is no more than what float does: both stand as near to double.
TEST_F(DeterministicRanksTest, IsAsNearToDoubleAsTheFastMode) {
  RunConfig config = Deterministic("deepfm", 3);
  config.train.max_steps = 10;
  const auto train = [&](const std::string& precision, bool deterministic) {
    config.precision = precision;
    config.deterministic = deterministic;
    const std::string run = NewRun();
    MustTrain(config, run);
    return run;
  };
  const std::string exact = train("fp64", false);
  const double fast = LargestDifference(exact, train("fp32", false));
  EXPECT_LE(LargestDifference(exact, train("fp32", true)), 3 * fast);
  EXPECT_LE(LargestDifference(exact, train("fp64", true)), 1e-6);
}

TEST_F(DeterministicRanksTest, DoublesTheBytesOfWhatIsSummedAndNoOthers) {
  RunConfig config = Deterministic("dlrm", 3);
  config.strategy.first_layer = "pooled";
  config.train.max_steps = 10;
  config.checkpoint.at_end = false;
  for (const std::string& placement : kPlacements) {
    config.strategy.placement = placement;
    config.deterministic = false;
    const auto fast = MustTrainOn(3, config, NewRun()).bytes_per_sample;
    config.deterministic = true;
    const auto fixed = MustTrainOn(3, config, NewRun()).bytes_per_sample;
    // Where the batch is divided, partials travel as fixed point and their gradients in float.
    EXPECT_DOUBLE_EQ(fixed.at("partials"), fast.at("partials") * (placement == "des" ? 2 : 1.5)) << placement;
    EXPECT_DOUBLE_EQ(fixed.at("row_gradients"), 2 * fast.at("row_gradients")) << placement;
    EXPECT_DOUBLE_EQ(fixed.at("dense_gradients"), 2 * fast.at("dense_gradients")) << placement;
    EXPECT_DOUBLE_EQ(fixed.at("rows"), fast.at("rows")) << placement;
  }
}

TEST_F(DeterministicRanksTest, TellsWhatItCannotAddUp) {
  RunConfig config = Deterministic("fm", 3);
  embedding::TableConfig table;
  table.init.scale = 1e5;
  config.tables = {{"default", table}};
  for (const int ranks : {1, 2}) {
    const auto report = Train(config, {.run_dir = NewRun(), .quiet = true, .ranks = ranks});
    ASSERT_FALSE(report.ok());
    EXPECT_EQ(report.status().code(), StatusCode::kNumeric);
    for (const char* part : {"beyond 32768", "deterministic: true", "field '", "key 0x"})
      EXPECT_NE(report.status().message().find(part), std::string::npos) << report.status().message();
  }
}

TEST_F(DeterministicRanksTest, RefusesRoundedMessages) {
  RunConfig config = Deterministic("fm", 1);
  config.strategy.wire.partials = "bf16";
  const auto report = Train(config, {.run_dir = NewRun(), .quiet = true, .ranks = 2});
  EXPECT_EQ(report.status().code(), StatusCode::kInvalidArgument);
  EXPECT_NE(report.status().message().find("strategy.wire"), std::string::npos);
}

}  // namespace
}  // namespace sluice::train
