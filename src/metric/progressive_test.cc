#include "metric/progressive.h"

#include <gtest/gtest.h>

#include <cmath>

#include "metric/histogram_auc.h"
#include "metric/test_data.h"

namespace sluice::metric {
namespace {

Scored Part(const TestData& data, size_t begin, size_t n) {
  const auto cut = [&](const auto& v) { return std::span(v).subspan(begin, n); };
  return {cut(data.scores), cut(data.labels), cut(data.weights), cut(data.groups)};
}

Metrics Evaluate(const Scored& samples) {
  Evaluator evaluator({.grouped = true});
  EXPECT_TRUE(evaluator.Add(samples).ok());
  return evaluator.Finish().value();
}

TEST(ProgressiveEvaluatorTest, WindowsEndAtTheirBoundsHoweverTheStreamIsCut) {
  const TestData data = RandomData(1050, 3);
  for (const size_t step : {1, 7, 100, 333, 1050}) {
    ProgressiveEvaluator evaluator({.grouped = true}, 100);
    std::vector<Window> windows;
    for (size_t at = 0; at < 1050; at += step)
      ASSERT_TRUE(evaluator.Add(Part(data, at, std::min(step, 1050 - at)), &windows).ok());
    ASSERT_EQ(windows.size(), 10u);
    windows.push_back(evaluator.FinishWindow().value().value());
    EXPECT_FALSE(evaluator.FinishWindow().value().has_value());
    for (size_t w = 0; w < windows.size(); ++w) {
      const Metrics expected = Evaluate(Part(data, w * 100, w < 10 ? 100 : 50));
      EXPECT_EQ(windows[w].first_sample, static_cast<int64_t>(w * 100));
      EXPECT_EQ(windows[w].metrics.samples, expected.samples);
      EXPECT_EQ(windows[w].metrics.auc, expected.auc);
      EXPECT_EQ(windows[w].metrics.ne, expected.ne);
      EXPECT_EQ(windows[w].metrics.gauc, expected.gauc);
    }
    EXPECT_EQ(evaluator.Finish().value().auc, Evaluate(Part(data, 0, 1050)).auc);
  }
}

TEST(ProgressiveEvaluatorTest, ResumedStreamGivesTheSameWindows) {
  const TestData data = RandomData(400, 5);
  ProgressiveEvaluator straight({.grouped = true}, 150), first({.grouped = true}, 150), second({.grouped = true}, 150);
  std::vector<Window> expected, windows;
  ASSERT_TRUE(straight.Add(Part(data, 0, 400), &expected).ok());
  MemorySections sections;
  ASSERT_TRUE(first.Add(Part(data, 0, 170), &windows).ok());
  ASSERT_TRUE(first.Save(&sections, "p").ok());
  ASSERT_TRUE(second.Load(sections, "p").ok());
  ASSERT_TRUE(second.Add(Part(data, 170, 230), &windows).ok());
  ASSERT_EQ(windows.size(), expected.size());
  for (size_t i = 0; i < windows.size(); ++i) {
    EXPECT_EQ(windows[i].first_sample, expected[i].first_sample);
    EXPECT_EQ(windows[i].metrics.auc, expected[i].metrics.auc);
    EXPECT_EQ(windows[i].metrics.logloss, expected[i].metrics.logloss);
  }
  EXPECT_EQ(second.Finish().value().logloss, straight.Finish().value().logloss);
}

TEST(HistogramAucTest, IsExactWhereBinsHoldOneScoreEach) {
  const TestData data = RandomData(2000, 7);  // scores are multiples of 1/8
  HistogramAuc histogram;
  histogram.Add(data.scores, data.labels, data.weights);
  Evaluator evaluator({});
  ASSERT_TRUE(evaluator.Add({data.scores, data.labels, data.weights}).ok());
  EXPECT_NEAR(histogram.Auc(), evaluator.Finish().value().auc, 1e-12);
}

TEST(HistogramAucTest, IsNearForContinuousScores) {
  const CounterRng rng(11, 0);
  std::vector<float> scores, labels;
  for (uint64_t i = 0; i < 20000; ++i) {
    labels.push_back(rng.Uniform(3 * i) < 0.2 ? 1.0f : 0.0f);
    scores.push_back(static_cast<float>(rng.Normal(3 * i + 1) + labels.back()));
  }
  HistogramAuc histogram;
  histogram.Add(scores, labels);
  Evaluator evaluator({});
  ASSERT_TRUE(evaluator.Add({scores, labels}).ok());
  EXPECT_NEAR(histogram.Auc(), evaluator.Finish().value().auc, 1e-4);  // a pair in a thousand shares a bin
}

TEST(HistogramAucTest, DecayForgetsTheBeginning) {
  const std::vector<float> scores = {-1, 1}, wrong = {1, 0}, right = {0, 1};
  HistogramAuc histogram(0.5);
  EXPECT_TRUE(std::isnan(histogram.Auc()));
  histogram.Add(scores, wrong);
  EXPECT_EQ(histogram.Auc(), 0.0);
  for (int i = 0; i < 1000; ++i) histogram.Add(scores, right);  // far beyond the range of a double without rescaling
  EXPECT_NEAR(histogram.Auc(), 1.0, 1e-12);
  histogram.Add(std::vector<float>{NAN, 1e30f, -INFINITY}, std::vector<float>{1, 1, 0});
  EXPECT_GT(histogram.Auc(), 0.5);
}

}  // namespace
}  // namespace sluice::metric
