#include <unistd.h>

#include <cmath>

#include "train/embedding_collection.h"
#include "train/train_test_util.h"

namespace sluice::train {
namespace {

using DeterminismTest = TrainTest;
using LoopTest = TrainTest;
using WarmStartTest = TrainTest;

TEST_F(LoopTest, LearnsWhatTheTeacherPlanted) {
  RunConfig config = Config();
  config.model.preset = "lr";
  config.train.epochs = 2;
  const TrainReport report = MustTrain(config, NewRun());
  EXPECT_GT(report.eval.auc, 0.65);
  EXPECT_NEAR(report.eval.calibration, 1.0, 0.15);
  EXPECT_LT(report.eval.logloss, 0.56);
  EXPECT_TRUE(report.evaluated);
}

TEST_F(DeterminismTest, OverlapChangesNothing) {
  RunConfig config = Config();
  config.train.eval_every_steps = 13;
  config.checkpoint.every_steps = 9;
  const std::string overlapped = TrainDigest(config);
  config.train.queue_depth = 4;
  EXPECT_EQ(TrainDigest(config), overlapped);
  config.train.overlap = "false";
  EXPECT_EQ(TrainDigest(config), overlapped);
}

TEST(TrainConfigTest, AutoOverlapsWhereAProcessorIsFreeOrTextIsRead) {
  TrainConfig train;
  EXPECT_FALSE(train.Overlaps(NumUsableProcessors(), false));
  EXPECT_TRUE(train.Overlaps(NumUsableProcessors(), true));
  EXPECT_TRUE(train.Overlaps(NumUsableProcessors() - 1, false));
  train.overlap = "true";
  EXPECT_TRUE(train.Overlaps(NumUsableProcessors(), false));
  train.overlap = "false";
  EXPECT_FALSE(train.Overlaps(1, true));
}

TEST_F(DeterminismTest, OverlapChangesNothingWhereRowsExpireAndKeysWait) {
  RunConfig config = Config();
  config.train.epochs = 8;   // more steps than the period of expiry
  embedding::TableConfig table;
  table.expiry.max_age_steps = 12;
  table.expiry.max_rows = 3000;
  table.admission.kind = "count";
  config.tables = {{"default", table}};
  const std::string overlapped = TrainDigest(config);
  config.train.overlap = "false";
  EXPECT_EQ(TrainDigest(config), overlapped);
}

TEST_F(DeterminismTest, AnyNumberOfThreadsGivesTheSameBitsInDeterministicMode) {
  RunConfig config = Config();
  config.deterministic = true;
  config.train.clip_norm = 0.5;
  config.threads = 1;
  const std::string one = TrainDigest(config);
  for (int threads : {2, 4}) {
    config.threads = threads;
    EXPECT_EQ(TrainDigest(config), one) << threads << " threads";
  }
}

TEST_F(DeterminismTest, EqualRunsAreEqualAndReadersChangeNothing) {
  RunConfig config = Config();
  const std::string once = TrainDigest(config);
  config.data.reader_threads = 3;
  EXPECT_EQ(TrainDigest(config), once);
  config.seed = 2;
  EXPECT_NE(TrainDigest(config), once);
}

// Every checkpoint of a run leads to the same end, with shuffling, progressive windows and a schedule that has a state.
TEST_F(DeterminismTest, ResumedRunEqualsTheUninterruptedOne) {
  RunConfig config = Config();
  config.model.batch_norm = true;
  config.model.dropout = 0.1;
  config.data.shuffle_window = 700;
  config.train.epochs = 2;
  config.train.eval_every_steps = 17;
  config.train.progressive.window = 1000;
  config.optimizer.schedule.kind = "plateau";
  config.optimizer.schedule.patience = 0;
  const std::string whole = TrainDigest(config);
  for (int64_t stop : {1, 30, 42, 60}) {
    const std::string run = NewRun();
    config.train.max_steps = stop;
    config.train.eval_every_epoch = true;
    MustTrain(config, run);
    config.train.max_steps = 0;
    const TrainReport report = MustTrain(config, run);
    EXPECT_GT(report.steps, stop);
    EXPECT_EQ(DigestOf(run), whole) << "stopped after step " << stop;
  }
}

TEST_F(LoopTest, InterruptWritesACheckpointToGoOnFrom) {
  const RunConfig config = Config();
  const std::string whole = TrainDigest(config), run = NewRun();
  InterruptFlag().store(true);
  auto interrupted = Train(config, {.run_dir = run, .quiet = true});
  InterruptFlag().store(false);
  ASSERT_FALSE(interrupted.ok());
  EXPECT_EQ(interrupted.status().code(), StatusCode::kCancelled);
  EXPECT_EQ(interrupted.status().ExitCode(), 130);
  MustTrain(config, run);
  EXPECT_EQ(DigestOf(run), whole);
}

TEST_F(LoopTest, EarlyStoppingRestoresTheBestModel) {
  RunConfig config = Config();
  config.train.epochs = 20;
  config.train.early_stopping.patience = 2;
  embedding::TableConfig fast;   // learns the training part by heart
  fast.optimizer.learning_rate = 0.2;
  config.tables = {{"default", fast}};
  const std::string run = NewRun();
  const TrainReport report = MustTrain(config, run);
  ASSERT_TRUE(report.stopped_early);
  EXPECT_GT(report.best_step, 0);
  EXPECT_LT(report.best_step, report.steps);
  auto metrics = Evaluate({.checkpoint = run});
  ASSERT_TRUE(metrics.ok()) << metrics.status().message();
  EXPECT_EQ(metrics->auc, report.eval.auc);
  // Taken up again it neither trains nor forgets the best.
  const TrainReport again = MustTrain(config, run);
  EXPECT_EQ(again.samples, 0);
  EXPECT_EQ(again.eval.auc, report.eval.auc);
}

TEST_F(LoopTest, DoublePrecisionFollowsSinglePrecision) {
  RunConfig config = Config();
  const TrainReport single = MustTrain(config, NewRun());
  config.precision = "fp64";
  const TrainReport plain = MustTrain(config, NewRun());
  EXPECT_NEAR(plain.eval.auc, single.eval.auc, 2e-3);
  EXPECT_NEAR(plain.eval.logloss, single.eval.logloss, 2e-3);
}

TEST_F(LoopTest, RefusesToOverwriteAnotherRun) {
  RunConfig config = Config();
  config.train.max_steps = 2;
  const std::string run = NewRun();
  MustTrain(config, run);
  RunConfig other = config;
  other.train.batch_size = 128;
  auto refused = Train(other, {.run_dir = run, .quiet = true});
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.status().message().find("batch_size"), std::string::npos) << refused.status().message();
  config.checkpoint.resume = "never";
  refused = Train(config, {.run_dir = run, .quiet = true});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.status().code(), StatusCode::kInvalidArgument);
}

