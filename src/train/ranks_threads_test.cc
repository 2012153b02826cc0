// Ranks as threads with everything on that runs beside the worker: batches read and keys exchanged ahead, dense
// gradients in buckets while backward goes on, evaluations and checkpoints at rest. Small: these run under the thread
// sanitizer.
#include "train/ranks_test_util.h"

namespace sluice::train {
namespace {

class RanksOfThreadsTest : public RanksTest {
 protected:
  // Nine steps and a part of one, on ranks of two threads.
  static RunConfig Busy(const std::string& preset) {
    RunConfig config = Tiny(preset, 500, 3);
    config.precision = "fp32";
    config.threads = 4;
    config.train.overlap = "true";
    config.train.clip_norm = 0.05;
    config.strategy.dense.bucket_kib = 1;
    config.strategy.dense.check_every_steps = 2;
    return config;
  }
};

TEST_F(RanksOfThreadsTest, EveryPlacementWithOverlapEvaluationAndCheckpoints) {
  RunConfig config = Busy("deepfm");
  config.data.eval = {TinyData(300, 3)};
  config.model.batch_norm = true;
  config.train.eval_every_epoch = true;
  config.train.progressive.window = 100;
  config.checkpoint.every_steps = 4;
  for (const bool deterministic : {false, true}) {
    config.deterministic = deterministic;
    std::string digest;
    for (const std::string& placement : kPlacements) {
      config.strategy.placement = placement;
      config.strategy.input = placement == "des" ? "replicated" : "sharded";
      const std::string run = NewRun();
      const TrainReport report = MustTrainOn(placement == "des_rs" ? 3 : 2, config, run);
      EXPECT_EQ(report.steps, 9);
      EXPECT_EQ(report.eval.samples, 300);
      if (deterministic) {
        EXPECT_EQ(digest.empty() ? DigestOf(run) : digest, DigestOf(run)) << placement;
        digest = DigestOf(run);
      }
    }
  }
}

TEST_F(RanksOfThreadsTest, MixedPlacementsAndFirstLayersOfOwners) {
  struct Mix {
    const char *first_layer, *others, *c1, *c2;  // placements: of C1, C2 and the other fields
  };
  for (const Mix& mix :
       {Mix{"pooled", "des_rs", "field_a2a", "rows_a2a"}, Mix{"by_rows", "field_a2a", "field_a2a", "field_a2a"},
        Mix{"by_hash", "des_rs", "des_rs", "des_rs"}}) {
    for (const std::string input : {"replicated", "sharded"}) {
      RunConfig config = Busy("wide_deep");
      config.model.pooling = "mean";
      config.strategy.placement = mix.others;
      config.strategy.fields = {{"C1", {.placement = mix.c1}}, {"C2", {.placement = mix.c2}}};
      config.strategy.first_layer = mix.first_layer;
      config.strategy.input = input;
      config.strategy.wire.rows = config.strategy.wire.partials = "bf16";
      EXPECT_EQ(MustTrainOn(3, config, NewRun()).steps, 9) << mix.first_layer << ", " << input;
    }
  }
}

TEST_F(RanksOfThreadsTest, AnInterruptAndAResumeByOthers) {
  RunConfig config = Busy("fm");
  config.strategy.placement = "rows_a2a";
  config.train.epochs = 100;
  const std::string run = NewRun();
  InterruptFlag() = true;
  const auto stopped = Train(config, {.run_dir = run, .quiet = true, .ranks = 3});
  InterruptFlag() = false;
  EXPECT_EQ(stopped.status().code(), StatusCode::kCancelled) << stopped.status().message();
  config.train.max_steps = 40;
  EXPECT_EQ(MustTrainOn(2, config, run).steps, 40);
}

TEST_F(RanksOfThreadsTest, EvaluationAndPredictionByRanks) {
  RunConfig config = Busy("deepfm");
  const std::string run = NewRun();
  MustTrainOn(2, config, run);
  const std::string data = TinyData(300, 3);
  auto metrics = Evaluate({.checkpoint = run, .inputs = {data}, .ranks = 3});
  ASSERT_TRUE(metrics.ok()) << metrics.status().message();
  EXPECT_EQ(metrics->samples, 300);
  auto report = Predict({.checkpoint = run, .inputs = {data}, .output = Folder() + "/scores.tsv", .ranks = 3});
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_EQ(report->samples, 300);
}

TEST_F(RanksOfThreadsTest, AFailureOfOneEndsAll) {
  RunConfig config = Busy("deepfm");
  config.train.clip_norm = 0;
  config.threads = 2;
  config.optimizer.learning_rate = 1e30;
  const auto report = Train(config, {.run_dir = NewRun(), .quiet = true, .ranks = 3});
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.status().code(), StatusCode::kNumeric) << report.status().message();
}

}  // namespace
}  // namespace sluice::train
