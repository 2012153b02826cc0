// One answer, whatever the number of ranks: threads as ranks against one process.
#include <cmath>
#include <cstring>

#include "checkpoint/checkpoint_reader.h"
#include "train/checkpointing.h"
#include "train/train_test_util.h"

namespace sluice::train {
namespace {

// All numbers of a trained model by name: dense parameters, slots, buffers, and rows with their slots by key.
std::map<std::string, std::vector<double>> Numbers(const std::string& run) {
  std::map<std::string, std::vector<double>> numbers;
  auto path = FindModel(run);
  EXPECT_TRUE(path.ok()) << path.status().message();
  auto reader = checkpoint::CheckpointReader::Open(path.ok() ? *path : "");
  if (!reader.ok()) return numbers;
  auto header = ReadHeader(**reader);
  auto schema = header->features.MakeSchema();
  const auto read = [&]<class T>(T) {
    auto state = ModelState<T>::Make(header->config, schema);
    EXPECT_TRUE(state.ok()) << state.status().message();
    const Status loaded = LoadState(**reader, state->get());
    EXPECT_TRUE(loaded.ok()) << loaded.message();
    ModelState<T>& s = **state;
    numbers["params"].assign(s.params.data(), s.params.data() + s.params.size());
    numbers["slots"].assign(s.slots.data(), s.slots.data() + s.slots.size());
    numbers["buffers"].assign(s.buffers.data(), s.buffers.data() + s.buffers.size());
    for (int t = 0; t < s.tables->size(); ++t) {
      const auto& table = s.tables->table(t);
      table.ForEachRow([&](const embedding::RowView<T>& row) {
        auto& values = numbers[s.tables->need(t).name + "/" + std::to_string(row.key)];
        values.assign(row.weights, row.weights + table.dim());
        values.insert(values.end(), row.slots, row.slots + table.num_slots());
        values.push_back(row.count);
        values.push_back(row.last_use);
      });
    }
  };
  if (header->fp64)
    read(double{});
  else
    read(float{});
  return numbers;
}

// The largest difference, relative to numbers above 1.
double LargestDifference(const std::string& run, const std::string& other) {
  const auto a = Numbers(run), b = Numbers(other);
  EXPECT_GT(a.size(), 100u);
  EXPECT_EQ(a.size(), b.size());
  double largest = 0;
  for (const auto& [name, values] : a) {
    const auto found = b.find(name);
    if (found == b.end() || found->second.size() != values.size()) {
      ADD_FAILURE() << name << " differs in size";
      return INFINITY;
    }
    for (size_t i = 0; i < values.size(); ++i) {
      const double difference = std::abs(values[i] - found->second[i]) / std::max(1.0, std::abs(values[i]));
      if (!(difference <= largest)) largest = difference;
    }
  }
  return largest;
}

class RanksTest : public TrainTest {
 protected:
  static RunConfig Fp64(const std::string& preset) {
    RunConfig config = Config();
    config.precision = "fp64";
    config.model.preset = preset;
    config.train.batch_size = 100;   // not a multiple of the chunks
    config.train.eval_every_epoch = false;
    config.strategy.timeout_s = 60;
    return config;
  }
  static TrainReport MustTrainOn(int ranks, const RunConfig& config, const std::string& run) {
    auto report = Train(config, {.run_dir = run, .quiet = true, .ranks = ranks});
    EXPECT_TRUE(report.ok()) << report.status().message();
    return report.ok() ? *report : TrainReport{};
  }
  // Trains on one rank and on others, and compares every number.
  void ExpectEqual(RunConfig config, const std::vector<int>& rank_counts, const std::vector<std::string>& placements,
                   double tolerance) {
    const std::string alone = NewRun();
    const TrainReport one = MustTrain(config, alone);
    for (const std::string& placement : placements) {
      for (const int ranks : rank_counts) {
        config.strategy.placement = placement;
        const std::string run = NewRun();
        const TrainReport many = MustTrainOn(ranks, config, run);
        EXPECT_EQ(many.steps, one.steps);
        EXPECT_LE(LargestDifference(alone, run), tolerance)
            << config.model.preset << ", " << ranks << " ranks, " << placement;
        if (one.evaluated) {
          EXPECT_NEAR(many.eval.auc, one.eval.auc, 1e-6) << placement;
        }
      }
    }
  }
};

const std::vector<std::string> kPlacements = {"des", "des_rs", "rows_a2a"};

TEST_F(RanksTest, LogisticRegressionIsThatOfOneRank) { ExpectEqual(Fp64("lr"), {2, 3, 4}, kPlacements, 1e-10); }
TEST_F(RanksTest, FactorisationMachineIsThatOfOneRank) { ExpectEqual(Fp64("fm"), {2, 3}, kPlacements, 1e-10); }
TEST_F(RanksTest, DeepFmIsThatOfOneRank) {
  RunConfig config = Fp64("deepfm");
  config.train.max_steps = 200;
  ExpectEqual(config, {2, 3}, kPlacements, 1e-10);
}
TEST_F(RanksTest, DlrmIsThatOfOneRank) {
  RunConfig config = Fp64("dlrm");
  config.train.max_steps = 8;
  ExpectEqual(config, {4}, kPlacements, 1e-10);
}

// Four keys per field on average: a sample's keys live on several ranks, and what pooling divides by needs all of them.
TEST_F(RanksTest, ManyKeysPerFieldArePooledOverRanks) {
  data::SynthConfig synth;
  synth.output = Folder() + "/many.csv";
  synth.format = "csv";
  synth.samples = 3000;
  synth.fields = 5;
  synth.dense = 2;
  synth.rows = 500;
  synth.keys_per_field = 4;
  synth.report = false;
  ASSERT_TRUE(data::Synthesize(synth).ok());
  RunConfig config = Fp64("deepfm");
  config.data.train = {synth.output};
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
  const double columns = config.model.dim + 1;   // S and q
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

TEST_F(RanksTest, RefusesWhatSeveralRanksDoNotOffer) {
  const auto message = [&](const RunConfig& config) {
    const auto report = Train(config, {.run_dir = NewRun(), .quiet = true, .ranks = 2});
    EXPECT_EQ(report.status().code(), StatusCode::kInvalidArgument);
    return report.status().message();
  };
  RunConfig config = Config();
  config.deterministic = true;
  EXPECT_NE(message(config).find("deterministic"), std::string::npos);
  config = Config();
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