TEST_F(LoopTest, PredictGivesTheScoresThatEvaluationSaw) {
  RunConfig config = Config();
  config.train.max_steps = 20;
  const std::string run = NewRun(), output = Folder() + "/scores.txt";
  MustTrain(config, run);
  auto report = Predict({.checkpoint = run, .inputs = {Data()}, .output = output});
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_EQ(report->samples, 12000);
  auto metrics = Evaluate({.checkpoint = run, .inputs = {Data()}});
  ASSERT_TRUE(metrics.ok());
  std::ifstream file(output);
  std::string line;
  ASSERT_TRUE(std::getline(file, line));
  EXPECT_EQ(line, "score");
  double sum = 0;
  int64_t lines = 0;
  for (; std::getline(file, line); ++lines) sum += std::stod(line);
  EXPECT_EQ(lines, 12000);
  EXPECT_NEAR(sum / 12000, metrics->mean_prediction, 1e-6);
}

// Taken over whole, a model scores as before; with a field renamed its rows follow; a field added starts without
// influence.
TEST_F(WarmStartTest, StartsAtTheOldModelsQuality) {
  RunConfig config = Config();
  config.model.preset = "dcnv2";
  config.train.epochs = 2;
  for (int i = 1; i <= 20; ++i) {
    data::FeatureConfig feature;
    feature.column = "C" + std::to_string(i);
    config.features.emplace_back(feature.column, feature);
  }
  const std::string old = NewRun();
  const double auc = MustTrain(config, old).eval.auc;

  RunConfig warm = config;
  warm.checkpoint.init_from = old;
  warm.train.max_steps = 1;
  warm.train.epochs = 1;
  warm.optimizer.learning_rate = 1e-12;
  embedding::TableConfig still;
  still.optimizer.learning_rate = 1e-12;
  warm.tables = {{"default", still}};
  EXPECT_NEAR(MustTrain(warm, NewRun()).eval.auc, auc, 1e-4);

  warm.features[3].first = "renamed";
  warm.checkpoint.warm_start.rename = {{"renamed", {"C4"}}};
  data::FeatureConfig added;
  added.column = "C21";
  warm.features.insert(warm.features.begin() + 7, {"C21", added});
  EXPECT_NEAR(MustTrain(warm, NewRun()).eval.auc, auc, 1e-4);

  // One dropped costs what it was worth, not the rest.
  warm.features.erase(warm.features.begin() + 1);
  EXPECT_NEAR(MustTrain(warm, NewRun()).eval.auc, auc, 0.02);
}

