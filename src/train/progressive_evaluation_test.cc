#include "train/progressive_evaluation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

namespace sluice::train {
namespace {

using ::testing::ElementsAre;

struct Record {
  std::string event;
  std::map<std::string, double> values;
};

struct Log {
  std::vector<Record> records;
  int room = 1000;

  ProgressiveEvaluation::Sink sink() {
    return [this](const char* event, ProgressiveEvaluation::Values values) {
      if (room-- == 0) return ResourceExhausted("the log is full");
      records.push_back({event, {values.begin(), values.end()}});
      return Status::Ok();
    };
  }
  std::vector<std::string> events() const {
    std::vector<std::string> names;
    for (const Record& record : records) names.push_back(record.event);
    return names;
  }
};

const std::vector<double> kLogits = {2.0, -1.0, 0.5, -0.25, 1.5};
const std::vector<float> kLabels = {1, 0, 0, 1, 1};

RunConfig Windows(int64_t window) {
  RunConfig config;
  config.train.progressive.window = window;
  return config;
}

// The samples [begin, end).
Status Add(int begin, int end, ProgressiveEvaluation* evaluation) {
  data::Batch batch;
  batch.size = end - begin;
  batch.labels.assign(kLabels.begin() + begin, kLabels.begin() + end);
  return evaluation->Add(batch, kLogits.data() + begin);
}

// By the definition: mean of -log p(label), a negative counting `negative_weight` times and logits moved by
// `correction`.
double LogLoss(size_t begin, size_t end, double negative_weight = 1, double correction = 0) {
  double loss = 0, weight = 0;
  for (size_t i = begin; i < end; ++i) {
    const double p = 1 / (1 + std::exp(-(kLogits[i] + correction)));
    const double w = kLabels[i] > 0 ? 1 : negative_weight;
    loss -= w * std::log(kLabels[i] > 0 ? p : 1 - p);
    weight += w;
  }
  return loss / weight;
}

TEST(ProgressiveEvaluationTest, LogsEveryWindowAndTheWholeStreamHoweverItIsCut) {
  for (const int cut : {1, 2, 3, 4}) {
    SCOPED_TRACE(cut);
    Log log;
    ProgressiveEvaluation evaluation(Windows(2), 1, log.sink());
    ASSERT_TRUE(Add(0, cut, &evaluation).ok());
    ASSERT_TRUE(Add(cut, 5, &evaluation).ok());
    EXPECT_THAT(log.events(), ElementsAre("window", "window"));
    auto whole = evaluation.Finish();
    ASSERT_TRUE(whole.ok()) << whole.status().message();
    ASSERT_THAT(log.events(), ElementsAre("window", "window", "window", "progressive"));
    for (size_t w = 0; w < 3; ++w) {
      auto values = log.records[w].values;
      const size_t first = 2 * w, end = std::min<size_t>(first + 2, 5);
      EXPECT_EQ(values.at("first_sample"), first);
      EXPECT_EQ(values.at("samples"), end - first);
      EXPECT_NEAR(values.at("logloss"), LogLoss(first, end), 1e-6);
    }
    EXPECT_EQ(log.records[3].values.at("samples"), 5);
    EXPECT_EQ(log.records[3].values.count("first_sample"), 0u);
    EXPECT_NEAR(log.records[3].values.at("logloss"), LogLoss(0, 5), 1e-6);
    EXPECT_EQ(whole->samples, 5);
    EXPECT_DOUBLE_EQ(whole->auc, 5.0 / 6);  // of the six pairs only -0.25 and 0.5 stand in the wrong order
  }
}

TEST(ProgressiveEvaluationTest, StartsAnewAfterTheEnd) {
  Log log;
  ProgressiveEvaluation evaluation(Windows(2), 1, log.sink());
  ASSERT_TRUE(Add(0, 3, &evaluation).ok());
  ASSERT_TRUE(evaluation.Finish().ok());
  log.records.clear();
  auto nothing = evaluation.Finish();
  ASSERT_TRUE(nothing.ok());
  EXPECT_EQ(nothing->samples, 0);
  EXPECT_TRUE(log.records.empty()) << "a record of no samples";
  ASSERT_TRUE(Add(3, 5, &evaluation).ok());
  ASSERT_EQ(log.records.size(), 1u);
  EXPECT_NEAR(log.records[0].values.at("logloss"), LogLoss(3, 5), 1e-6);
}

TEST(ProgressiveEvaluationTest, MeasuresThePopulationThatNegativesWereSampledFrom) {
  RunConfig config = Windows(5);
  config.data.negative_keep_rate = 0.25;
  Log log;
  ProgressiveEvaluation evaluation(config, 1, log.sink());
  ASSERT_TRUE(Add(0, 5, &evaluation).ok());
  ASSERT_EQ(log.records.size(), 1u);
  EXPECT_NEAR(log.records[0].values.at("logloss"), LogLoss(0, 5, 4, std::log(0.25)), 1e-6);
  EXPECT_FLOAT_EQ(evaluation.scores()[0], static_cast<float>(2 + std::log(0.25)));
}

TEST(ProgressiveEvaluationTest, MeasuresARegressionByItsErrors) {
  RunConfig config = Windows(5);
  config.model.loss = "mse";
  Log log;
  ProgressiveEvaluation evaluation(config, 1, log.sink());
  ASSERT_TRUE(Add(0, 5, &evaluation).ok());
  ASSERT_EQ(log.records.size(), 1u);
  double squares = 0;
  for (size_t i = 0; i < 5; ++i) squares += (kLogits[i] - kLabels[i]) * (kLogits[i] - kLabels[i]);
  EXPECT_NEAR(log.records[0].values.at("rmse"), std::sqrt(squares / 5), 1e-6);
  EXPECT_EQ(log.records[0].values.count("logloss"), 0u);
}

TEST(ProgressiveEvaluationTest, GivesScoresAloneWhereItIsOff) {
  Log log;
  ProgressiveEvaluation evaluation(Windows(0), 1, log.sink());
  ASSERT_TRUE(Add(1, 3, &evaluation).ok());
  EXPECT_THAT(evaluation.scores(), ElementsAre(-1.0f, 0.5f));
  EXPECT_EQ(evaluation.evaluator(), nullptr);
  auto whole = evaluation.Finish();
  ASSERT_TRUE(whole.ok());
  EXPECT_EQ(whole->samples, 0);
  EXPECT_TRUE(log.records.empty());
}

TEST(ProgressiveEvaluationTest, AFullLogEndsIt) {
  Log log;
  log.room = 1;
  ProgressiveEvaluation evaluation(Windows(2), 1, log.sink());
  ASSERT_TRUE(Add(0, 2, &evaluation).ok());
  EXPECT_EQ(Add(2, 4, &evaluation).code(), StatusCode::kResourceExhausted);
  Log last;
  last.room = 0;
  ProgressiveEvaluation other(Windows(2), 1, last.sink());
  ASSERT_TRUE(Add(0, 1, &other).ok());
  EXPECT_EQ(other.Finish().status().code(), StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace sluice::train
