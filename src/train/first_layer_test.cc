// Operators in their narrower forms on several ranks: the model of one rank, and the bytes of the formulas in
// docs/algorithms/des.md.
#include "train/ranks_test_util.h"

namespace sluice::train {
namespace {

struct Way {
  std::string placement, first_layer;
};

class FirstLayerTest : public RanksTest {
 protected:
  // 20 steps of 60 samples; 4 fields of dim 4 and 2 numeric features under a first layer of 8.
  static RunConfig Model(const std::string& preset) {
    RunConfig config = Tiny(preset, 1200, 2);
    config.threads = 1;
    return config;
  }
  static RunConfig Splitting(RunConfig config, const Way& way) {
    config.strategy.placement = way.placement;
    config.strategy.first_layer = way.first_layer;
    return config;
  }
  void ExpectModelOf(const std::string& alone, const RunConfig& config, int ranks, double tolerance = 1e-10) {
    const std::string run = NewRun();
    MustTrainOn(ranks, config, run);
    EXPECT_LE(LargestDifference(alone, run), tolerance)
        << config.model.preset << ", " << ranks << " ranks, " << config.strategy.placement << ", "
        << config.strategy.first_layer;
  }
};

const std::vector<Way> kWays = {{"des", "by_hash"},       {"des", "by_rows"}, {"des_rs", "by_hash"},
                                {"field_a2a", "by_rows"}, {"des", "pooled"},  {"field_a2a", "pooled"}};

TEST_F(FirstLayerTest, EverySplitGivesTheModelOfOneRank) {
  size_t turn = 0;
  for (const std::string preset : {"dnn", "wide_deep", "deepfm", "dlrm", "dcn", "xdeepfm"}) {
    const RunConfig config = Model(preset);
    const std::string alone = NewRun();
    MustTrain(config, alone);
    for (const Way& way : kWays) ExpectModelOf(alone, Splitting(config, way), 2 + static_cast<int>(turn++ % 3));
  }
}

TEST_F(FirstLayerTest, FieldsOfSeveralPlacementsShareAFirstLayer) {
  RunConfig config = Model("deepfm");
  config.train.batch_size = 600;  // products pay
  const std::string alone = NewRun();
  MustTrain(config, alone);
  config.strategy.placement = "des_rs";
  config.strategy.fields = {{"C1", {.placement = "field_a2a"}}, {"C2", {.placement = "rows_a2a"}}};
  ExpectModelOf(alone, config, 3);
}

TEST_F(FirstLayerTest, NormsAndDropoutSeeAllWeights) {
  RunConfig config = Model("deepfm");
  config.model.batch_norm = true;
  config.model.dropout = 0.1;
  config.train.clip_norm = 0.05;
  config.optimizer.clip_norm = 0.03;
  const std::string alone = NewRun();
  MustTrain(config, alone);
  // Normalisation divides by deviations that may be small, which magnifies rounding.
  for (const Way& way : kWays) ExpectModelOf(alone, Splitting(config, way), 3, 1e-8);
}

TEST_F(FirstLayerTest, CheckpointsAreWholeAndGoOnAtAnotherNumberOfRanks) {
  const RunConfig config = Model("wide_deep");
  const std::string alone = NewRun();
  MustTrain(config, alone);
  const std::vector<std::tuple<int, Way, int, Way>> changes = {{3, {"des", "by_rows"}, 2, {"des", "by_rows"}},
                                                               {2, {"field_a2a", "by_rows"}, 3, {"des_rs", "by_hash"}},
                                                               {4, {"field_a2a", "by_rows"}, 1, {"auto", "auto"}}};
  for (const auto& [from, before, to, after] : changes) {
    const std::string run = NewRun();
    RunConfig first = Splitting(config, before);
    first.train.max_steps = 9;
    MustTrainOn(from, first, run);
    MustTrainOn(to, Splitting(config, after), run);
    EXPECT_LE(LargestDifference(alone, run), 1e-10) << from << " ranks, then " << to;
  }
}

TEST_F(FirstLayerTest, BytesAreThoseOfTheFormulas) {
  const double fk = 4 * 4, h0 = 8, layers = 2, size = 4, batch = 60;
  const auto bytes = [&](const std::string& preset, const Way& way, int ranks, double columns, double weights) {
    RunConfig config = Splitting(Model(preset), way);
    config.precision = "fp32";
    const std::string run = NewRun();
    const TrainReport report = MustTrainOn(ranks, config, run);
    SCOPED_TRACE(fmt::format("{}, {}, {}, {} ranks", preset, way.placement, way.first_layer, ranks));
    EXPECT_DOUBLE_EQ(report.bytes_per_sample.at("partials"), 2 * (ranks - 1) * columns * size);
    const bool replicated = way.placement == "des";
    const double all = static_cast<double>(Numbers(run).at("params").size());
    EXPECT_DOUBLE_EQ(report.bytes_per_sample.at("dense_gradients"),
                     2 * (ranks - 1) * (replicated ? weights : all - weights) * size / batch);
  };
  for (const int ranks : {2, 3}) {
    bytes("dnn", {"des", "by_hash"}, ranks, h0, fk * h0);
    bytes("dnn", {"des", "by_rows"}, ranks, h0, 0);
    bytes("dnn", {"des_rs", "by_hash"}, ranks, h0, 0);
    bytes("dnn", {"field_a2a", "by_rows"}, ranks, h0, fk * h0);
    bytes("wide_deep", {"des_rs", "by_hash"}, ranks, h0 + 1, 0);
    bytes("deepfm", {"des", "pooled"}, ranks, fk + 1, 0);
    bytes("deepfm", {"des_rs", "by_hash"}, ranks, h0 + 4 + 1, 0);
    // One number per layer, one for the logit; their weights are summed by hash either way.
    bytes("dcn", {"des", "by_hash"}, ranks, layers + 1 + h0, fk * (layers + 1 + h0));
    bytes("dcn", {"des", "by_rows"}, ranks, layers + 1 + h0, fk * (layers + 1));
    // What breaks the form stays pooled.
    bytes("dlrm", {"des", "by_hash"}, ranks, fk, 0);
  }
}

TEST_F(FirstLayerTest, AutoTakesTheFormThatSendsLess) {
  RunConfig config = Splitting(Model("dnn"), {"des_rs", "auto"});
  config.precision = "fp32";
  const auto partials = [&] { return MustTrainOn(2, config, NewRun()).bytes_per_sample.at("partials"); };
  EXPECT_DOUBLE_EQ(partials(), 2 * 8 * 4);  // 8 columns in place of 16
  config.model.mlp = {24};
  EXPECT_DOUBLE_EQ(partials(), 2 * 16 * 4);  // 24 would be more
  // Replicated, the weights' gradients are a cost of their own.
  config.model.mlp = {8};
  config.strategy.placement = "des";
  config.train.batch_size = 10;
  EXPECT_DOUBLE_EQ(partials(), 2 * 16 * 4);
  config.train.batch_size = 60;
  EXPECT_DOUBLE_EQ(partials(), 2 * 8 * 4);
}

TEST_F(FirstLayerTest, RefusesWhatContradicts) {
  const auto message = [&](const Way& way, bool deterministic = false) {
    RunConfig config = Splitting(Model("dnn"), way);
    config.precision = "fp32";
    config.deterministic = deterministic;
    const auto report = Train(config, {.run_dir = NewRun(), .quiet = true, .ranks = 2});
    EXPECT_EQ(report.status().code(), StatusCode::kInvalidArgument);
    return report.status().message();
  };
  EXPECT_NE(message({"rows_a2a", "by_hash"}).find("rows_a2a"), std::string::npos);
  EXPECT_NE(message({"des_rs", "by_rows"}).find("field_a2a"), std::string::npos);
  EXPECT_NE(message({"field_a2a", "by_hash"}).find("by_rows"), std::string::npos);
  EXPECT_NE(message({"des", "by_rows"}, true).find("deterministic"), std::string::npos);
}

}  // namespace
}  // namespace sluice::train