TEST_F(WarmStartTest, NamesWhatDoesNotFit) {
  RunConfig config = Config();
  config.train.max_steps = 2;
  const std::string old = NewRun();
  MustTrain(config, old);
  config.checkpoint.init_from = old;
  config.model.dim = 8;
  auto refused = Train(config, {.run_dir = NewRun(), .quiet = true});
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.status().message().find("table embedding"), std::string::npos) << refused.status().message();
  EXPECT_NE(refused.status().message().find("width 5 there, 9 here"), std::string::npos) << refused.status().message();
  config.checkpoint.warm_start.allow_misfit = true;
  MustTrain(config, NewRun());
}

TEST_F(LoopTest, StopsAtTheFirstValueThatIsNotFinite) {
  RunConfig config = Config();
  config.optimizer.name = "sgd";
  config.optimizer.learning_rate = 1e30;
  auto failed = Train(config, {.run_dir = NewRun(), .quiet = true});
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.status().code(), StatusCode::kNumeric);
  EXPECT_NE(failed.status().message().find("step"), std::string::npos) << failed.status().message();
}

TEST_F(LoopTest, InspectShowsAKeysRow) {
  RunConfig config = Config();
  config.train.max_steps = 3;
  const std::string run = NewRun();
  MustTrain(config, run);
  std::ifstream file(Data());
  std::string line;
  ASSERT_TRUE(std::getline(file, line));
  std::string value = line.substr(line.rfind('\t') + 1);
  auto row = Inspect({.checkpoint = run, .field = "C26", .value = value});
  ASSERT_TRUE(row.ok()) << row.status().message();
  EXPECT_NE(row->find("count"), std::string::npos);
  auto none = Inspect({.checkpoint = run, .field = "C26", .value = "never seen"});
  ASSERT_FALSE(none.ok());
  EXPECT_EQ(none.status().code(), StatusCode::kNotFound);
  auto summary = Inspect({.checkpoint = run});
  ASSERT_TRUE(summary.ok());
  EXPECT_NE(summary->find("deepfm"), std::string::npos);
}

// The embedding half alone, against sums worked out by hand: SGD moves a row by the learning rate times the sum of the
// gradients of its occurrences, once.
TEST(EmbeddingCollectionTest, TrainsRowsWithoutANet) {
  data::Schema schema;
  schema.labels = {"label"};
  schema.fields = {{.name = "a", .vocabulary = "v", .salt = VocabularySalt("v")},
                   {.name = "b", .vocabulary = "v", .salt = VocabularySalt("v"), .one_hot = false}};
  EmbeddingCollectionOptions options;
  options.dim = 2;
  options.table.init.kind = "zero";
  options.table.optimizer.name = "sgd";
  options.table.optimizer.learning_rate = 0.5;
  options.threads = 2;
  auto collection = EmbeddingCollection::Make(schema, options);
  ASSERT_TRUE(collection.ok()) << collection.status().message();
  ASSERT_EQ((*collection)->width(), 4);
  data::Batch batch;
  batch.size = 2;
  batch.fields.resize(2);
  batch.fields[0].keys = {7, 8};
  batch.fields[1].offsets = {0, 2, 2};
  batch.fields[1].keys = {8, 7};
  std::vector<float> pooled(8);
  ASSERT_TRUE((*collection)->Forward(batch, pooled).ok());
  EXPECT_EQ(pooled, std::vector<float>(8, 0.0f));
  ASSERT_TRUE((*collection)->Backward(std::vector<float>{1, 2, 4, 8, 16, 32, 64, 128}).ok());
  // Key 7: sample 0 as `a` (1, 2) and within `b` (4, 8). Key 8: sample 0 within `b` (4, 8), sample 1 as `a` (16, 32).
  ASSERT_TRUE((*collection)->Lookup(batch, pooled).ok());
  EXPECT_EQ(pooled, (std::vector<float>{-2.5, -5, -12.5, -25, -10, -20, 0, 0}));
  batch.fields[0].keys = {9, 7};
  ASSERT_TRUE((*collection)->Lookup(batch, pooled).ok());
  EXPECT_EQ((*collection)->table().stats().rows, 2);
}

}  // namespace
}  // namespace sluice::train
