// The matrix of equivalence: every model, optimizer, kind of data, placement and number of ranks gives the model of one
// rank in double precision. One rank itself is compared with JAX in tests/parity.
#include "train/ranks_test_util.h"

namespace sluice::train {
namespace {

const std::vector<std::string> kModels = {"lr", "wide_deep", "fm", "deepfm", "dnn", "dlrm", "dcnv2"};
const std::vector<std::string> kOptimizers = {"sgd", "adagrad", "ftrl", "adam"};

class RanksMatrixTest : public RanksTest {
 protected:
  // Rows and dense parameters by the same rule; Adam decays the slots of rows that were not seen.
  static RunConfig Case(const std::string& model, const std::string& optimizer, int64_t samples, double keys) {
    RunConfig config = Tiny(model, samples, keys);
    config.threads = 1;
    config.optimizer.name = optimizer;
    if (optimizer == "sgd") config.optimizer.learning_rate = 0.01;  // a cross of raw logarithms diverges at 0.1
    if (optimizer == "adam") config.optimizer.learning_rate = 0.003;
    embedding::TableConfig table;
    table.optimizer = config.optimizer;
    table.optimizer.lazy_decay = optimizer == "adam";
    table.init.scale = 0.1;
    config.tables = {{"default", table}};
    config.strategy.dense.check_every_steps = 1;
    return config;
  }
  using Model = std::map<std::string, std::vector<double>>;

  // One rank's model after so many steps.
  Model Alone(const RunConfig& config, int64_t steps) {
    const std::string run = NewRun();
    EXPECT_EQ(MustTrain(config, run).steps, steps);
    return TakeModel(run);
  }
  // The largest difference of any number to one rank's model.
  double Difference(RunConfig config, const Model& alone, int ranks, const std::string& placement) {
    config.strategy.placement = placement;
    const std::string run = NewRun();
    MustTrainOn(ranks, config, run);
    return LargestDifference(alone, TakeModel(run));
  }

 private:
  static Model TakeModel(const std::string& run) {
    Model model = Numbers(run);
    std::filesystem::remove_all(run);
    return model;
  }
};

TEST_F(RanksMatrixTest, TenStepsOfEveryCombinationAreThoseOfOneRank) {
  int combinations = 0;
  for (const std::string& model : kModels) {
    for (const std::string& optimizer : kOptimizers) {
      for (const double keys : {1.0, 3.0}) {
        const RunConfig config = Case(model, optimizer, 500, keys);
        const Model alone = Alone(config, 9);  // the last batch is a part
        for (const std::string& placement : kPlacements) {
          for (const int ranks : {2, 3, 4, 8}) {
            ++combinations;
            EXPECT_LE(Difference(config, alone, ranks, placement), 1e-10)
                << model << ", " << optimizer << ", " << keys << " keys, " << ranks << " ranks, " << placement;
          }
        }
      }
    }
  }
  RecordProperty("combinations", combinations);
}

TEST_F(RanksMatrixTest, AThousandStepsAreThoseOfOneRank) {
  // Every model, optimizer, placement and number of ranks takes part.
  struct Long {
    const char *model, *optimizer;
    double keys;
    int ranks;
  };
  const std::vector<Long> cases = {{"lr", "ftrl", 3, 8},     {"wide_deep", "sgd", 3, 2}, {"fm", "adagrad", 1, 3},
                                   {"deepfm", "adam", 3, 4}, {"dnn", "adagrad", 3, 2},   {"dlrm", "sgd", 1, 4},
                                   {"dcnv2", "ftrl", 3, 3}};
  for (const Long& c : cases) {
    RunConfig config = Case(c.model, c.optimizer, 6000, c.keys);
    config.train.epochs = 10;
    config.train.max_steps = 1000;
    config.strategy.dense.check_every_steps = 50;
    const Model alone = Alone(config, 1000);
    for (const std::string& placement : kPlacements)
      EXPECT_LE(Difference(config, alone, c.ranks, placement), 1e-10)
          << c.model << ", " << c.optimizer << ", " << c.ranks << " ranks, " << placement;
  }
}

TEST_F(RanksMatrixTest, EveryPoolingIsThatOfOneRank) {
  for (const std::string pooling : {"mean", "sqrtn", "max"}) {
    for (const std::string model : {"dnn", "dlrm"}) {
      RunConfig config = Case(model, "adagrad", 500, 3);
      config.model.pooling = pooling;
      const Model alone = Alone(config, 9);
      for (const std::string& placement : kPlacements)
        for (const int ranks : {3, 8})
          EXPECT_LE(Difference(config, alone, ranks, placement), 1e-10)
              << model << ", " << pooling << ", " << placement;
    }
  }
}

TEST_F(RanksMatrixTest, TenStepsOfEveryModelInFloatAgree) {
  for (const std::string& model : kModels) {
    for (const std::string optimizer : {"adagrad", "ftrl"}) {
      for (const double keys : {1.0, 3.0}) {
        RunConfig config = Case(model, optimizer, 500, keys);
        config.precision = "fp32";
        config.train.max_steps = 10;
        config.train.epochs = 2;
        const Model alone = Alone(config, 10);
        for (const std::string& placement : kPlacements)
          for (const int ranks : {2, 8})
            EXPECT_LE(Difference(config, alone, ranks, placement), 1e-5)
                << model << ", " << optimizer << ", " << keys << " keys, " << ranks << " ranks, " << placement;
      }
    }
  }
}

TEST_F(RanksMatrixTest, AnEpochInFloatScoresLikeOneRank) {
  for (const std::string model : {"lr", "fm", "wide_deep", "deepfm", "dlrm", "dcnv2"}) {
    RunConfig config = Case(model, "adagrad", 12000, 3);
    config.precision = "fp32";
    config.data.split.kind = "tail";
    config.checkpoint.at_end = false;
    const double alone = MustTrain(config, NewRun()).eval.auc;
    EXPECT_GT(alone, 0.6) << model;
    for (const std::string& placement : kPlacements) {
      config.strategy.placement = placement;
      EXPECT_NEAR(MustTrainOn(3, config, NewRun()).eval.auc, alone, 3e-4) << model << ", " << placement;
    }
  }
}

TEST_F(RanksMatrixTest, GoesOnWithAnotherNumberOfRanks) {
  for (const std::string model : {"deepfm", "dcnv2"}) {
    RunConfig config = Case(model, "adam", 3000, 3);
    const std::string alone = NewRun();
    MustTrain(config, alone);
    for (const auto& [from, to] : std::vector<std::pair<int, int>>{{1, 2}, {2, 1}, {4, 3}, {3, 8}}) {
      for (const std::string& placement : kPlacements) {
        const std::string run = NewRun();
        config.strategy.placement = placement;
        config.train.max_steps = 23;
        MustTrainOn(from, config, run);
        config.train.max_steps = 0;
        MustTrainOn(to, config, run);
        EXPECT_LE(LargestDifference(alone, run), 1e-10) << model << ", " << from << " ranks, then " << to;
      }
    }
  }
}

}  // namespace
}  // namespace sluice::train
