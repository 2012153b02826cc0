#include "metric/evaluator.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <map>
#include <vector>

#include "base/simd.h"
#include "metric/logistic_kernels.h"
#include "metric/test_data.h"

namespace sluice::metric {
namespace {

using Data = TestData;

// Area by all pairs: the definition.
double PairwiseAuc(const Data& data, const std::vector<int64_t>& members, bool weighted) {
  double pairs = 0, wins = 0;
  for (int64_t i : members) {
    for (int64_t j : members) {
      if (data.labels[i] != 1 || data.labels[j] != 0) continue;
      const double w = weighted ? data.weights[i] * data.weights[j] : 1;
      pairs += w;
      if (data.scores[i] > data.scores[j]) wins += w;
      if (data.scores[i] == data.scores[j]) wins += w / 2;
    }
  }
  return wins / pairs;
}

std::vector<int64_t> All(const Data& data) {
  std::vector<int64_t> all;
  for (size_t i = 0; i < data.scores.size(); ++i) all.push_back(static_cast<int64_t>(i));
  return all;
}

Metrics Evaluate(const EvaluatorOptions& options, const Scored& samples) {
  Evaluator evaluator(options);
  EXPECT_TRUE(evaluator.Add(samples).ok());
  auto metrics = evaluator.Finish();
  EXPECT_TRUE(metrics.ok()) << metrics.status().message();
  return metrics.value();
}

TEST(EvaluatorTest, AucIsTheShareOfOrderedPairs) {
  const Data data = RandomData(1500, 7);
  EXPECT_DOUBLE_EQ(Evaluate({}, {data.scores, data.labels}).auc, PairwiseAuc(data, All(data), false));
  EXPECT_DOUBLE_EQ(Evaluate({}, {data.scores, data.labels, data.weights}).auc, PairwiseAuc(data, All(data), true));
}

TEST(EvaluatorTest, AucOfKnownCases) {
  const std::vector<float> labels = {0, 0, 1, 1};
  EXPECT_EQ(Evaluate({}, {std::vector<float>{-3, -2, 2, 3}, labels}).auc, 1.0);
  EXPECT_EQ(Evaluate({}, {std::vector<float>{3, 2, -2, -3}, labels}).auc, 0.0);
  EXPECT_EQ(Evaluate({}, {std::vector<float>{1, 1, 1, 1}, labels}).auc, 0.5);
  EXPECT_EQ(Evaluate({}, {std::vector<float>{-0.0f, 0.0f, 0.0f, -0.0f}, labels}).auc, 0.5);
  EXPECT_EQ(Evaluate({}, {std::vector<float>{0.1f, 0.4f, 0.35f, 0.8f}, labels}).auc, 0.75);
}

TEST(EvaluatorTest, OneClassLeavesAucAndNeUndefined) {
  const Metrics metrics = Evaluate({}, {std::vector<float>{1, 2}, std::vector<float>{1, 1}});
  EXPECT_TRUE(std::isnan(metrics.auc));
  EXPECT_TRUE(std::isnan(metrics.ne));
  EXPECT_NEAR(metrics.logloss, (std::log1p(std::exp(-1.0)) + std::log1p(std::exp(-2.0))) / 2, 1e-15);
}

TEST(EvaluatorTest, NoSamplesGiveUndefinedMetrics) {
  auto metrics = Evaluator({}).Finish();
  ASSERT_TRUE(metrics.ok());
  EXPECT_EQ(metrics->samples, 0);
  EXPECT_TRUE(std::isnan(metrics->auc));
  EXPECT_TRUE(std::isnan(metrics->logloss));
}

TEST(EvaluatorTest, ClosedFormsOfTheOtherMetrics) {
  const std::vector<float> probabilities = {0.25f, 0.5f, 0.75f, 0.5f}, labels = {0, 1, 1, 0}, weights = {1, 2, 1, 4};
  const Metrics metrics = Evaluate({.scores = ScoreKind::kProbability}, {probabilities, labels, weights});
  const double loss = (-std::log(0.75) - 2 * std::log(0.5) - std::log(0.75) - 4 * std::log(0.5)) / 8;
  EXPECT_NEAR(metrics.logloss, loss, 1e-15);
  const double rate = 3.0 / 8;
  EXPECT_NEAR(metrics.ne, loss / -(rate * std::log(rate) + (1 - rate) * std::log(1 - rate)), 1e-14);
  EXPECT_DOUBLE_EQ(metrics.calibration, 4.0 / 3);
  EXPECT_DOUBLE_EQ(metrics.mean_prediction, 0.5);
  EXPECT_DOUBLE_EQ(metrics.base_rate, rate);
  EXPECT_DOUBLE_EQ(metrics.rmse, std::sqrt((0.0625 + 2 * 0.25 + 0.0625 + 4 * 0.25) / 8));
  EXPECT_EQ(metrics.samples, 4);
  EXPECT_EQ(metrics.weight, 8);
}

TEST(EvaluatorTest, LogitsGiveWhatTheirProbabilitiesGive) {
  const Data data = RandomData(1000, 3);
  std::vector<float> probabilities;
  for (float x : data.scores) probabilities.push_back(static_cast<float>(1 / (1 + std::exp(-static_cast<double>(x)))));
  const Metrics a = Evaluate({}, {data.scores, data.labels, data.weights});
  const Metrics b = Evaluate({.scores = ScoreKind::kProbability}, {probabilities, data.labels, data.weights});
  EXPECT_NEAR(a.logloss, b.logloss, 1e-7);  // probabilities are rounded to float
  EXPECT_NEAR(a.calibration, b.calibration, 1e-7);
  EXPECT_DOUBLE_EQ(a.auc, b.auc);
}

TEST(EvaluatorTest, ExtremeLogitsStayFinite) {
  const Metrics metrics = Evaluate({}, {std::vector<float>{1000, -1000, 800}, std::vector<float>{1, 0, 0}});
  EXPECT_NEAR(metrics.logloss, 800.0 / 3, 1e-9);
}

TEST(EvaluatorTest, ExtremeProbabilitiesAreClipped) {
  const Metrics metrics = Evaluate({.scores = ScoreKind::kProbability}, {std::vector<float>{1}, std::vector<float>{0}});
  EXPECT_NEAR(metrics.logloss, -std::log(1e-15), 0.1);  // 1 - (1 - 1e-15) has few digits left
}

TEST(EvaluatorTest, RegressionHasRmseAndNoRanking) {
  const Metrics metrics =
      Evaluate({.scores = ScoreKind::kValue}, {std::vector<float>{1, 2, 5}, std::vector<float>{1, 4, 4}});
  EXPECT_DOUBLE_EQ(metrics.rmse, std::sqrt(5.0 / 3));
  EXPECT_DOUBLE_EQ(metrics.calibration, 8.0 / 9);
  EXPECT_TRUE(std::isnan(metrics.auc));
  EXPECT_TRUE(std::isnan(metrics.logloss));
}

TEST(EvaluatorTest, FractionalLabelCountsAsBothClasses) {
  // One sample of label 0.25 and weight 4 is one positive and three negatives of the same score.
  const Metrics a = Evaluate({}, {std::vector<float>{1, 0, 2}, std::vector<float>{0.25f, 1, 0}, std::vector<float>{4, 1, 1}});
  const Metrics b =
      Evaluate({}, {std::vector<float>{1, 1, 0, 2}, std::vector<float>{1, 0, 1, 0}, std::vector<float>{1, 3, 1, 1}});
  EXPECT_DOUBLE_EQ(a.auc, b.auc);
  EXPECT_NEAR(a.logloss, b.logloss, 1e-15);
  EXPECT_DOUBLE_EQ(a.base_rate, b.base_rate);
}

TEST(EvaluatorTest, GroupedAucIsTheWeightedMeanOverGroupsOfTwoClasses) {
  Data data = RandomData(600, 11);
  for (size_t i = 0; i < 3; ++i) {  // a group of one class
    data.groups[i] = 1;
    data.labels[i] = 1;
  }
  std::map<uint64_t, std::vector<int64_t>> groups;
  for (size_t i = 0; i < data.groups.size(); ++i) groups[data.groups[i]].push_back(static_cast<int64_t>(i));
  double sum = 0, weight = 0;
  int64_t left_out = 0;
  for (const auto& [id, members] : groups) {
    const double auc = PairwiseAuc(data, members, true);
    double size = 0;
    for (int64_t i : members) size += data.weights[i];
    if (std::isnan(auc)) {
      ++left_out;
      continue;
    }
    sum += auc * size;
    weight += size;
  }
  ASSERT_GE(left_out, 1);
  for (int64_t bound : {1 << 20, 50}) {
    const Metrics metrics = Evaluate({.grouped = true, .max_in_memory = bound},
                                     {data.scores, data.labels, data.weights, data.groups});
    EXPECT_NEAR(metrics.gauc, sum / weight, 1e-13);
    EXPECT_EQ(metrics.groups_left_out, left_out);
    EXPECT_EQ(metrics.groups + metrics.groups_left_out, static_cast<int64_t>(groups.size()));
  }
}

TEST(EvaluatorTest, SpillingChangesNoBit) {
  const Data data = RandomData(10000, 5);
  const Scored samples{data.scores, data.labels, data.weights};
  const Metrics memory = Evaluate({}, samples);
  for (int64_t bound : {1, 17, 999, 5000, 10000, 10001}) {
    const Metrics spilled = Evaluate({.max_in_memory = bound}, samples);
    EXPECT_EQ(spilled.auc, memory.auc) << bound;
    EXPECT_EQ(spilled.logloss, memory.logloss) << bound;
  }
}

TEST(EvaluatorTest, CutsIntoSpansChangeNoBit) {
  const Data data = RandomData(9001, 13);
  const Metrics whole = Evaluate({}, {data.scores, data.labels, data.weights});
  Evaluator evaluator({.max_in_memory = 1000});
  for (size_t begin = 0, step = 1; begin < data.scores.size(); begin += step, step = step * 3 % 1001 + 1) {
    const size_t n = std::min(step, data.scores.size() - begin);
    ASSERT_TRUE(evaluator
                    .Add({std::span(data.scores).subspan(begin, n), std::span(data.labels).subspan(begin, n),
                          std::span(data.weights).subspan(begin, n)})
                    .ok());
  }
  auto metrics = evaluator.Finish();
  ASSERT_TRUE(metrics.ok());
  EXPECT_EQ(metrics->auc, whole.auc);
  EXPECT_EQ(metrics->logloss, whole.logloss);
}

TEST(EvaluatorTest, MergedEvaluatorsGiveTheWhole) {
  const Data data = RandomData(3000, 17);
  const Metrics whole = Evaluate({.grouped = true}, {data.scores, data.labels, data.weights, data.groups});
  for (int64_t bound : {1 << 20, 100}) {
    const EvaluatorOptions options{.grouped = true, .max_in_memory = bound};
    Evaluator merged(options);
    for (size_t part = 0; part < 3; ++part) {
      Evaluator one(options);
      const auto cut = [&](const auto& v) { return std::span(v).subspan(part * 1000, 1000); };
      ASSERT_TRUE(one.Add({cut(data.scores), cut(data.labels), cut(data.weights), cut(data.groups)}).ok());
      ASSERT_TRUE(merged.Merge(std::move(one)).ok());
    }
    auto metrics = merged.Finish();
    ASSERT_TRUE(metrics.ok());
    EXPECT_EQ(metrics->auc, whole.auc);
    EXPECT_EQ(metrics->gauc, whole.gauc);
    EXPECT_EQ(metrics->samples, 3000);
    EXPECT_NEAR(metrics->logloss, whole.logloss, 1e-14);
  }
}

TEST(EvaluatorTest, LabelsAreEvaluatedApart) {
  const Data a = RandomData(500, 19), b = RandomData(500, 23);
  std::vector<float> scores, labels;
  for (size_t i = 0; i < 500; ++i) {
    scores.insert(scores.end(), {a.scores[i], b.scores[i]});
    labels.insert(labels.end(), {a.labels[i], b.labels[i]});
  }
  const Metrics both = Evaluate({.num_labels = 2}, {scores, labels});
  const Metrics first = Evaluate({}, {a.scores, a.labels}), second = Evaluate({}, {b.scores, b.labels});
  ASSERT_EQ(both.labels.size(), 2u);
  EXPECT_EQ(both.labels[0].auc, first.auc);
  EXPECT_EQ(both.labels[1].logloss, second.logloss);
  EXPECT_DOUBLE_EQ(both.auc, (first.auc + second.auc) / 2);
  EXPECT_EQ(both.samples, 500);
}

TEST(EvaluatorTest, FinishStartsAnew) {
  const Data data = RandomData(100, 29);
  Evaluator evaluator({});
  ASSERT_TRUE(evaluator.Add({data.scores, data.labels}).ok());
  const double first = evaluator.Finish().value().auc;
  ASSERT_TRUE(evaluator.Add({data.scores, data.labels}).ok());
  EXPECT_EQ(evaluator.Finish().value().auc, first);
}

TEST(EvaluatorTest, SavedAndLoadedGivesTheSameBits) {
  const Data data = RandomData(4000, 37);
  const auto part = [&](size_t begin) {
    const auto cut = [&](const auto& v) { return std::span(v).subspan(begin, 2000); };
    return Scored{cut(data.scores), cut(data.labels), cut(data.weights), cut(data.groups)};
  };
  for (int64_t bound : {1 << 20, 300}) {
    const EvaluatorOptions options{.grouped = true, .max_in_memory = bound};
    Evaluator straight(options), first(options), second(options);
    ASSERT_TRUE(straight.Add(part(0)).ok() && straight.Add(part(2000)).ok());
    MemorySections sections;
    ASSERT_TRUE(first.Add(part(0)).ok());
    ASSERT_TRUE(first.Save(&sections, "eval").ok());
    ASSERT_TRUE(second.Add(part(2000)).ok());  // Load replaces it
    ASSERT_TRUE(second.Load(sections, "eval").ok());
    ASSERT_TRUE(second.Add(part(2000)).ok());
    const Metrics a = straight.Finish().value(), b = second.Finish().value();
    EXPECT_EQ(a.auc, b.auc);
    EXPECT_EQ(a.gauc, b.gauc);
    EXPECT_EQ(a.logloss, b.logloss);
    EXPECT_EQ(a.samples, b.samples);
    EXPECT_EQ(first.Finish().value().samples, 2000);  // Save keeps them
    EXPECT_FALSE(Evaluator({.num_labels = 2}).Load(sections, "eval").ok());
  }
}

TEST(LogisticKernelTest, AgreesWithTheLibraryOnEveryInstructionSet) {
  std::vector<float> x;
  const CounterRng rng(43, 0);
  for (uint64_t i = 0; i < 4001; ++i) x.push_back(static_cast<float>((rng.Uniform(i) - 0.5) * std::exp2(rng.Below(i, 11))));
  x.insert(x.end(), {0.0f, -0.0f, 1e-30f, -1e-30f, 3e38f, -3e38f, 708.5f, -708.5f});
  const auto n = static_cast<int64_t>(x.size());
  std::vector<double> p(x.size()), loss(x.size()), p_best(x.size()), loss_best(x.size());
  plain::Logistic(x.data(), p.data(), loss.data(), n);
  SLUICE_DISPATCH(Logistic)(x.data(), p_best.data(), loss_best.data(), n);
  EXPECT_EQ(p, p_best);
  EXPECT_EQ(loss, loss_best);
  for (size_t i = 0; i < x.size(); ++i) {
    const double v = x[i];
    const double softplus = std::max(v, 0.0) + std::log1p(std::exp(-std::abs(v)));
    EXPECT_NEAR(p[i], 1 / (1 + std::exp(-v)), 1e-15 * p[i] + 1e-300) << v;
    EXPECT_NEAR(loss[i], softplus, 1e-15 * softplus + 1e-300) << v;
  }
}

TEST(EvaluatorTest, BadValuesAreNamed) {
  const std::vector<float> ones(3, 1.0f);
  const std::vector<float> nan = {0, NAN, 0}, two = {0, 1, 2}, negative = {1, -1, 1};
  Status status = Evaluator({}).Add({nan, ones});
  EXPECT_EQ(status.code(), StatusCode::kNumeric);
  EXPECT_NE(status.message().find("sample 1"), std::string::npos) << status.message();
  EXPECT_EQ(Evaluator({}).Add({ones, two}).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(Evaluator({}).Add({ones, ones, negative}).code(), StatusCode::kInvalidArgument);
}

TEST(EvaluatorTest, NegativeZeroWeightCountsNothing) {
  const Metrics a = Evaluate({}, {std::vector<float>{1, 2, 3}, std::vector<float>{1, 0, 0}, std::vector<float>{1, 1, -0.0f}});
  EXPECT_EQ(a.auc, 0.0);
}

TEST(EvaluatorTest, MissingSpillFolderIsAnError) {
  Evaluator evaluator({.max_in_memory = 2, .spill_folder = "/nonexistent/folder"});
  const std::vector<float> values(3, 1.0f);
  const Status status = evaluator.Add({values, values});
  EXPECT_EQ(status.code(), StatusCode::kIo);
  EXPECT_NE(status.message().find("/nonexistent/folder"), std::string::npos) << status.message();
}

TEST(EvaluatorTest, SpillingLeavesNoFile) {
  const auto folder = std::filesystem::path(::testing::TempDir()) / "evaluator_spill";
  std::filesystem::create_directories(folder);
  const Data data = RandomData(1000, 31);
  Evaluator evaluator({.max_in_memory = 100, .spill_folder = folder.string()});
  ASSERT_TRUE(evaluator.Add({data.scores, data.labels}).ok());
  EXPECT_TRUE(std::filesystem::is_empty(folder));
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace sluice::metric
