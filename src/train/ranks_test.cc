// One answer, whatever the number of ranks: threads as ranks against one process.
#include "comm/rank_threads.h"
#include "data/features.h"
#include "train/ranks_test_util.h"
#include "train/replicas.h"

namespace sluice::train {
namespace {

TEST_F(RanksTest, LogisticRegressionIsThatOfOneRank) { ExpectEqual(Fp64("lr"), {2, 3, 4}, kPlacements, 1e-10); }
TEST_F(RanksTest, FactorisationMachineIsThatOfOneRank) { ExpectEqual(Fp64("fm"), {2, 3}, kPlacements, 1e-10); }
TEST_F(RanksTest, DeepFmIsThatOfOneRank) {
  RunConfig config = Fp64("deepfm");
  config.train.max_steps = 200;
  ExpectEqual(config, {2, 3}, kPlacements, 1e-10);
}
TEST_F(RanksTest, DlrmIsThatOfOneRank) {
  RunConfig config = Fp64("dlrm");
  config.model.bottom_mlp = config.model.top_mlp = {16};
  config.train.max_steps = 8;
  ExpectEqual(config, {4}, kPlacements, 1e-10);
}

// Four keys per field on average: a sample's keys live on several ranks, and what pooling divides by needs all of them.
TEST_F(RanksTest, ManyKeysPerFieldArePooledOverRanks) {
  RunConfig config = Fp64("deepfm");
  config.data.train = {TinyData(3000, 4, 5)};
  config.features = TinyFeatures(4, 5);
  config.data.format = "csv";
  for (const std::string pooling : {"mean", "sqrtn"}) {
    config.model.pooling = pooling;
    ExpectEqual(config, {3}, kPlacements, 1e-10);
  }
}

TEST_F(RanksTest, BatchNormDropoutAndClippingSeeTheGlobalBatch) {
  RunConfig config = Fp64("deepfm");
  config.model.batch_norm = true;
  config.model.dropout = 0.1;
  config.train.clip_norm = 0.05;
  config.train.max_steps = 60;
  // Normalisation divides by deviations that may be small, which magnifies rounding.
  ExpectEqual(config, {3}, kPlacements, 1e-8);
}

TEST_F(RanksTest, TenStepsInFloatAgree) {
  RunConfig config = Fp64("deepfm");
  config.precision = "fp32";
  config.train.max_steps = 10;
  ExpectEqual(config, {2, 3}, kPlacements, 1e-5);
}

TEST_F(RanksTest, ResumesOnAnotherNumberOfRanks) {
  RunConfig config = Fp64("fm");
  config.strategy.placement = "rows_a2a";
  const std::string alone = NewRun();
  MustTrain(config, alone);
  const std::vector<std::pair<int, int>> changes = {{1, 2}, {2, 1}, {4, 3}};
  for (const auto& [from, to] : changes) {
    const std::string run = NewRun();
    config.train.max_steps = 50;
    MustTrainOn(from, config, run);
    config.train.max_steps = 0;
    MustTrainOn(to, config, run);
    EXPECT_LE(LargestDifference(alone, run), 1e-10) << from << " ranks, then " << to;
  }
}

TEST_F(RanksTest, PartialsAreTheBytesThatTheFormulaSays) {
  RunConfig config = Fp64("fm");
  config.precision = "fp32";
  config.train.max_steps = 20;
  config.checkpoint.at_end = false;
  config.data.split = {};
  const double columns = config.model.dim + 1;  // S and q
  for (const int ranks : {2, 3}) {
    for (const std::string placement : {"des", "des_rs"}) {
      config.strategy.placement = placement;
      const TrainReport report = MustTrainOn(ranks, config, NewRun());
      EXPECT_DOUBLE_EQ(report.bytes_per_sample.at("partials"), 2.0 * (ranks - 1) * columns * 4) << placement;
      EXPECT_EQ(report.bytes_per_sample.at("rows"), 0);
      EXPECT_EQ(report.bytes_per_sample.at("row_gradients"), 0);
      if (placement == "des") {
        EXPECT_EQ(report.bytes_per_sample.at("dense_gradients"), 0);
      }
      EXPECT_DOUBLE_EQ(report.bytes_per_sample.at("sent"), report.bytes_per_sample.at("received"));
    }
  }
}

TEST_F(RanksTest, RowsAndTheirGradientsAreTheSameBytes) {
  RunConfig config = Fp64("fm");
  config.train.max_steps = 20;
  config.checkpoint.at_end = false;
  config.data.split = {};
  config.strategy.placement = "rows_a2a";
  const TrainReport report = MustTrainOn(3, config, NewRun());
  EXPECT_GT(report.bytes_per_sample.at("rows"), 0);
  EXPECT_DOUBLE_EQ(report.bytes_per_sample.at("rows"), report.bytes_per_sample.at("row_gradients"));
  EXPECT_EQ(report.bytes_per_sample.at("partials"), 0);
}

TEST_F(RanksTest, MemoryOfTablesIsDividedAmongRanks) {
  RunConfig config = Fp64("fm");
  config.model.dim = 32;
  config.train.max_steps = 60;
  config.checkpoint.at_end = false;
  config.data.split = {};
  std::map<int, double> largest, rows;
  for (const int ranks : {1, 2, 4}) {
    config.strategy.placement = ranks == 1 ? "auto" : "rows_a2a";
    const TrainReport report = MustTrainOn(ranks, config, NewRun());
    for (const RankShare& share : report.shares) {
      largest[ranks] = std::max(largest[ranks], static_cast<double>(share.table_bytes));
      rows[ranks] += static_cast<double>(share.rows);
    }
    if (ranks == 1) continue;
    EXPECT_EQ(rows[ranks], rows[2]);
    EXPECT_LT(Skew(report.shares, &RankShare::rows), 1.1) << ranks << " ranks";
    // A slab of rows and an index of buckets have sizes of their own.
    EXPECT_LT(largest[ranks], 1.25 * 2 / ranks * largest[2]) << ranks << " ranks";
  }
}

TEST_F(RanksTest, TellsReplicasThatDiffer) {
  RunConfig config = Tiny("deepfm", 500, 1);
  config.precision = "fp32";
  auto features = data::FitFeatures(config.data, config.features, true);
  ASSERT_TRUE(features.ok());
  comm::RunRankThreads(2, std::chrono::seconds(20), [&](comm::Communicator& comm) {
    auto state = ModelState<float>::Make(config, features->MakeSchema());
    ASSERT_TRUE(state.ok()) << state.status().message();
    CheckReplicas(**state, 6, comm);
    float& one = (*state)->params.data()[3];
    if (comm.rank() == 1) one = std::nextafter(one, 1.0f);
    try {
      CheckReplicas(**state, 7, comm);
      ADD_FAILURE() << "rank " << comm.rank();
    } catch (const StatusError& error) {
      EXPECT_NE(error.status().message().find("step 7: dense parameters of rank 1"), std::string::npos);
    }
  });
}

TEST_F(RanksTest, RefusesWhatSeveralRanksDoNotOffer) {
  const auto message = [&](const RunConfig& config) {
    const auto report = Train(config, {.run_dir = NewRun(), .quiet = true, .ranks = 2});
    EXPECT_EQ(report.status().code(), StatusCode::kInvalidArgument);
    return report.status().message();
  };
  RunConfig config = Config();
  config.strategy.placement = "des";
  config.strategy.dense.mode = "sharded_batch";
  EXPECT_NE(message(config).find("strategy.dense.mode"), std::string::npos);
  config = Config();
  embedding::TableConfig table;
  table.admission.kind = "count";
  config.tables = {{"default", table}};
  EXPECT_NE(message(config).find("on_missing"), std::string::npos);
}

}  // namespace
}  // namespace sluice::train
