// Placements mixed in one model and input that each rank parses its share of: the model of one rank, and the bytes of
// the formulas in docs/algorithms/des.md.
#include <set>

#include "data/open.h"
#include "embedding/virtual_ids.h"
#include "placement/ownership.h"
#include "train/model_state.h"
#include "train/ranks_test_util.h"

namespace sluice::train {
namespace {

struct Mix {
  std::string placement;
  std::vector<std::pair<std::string, std::string>> fields;
};

// Every placement beside every other, and the two that need homes or pulled rows alone.
const std::vector<Mix> kMixes = {{"des_rs", {{"C1", "field_a2a"}, {"C2", "rows_a2a"}}},
                                 {"rows_a2a", {{"C1", "des"}, {"C3", "des_rs"}}},
                                 {"field_a2a", {{"C3", "rows_a2a"}}},
                                 {"des", {{"C4", "field_a2a"}}},
                                 {"field_a2a", {}},
                                 {"des_rs", {}},
                                 {"rows_a2a", {}}};

RunConfig With(RunConfig config, const Mix& mix, const std::string& input) {
  config.strategy.placement = mix.placement;
  config.strategy.fields.clear();
  for (const auto& [field, placement] : mix.fields) config.strategy.fields.push_back({field, {.placement = placement}});
  config.strategy.input = input;
  return config;
}

std::string Name(const RunConfig& config, int ranks) {
  std::string name = fmt::format("{}, {} ranks, input {}, {}", config.model.preset, ranks, config.strategy.input,
                                 config.strategy.placement);
  for (const auto& [field, placement] : config.strategy.fields)
    name += fmt::format(", {} {}", field, placement.placement);
  return name;
}

class RanksMixedTest : public RanksTest {
 protected:
  static RunConfig Model(const std::string& preset, double keys) {
    RunConfig config = Tiny(preset, 600, keys);
    config.threads = 1;
    return config;
  }
  void ExpectModelOf(const std::string& alone, const RunConfig& config, int ranks, double tolerance = 1e-10) {
    const std::string run = NewRun();
    MustTrainOn(ranks, config, run);
    EXPECT_LE(LargestDifference(alone, run), tolerance) << Name(config, ranks);
  }
};

TEST_F(RanksMixedTest, EveryMixGivesTheModelOfOneRank) {
  size_t turn = 0;
  for (const std::string preset : {"lr", "fm", "wide_deep", "deepfm", "dlrm", "dcnv2"}) {
    for (const double keys : {1.0, 3.0}) {
      const RunConfig config = Model(preset, keys);
      const std::string alone = NewRun();
      MustTrain(config, alone);
      for (const Mix& mix : kMixes) {
        const std::string input = ++turn % 2 == 0 ? "sharded" : "replicated";
        ExpectModelOf(alone, With(config, mix, input), 2 + static_cast<int>(turn % 3));
      }
    }
  }
}

TEST_F(RanksMixedTest, EveryPoolingKnowsTheWholeBag) {
  for (const std::string pooling : {"mean", "sqrtn", "max"}) {
    RunConfig config = Model("deepfm", 3);
    config.model.pooling = pooling;
    const std::string alone = NewRun();
    MustTrain(config, alone);
    for (size_t m = 0; m < 4; ++m)
      for (const std::string input : {"replicated", "sharded"}) ExpectModelOf(alone, With(config, kMixes[m], input), 3);
  }
}

// 127 samples in batches of 60: the last one has 7, fewer than there are ranks.
TEST_F(RanksMixedTest, LastSamplesOfTrainingAndEvaluationAreUsedOnce) {
  RunConfig config = Model("deepfm", 3);
  config.data.train = {TinyData(127, 3)};
  config.data.eval = {TinyData(133, 3)};
  config.train.progressive.window = 50;
  const std::string alone = NewRun();
  const TrainReport one = MustTrain(config, alone);
  EXPECT_EQ(one.samples, 127);
  for (const int ranks : {4, 8}) {
    for (const Mix& mix : kMixes) {
      const RunConfig with = With(config, mix, "sharded");
      const std::string run = NewRun();
      const TrainReport many = MustTrainOn(ranks, with, run);
      EXPECT_EQ(many.samples, 127);
      EXPECT_EQ(many.eval.samples, 133);
      EXPECT_NEAR(many.eval.auc, one.eval.auc, 1e-9) << Name(with, ranks);
      EXPECT_NEAR(many.eval.logloss, one.eval.logloss, 1e-9) << Name(with, ranks);
      EXPECT_EQ(many.progressive.samples, one.progressive.samples) << Name(with, ranks);
      EXPECT_NEAR(many.progressive.logloss, one.progressive.logloss, 1e-9) << Name(with, ranks);
      EXPECT_LE(LargestDifference(alone, run), 1e-10) << Name(with, ranks);
    }
  }
}

TEST_F(RanksMixedTest, NormsOverTheBatchAndOfGradientsAreThoseOfOneRank) {
  RunConfig config = Model("deepfm", 3);
  config.model.batch_norm = true;
  config.model.dropout = 0.1;
  config.train.clip_norm = 0.05;
  config.optimizer.clip_norm = 0.03;
  const std::string alone = NewRun();
  MustTrain(config, alone);
  // Normalisation divides by deviations that may be small, which magnifies rounding.
  for (const Mix& mix : kMixes) ExpectModelOf(alone, With(config, mix, "sharded"), 3, 1e-8);
}

TEST_F(RanksMixedTest, GoesOnWithOtherPlacementsInputAndRanks) {
  const RunConfig config = Model("deepfm", 3);
  const std::string alone = NewRun();
  MustTrain(config, alone);
  const std::vector<std::tuple<int, Mix, int, Mix>> changes = {{3, kMixes[0], 2, kMixes[2]},
                                                               {2, kMixes[4], 4, kMixes[0]},
                                                               {4, kMixes[1], 1, {"auto", {}}},
                                                               {1, {"auto", {}}, 3, kMixes[4]}};
  for (const auto& [from, before, to, after] : changes) {
    const std::string run = NewRun();
    RunConfig first = With(config, before, from == 1 ? "auto" : "sharded");
    first.train.max_steps = 4;
    MustTrainOn(from, first, run);
    MustTrainOn(to, With(config, after, "replicated"), run);
    EXPECT_LE(LargestDifference(alone, run), 1e-10) << from << " ranks, then " << to;
  }
}

TEST_F(RanksMixedTest, AdmissionAndExpiryAreThoseOfOneRank) {
  RunConfig config = Model("fm", 3);
  config.train.batch_size = 20;
  embedding::TableConfig table;
  table.admission.kind = "probability";
  table.admission.probability = 0.5;
  table.on_missing = "zero";
  config.tables = {{"default", table}};
  std::string alone = NewRun();
  MustTrain(config, alone);
  for (const Mix& mix : kMixes) ExpectModelOf(alone, With(config, mix, "sharded"), 3);

  config.tables[0].second.admission.kind = "none";
  config.tables[0].second.expiry.max_rows = 1024;
  alone = NewRun();
  MustTrain(config, alone);
  for (const Mix& mix : {kMixes[1], kMixes[5], kMixes[6]}) ExpectModelOf(alone, With(config, mix, "sharded"), 3);
  // A bound by shard counts the rows of all vocabularies of the table.
  const auto refused = Train(With(config, kMixes[4], "auto"), {.run_dir = NewRun(), .quiet = true, .ranks = 2});
  ASSERT_EQ(refused.status().code(), StatusCode::kInvalidArgument);
  EXPECT_NE(refused.status().message().find("expiry.max_rows"), std::string::npos) << refused.status().message();
}

TEST_F(RanksMixedTest, AWarmStartGivesEachRankItsRows) {
  RunConfig config = Model("deepfm", 3);
  const std::string old = NewRun();
  MustTrainOn(3, With(config, kMixes[0], "auto"), old);
  config.checkpoint.init_from = old;
  config.checkpoint.warm_start.slots = "keep";
  const std::string alone = NewRun();
  MustTrain(config, alone);
  for (const Mix& mix : kMixes) ExpectModelOf(alone, With(config, mix, "auto"), 2);
}

TEST_F(RanksMixedTest, OneDigestInDeterministicMode) {
  RunConfig config = Model("deepfm", 3);
  config.precision = "fp32";
  config.deterministic = true;
  config.train.batch_size = 100;
  config.model.batch_norm = true;
  config.train.clip_norm = 0.05;
  for (const std::string pooling : {"mean", "max"}) {
    config.model.pooling = pooling;
    const std::string alone = TrainDigest(config);
    int ranks = 2;
    for (const Mix& mix : kMixes) {
      for (const std::string input : {"replicated", "sharded"}) {
        const RunConfig with = With(config, mix, input);
        const std::string run = NewRun();
        MustTrainOn(ranks, with, run);
        EXPECT_EQ(DigestOf(run), alone) << Name(with, ranks) << ", " << pooling;
        ranks = ranks % 4 + 1 + (ranks == 4);
      }
    }
  }
}

// ---- bytes

// What the keys and rows of a run send, in all, worked out from its samples.
struct Expected {
  double input_keys = 0, rows = 0;
};

int64_t VarintBytes(uint64_t value) {
  int64_t bytes = 1;
  for (; value >= 0x80; value >>= 7) ++bytes;
  return bytes;
}

// Sharded input; field 0 lives at rank 0, rows of field 1 travel, the others' keys go to the owners of their shards.
// Where `whole_bags`, the latter learn of each other's keys.
Expected ExpectedOf(const RunConfig& config, int ranks, bool whole_bags, int64_t row_scalars) {
  Expected expected;
  auto features = data::FitFeatures(config.data, config.features, false);
  EXPECT_TRUE(features.ok());
  auto source = data::OpenSource(config.data, *features, {.batch_size = config.train.batch_size});
  EXPECT_TRUE(source.ok());
  data::Batch batch;
  while ((*source)->Next(&batch).value()) {
    for (int from = 0; from < ranks; ++from) {
      const Range samples = placement::SamplesOfRank(batch.size, from, ranks);
      for (int to = 0; to < ranks; ++to) {
        if (to == from) continue;
        expected.input_keys += 8 + 8 + 4;  // two lengths, and the number of keys of field 1
        for (int f = 0; f < static_cast<int>(batch.fields.size()); ++f) {
          const data::FieldColumn& column = batch.fields[static_cast<size_t>(f)];
          std::set<Key> asked;
          int64_t keys = 0, heads = 0;
          for (int64_t i = samples.begin; i < samples.end; ++i) {
            int64_t mine = 0;
            for (int64_t j = column.begin(i); j < column.end(i); ++j) {
              const Key key = column.keys[static_cast<size_t>(j)];
              const int owner = f == 0 ? 0 : placement::RankOfKey(key, ranks);
              mine += owner == to;
              if (owner == to) asked.insert(key);
            }
            keys += mine;
            heads += VarintBytes(static_cast<uint64_t>(mine));
            if (f > 1 && whole_bags && mine > 0)
              heads += VarintBytes(static_cast<uint64_t>(column.end(i) - column.begin(i) - mine));
          }
          if (column.one_hot()) heads = (samples.size() + 7) / 8;
          if (f == 1) {
            expected.input_keys += 12.0 * static_cast<double>(asked.size());
            expected.rows += static_cast<double>(asked.size()) * static_cast<double>(row_scalars);
          } else {
            expected.input_keys += static_cast<double>(heads + 1 + 8 * keys);  // a byte says whether weights follow
          }
        }
      }
    }
  }
  return expected;
}

TEST_F(RanksMixedTest, BytesOfAMixAreThoseOfTheFormulas) {
  const double k = 4, size = 4, batch = 60;
  for (const double keys : {1.0, 3.0}) {
    for (const std::string pooling : {"sum", "mean"}) {
      for (const int ranks : {2, 3}) {
        RunConfig config = With(Model("deepfm", keys), kMixes[0], "sharded");
        config.precision = "fp32";
        config.model.pooling = pooling;
        config.strategy.first_layer = "pooled";
        const std::string run = NewRun();
        const auto bytes = MustTrainOn(ranks, config, run).bytes_per_sample;
        SCOPED_TRACE(fmt::format("{} keys, {}, {} ranks", keys, pooling, ranks));
        const double others = ranks - 1;
        // Fields 2 and 3 are scattered with the machine, which reads its sums from pooled factors where both pool by
        // sum; the samples of other ranks get field 0.
        const double machine = pooling == "sum" ? 1 : k + 1;
        const double home = static_cast<double>(placement::SamplesOfRank(60, 0, ranks).size());
        EXPECT_DOUBLE_EQ(bytes.at("partials"),
                         (2 * others * batch * (2 * k + machine) + 2 * (batch - home) * k) * size / batch);
        const Expected expected = ExpectedOf(config, ranks, pooling == "mean", 4 + 1);  // factors and linear weight
        EXPECT_DOUBLE_EQ(bytes.at("input_keys"), expected.input_keys / 600);
        EXPECT_DOUBLE_EQ(bytes.at("rows"), expected.rows * size / 600);
        EXPECT_DOUBLE_EQ(bytes.at("row_gradients"), expected.rows * size / 600);
        const double params = static_cast<double>(Numbers(run).at("params").size());
        EXPECT_DOUBLE_EQ(bytes.at("dense_gradients"), 2 * others * params * size / batch);
        EXPECT_DOUBLE_EQ(bytes.at("statistics"), 2 * others * 3 * 8 / batch);
        EXPECT_DOUBLE_EQ(bytes.at("sent"), bytes.at("received"));
      }
    }
  }
}

TEST_F(RanksMixedTest, PartialsDoNotKnowHowManyKeysASampleHas) {
  for (const Mix& mix : {kMixes[4], kMixes[5], Mix{"des", {}}}) {
    double first = 0;
    for (const double keys : {1.0, 2.0, 8.0}) {
      const RunConfig config = With(Model("deepfm", keys), mix, "replicated");
      const double partials = MustTrainOn(2, config, NewRun()).bytes_per_sample.at("partials");
      if (first == 0) first = partials;
      EXPECT_GT(first, 0);
      EXPECT_EQ(partials, first) << Name(config, 2);
    }
  }
}

TEST_F(RanksMixedTest, ReportsHowEvenlyRanksShare) {
  const RunConfig config = With(Model("fm", 8), {"des_rs", {}}, "replicated");
  const TrainReport report = MustTrainOn(4, config, NewRun());
  ASSERT_EQ(report.shares.size(), 4u);
  int64_t rows = 0;
  for (const RankShare& share : report.shares) {
    rows += share.rows;
    EXPECT_GT(share.sent_bytes, 0);
    EXPECT_GT(share.table_bytes, 0);
  }
  EXPECT_GT(rows, 200);
  EXPECT_LT(Skew(report.shares, &RankShare::rows), 1.5);
  EXPECT_NE(report.ToText().find("largest rank"), std::string::npos) << report.ToText();
  EXPECT_DOUBLE_EQ(Skew({{.rows = 1}, {.rows = 3}}, &RankShare::rows), 1.5);
}

}  // namespace
}  // namespace sluice::train
