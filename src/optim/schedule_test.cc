#include "optim/schedule.h"

#include <cmath>
#include <numbers>

#include <gtest/gtest.h>

#include "optim/config.h"

namespace sluice::optim {
namespace {

Schedule MakeOrDie(const ScheduleConfig& config, double learning_rate) {
  Result<Schedule> schedule = Schedule::Make(config, learning_rate);
  EXPECT_TRUE(schedule.ok()) << schedule.status().message();
  return *schedule;
}

TEST(ScheduleTest, ConstantAfterLinearWarmUp) {
  const Schedule schedule = MakeOrDie({.warmup_steps = 4}, 0.8);
  EXPECT_DOUBLE_EQ(schedule.LearningRate(1), 0.2);
  EXPECT_DOUBLE_EQ(schedule.LearningRate(3), 0.6);
  EXPECT_DOUBLE_EQ(schedule.LearningRate(4), 0.8);
  EXPECT_DOUBLE_EQ(schedule.LearningRate(1000), 0.8);
}

TEST(ScheduleTest, StepDecaysEverySoManySteps) {
  const Schedule schedule = MakeOrDie({.kind = "step", .warmup_steps = 2, .step_size = 10, .gamma = 0.5}, 1.0);
  EXPECT_DOUBLE_EQ(schedule.LearningRate(12), 1.0);
  EXPECT_DOUBLE_EQ(schedule.LearningRate(13), 0.5);
  EXPECT_DOUBLE_EQ(schedule.LearningRate(23), 0.25);
}

TEST(ScheduleTest, PolynomialEndsAtEndFactor) {
  const Schedule schedule = MakeOrDie({.kind = "polynomial", .total_steps = 100, .power = 2, .end_factor = 0.1}, 1.0);
  EXPECT_NEAR(schedule.LearningRate(50), 0.1 + 0.9 * 0.25, 1e-12);
  EXPECT_NEAR(schedule.LearningRate(100), 0.1, 1e-12);
  EXPECT_NEAR(schedule.LearningRate(1000), 0.1, 1e-12);
}

TEST(ScheduleTest, CosineFollowsHalfAPeriod) {
  const Schedule schedule = MakeOrDie({.kind = "cosine", .warmup_steps = 10, .total_steps = 110}, 2.0);
  EXPECT_NEAR(schedule.LearningRate(60), 1.0, 1e-12);
  EXPECT_NEAR(schedule.LearningRate(35), 1 + std::cos(std::numbers::pi / 4), 1e-12);
  EXPECT_NEAR(schedule.LearningRate(110), 0.0, 1e-12);
}

TEST(ScheduleTest, PlateauDecaysAfterPatienceAndResumesFromState) {
  const ScheduleConfig config = {.kind = "plateau", .gamma = 0.5, .end_factor = 0.2, .patience = 1, .min_delta = 0.01};
  Schedule schedule = MakeOrDie(config, 1.0);
  EXPECT_FALSE(schedule.Observe(-0.7));
  EXPECT_FALSE(schedule.Observe(-0.695));  // better by less than min_delta: the first bad one
  Schedule resumed = MakeOrDie(config, 1.0);
  resumed.set_state(schedule.state());
  EXPECT_TRUE(resumed.Observe(-0.72));
  EXPECT_DOUBLE_EQ(resumed.LearningRate(7), 0.5);
  EXPECT_FALSE(resumed.Observe(-0.5));
  EXPECT_FALSE(resumed.Observe(-0.6));
  EXPECT_TRUE(resumed.Observe(-0.6));
  EXPECT_DOUBLE_EQ(resumed.LearningRate(7), 0.25);
  for (int i = 0; i < 6; ++i) (void)resumed.Observe(-0.6);
  EXPECT_DOUBLE_EQ(resumed.LearningRate(7), 0.2);
}

TEST(ScheduleTest, NamesTheMissingKey) {
  const auto message = [](const ScheduleConfig& config) { return Schedule::Make(config, 1).status().message(); };
  EXPECT_NE(message({.kind = "step"}).find("step_size"), std::string::npos);
  EXPECT_NE(message({.kind = "cosine", .warmup_steps = 5, .total_steps = 5}).find("total_steps"), std::string::npos);
  EXPECT_NE(message({.kind = "linear"}).find("'linear'"), std::string::npos);
}

TEST(OptimizerConfigTest, MakesEveryRule) {
  for (const char* name : {"sgd", "momentum", "adagrad", "rowwise_adagrad", "ftrl", "adam", "adamw"}) {
    OptimizerConfig config;
    config.name = name;
    config.learning_rate = 0.125;
    config.l1 = 0.5;
    const Result<Rule> rule = MakeRule(config);
    ASSERT_TRUE(rule.ok()) << rule.status().message();
    EXPECT_STREQ(RuleName(rule.value().kind), name);
    EXPECT_EQ(rule.value().learning_rate, 0.125);
    EXPECT_EQ(rule.value().l1, 0.5);
  }
}

TEST(OptimizerConfigTest, RefusesWhatARuleForbids) {
  const auto message = [](const OptimizerConfig& config) { return MakeRule(config).status().message(); };
  OptimizerConfig config;
  config.name = "adamax";
  EXPECT_NE(message(config).find("'adamax'"), std::string::npos);
  config = {};
  config.name = "adam";
  config.beta2 = 1.0;
  EXPECT_NE(message(config).find("beta2"), std::string::npos);
  config = {};
  config.name = "ftrl";
  config.learning_rate = 0;
  EXPECT_NE(message(config).find("learning_rate"), std::string::npos);
  config = {};
  config.schedule.kind = "step";
  EXPECT_NE(message(config).find("optimizer"), std::string::npos);
}

}  // namespace
}  // namespace sluice::optim
