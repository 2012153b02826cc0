#include "data/synth.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include <gtest/gtest.h>

#include "base/file.h"
#include "data/synth_model.h"

namespace sluice::data {
namespace {

class SynthTest : public ::testing::Test {
 protected:
  SynthTest() {
    folder_ =
        std::filesystem::temp_directory_path() / ("sluice_synth_" + std::to_string(::getpid()) + "_" +
                                                  ::testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(folder_);
    config_.samples = 20000;
    config_.output = Path("log.tsv");
  }
  ~SynthTest() override { std::filesystem::remove_all(folder_); }

  std::string Path(const std::string& name) const { return (folder_ / name).string(); }
  SynthReport Run() {
    Result<SynthReport> report = Synthesize(config_);
    EXPECT_TRUE(report.ok()) << report.status().message();
    return report.value();
  }
  std::vector<std::vector<std::string>> ReadTable(const std::string& path, char separator) {
    std::vector<std::vector<std::string>> rows;
    std::ifstream in(path);
    for (std::string line; std::getline(in, line);) {
      rows.emplace_back();
      std::stringstream columns(line + separator);
      for (std::string column; std::getline(columns, column, separator);) rows.back().push_back(column);
    }
    return rows;
  }

  std::filesystem::path folder_;
  SynthConfig config_;
};

// By definition, over all pairs of a positive and a negative sample.
double PairwiseAuc(const std::vector<double>& scores, const std::vector<int>& labels) {
  double ordered = 0, pairs = 0;
  for (size_t i = 0; i < scores.size(); ++i) {
    if (!labels[i]) continue;
    for (size_t j = 0; j < scores.size(); ++j) {
      if (labels[j]) continue;
      pairs += 1;
      ordered += scores[i] > scores[j] ? 1 : scores[i] == scores[j] ? 0.5 : 0;
    }
  }
  return ordered / pairs;
}

TEST_F(SynthTest, WritesCriteoLines) {
  const SynthReport report = Run();
  EXPECT_EQ(report.samples, 20000);
  EXPECT_EQ(report.bytes, static_cast<int64_t>(std::filesystem::file_size(config_.output)));
  const auto rows = ReadTable(config_.output, '\t');
  ASSERT_EQ(rows.size(), 20000u);
  std::set<std::string> keys;
  int empty_integers = 0;
  for (const auto& row : rows) {
    ASSERT_EQ(row.size(), 40u);
    ASSERT_TRUE(row[0] == "0" || row[0] == "1");
    for (int c = 1; c <= 13; ++c) {
      empty_integers += row[c].empty();
      if (!row[c].empty()) {
        ASSERT_GE(std::stoll(row[c]), c == 2 ? -1 : 0);
      }
    }
    for (int c = 14; c < 40; ++c) {
      if (row[c].empty()) continue;
      ASSERT_EQ(row[c].size(), 8u);
      ASSERT_EQ(row[c].find_first_not_of("0123456789abcdef"), std::string::npos);
      keys.insert(std::to_string(c) + row[c]);
    }
  }
  EXPECT_GT(empty_integers, 0);
  // Two keys of a field may share their 32 bits of text.
  EXPECT_NEAR(static_cast<double>(keys.size()), static_cast<double>(report.distinct_keys), 0.001 * keys.size());
}

TEST_F(SynthTest, OutputIsTheSameAtAnyNumberOfThreads) {
  for (int threads : {1, 2, 5}) {
    config_.threads = threads;
    config_.output = Path("t" + std::to_string(threads));
    Run();
  }
  const std::string expected = ReadWholeFile(Path("t1")).value();
  for (const char* name : {"t2", "t5"}) EXPECT_EQ(ReadWholeFile(Path(name)).value(), expected);
  EXPECT_EQ(ReadWholeFile(Path("t2.json")).value(), ReadWholeFile(Path("t1.json")).value());
}

TEST_F(SynthTest, SeedsGiveOtherData) {
  Run();
  const std::string first = ReadWholeFile(config_.output).value();
  config_.seed = 2;
  Run();
  EXPECT_NE(ReadWholeFile(config_.output).value(), first);
}

TEST_F(SynthTest, ReportedMetricsAreThoseOfTheTeachersProbabilities) {
  config_.tail = 0.25;
  config_.teacher_output = Path("teacher");
  const SynthReport report = Run();
  const auto rows = ReadTable(config_.output, '\t');
  std::ifstream teacher(config_.teacher_output);
  std::vector<double> probabilities;
  for (double p; teacher >> p;) probabilities.push_back(p);
  ASSERT_EQ(probabilities.size(), 5000u);
  ASSERT_EQ(report.tail.samples, 5000);
  ASSERT_EQ(report.train.samples, 15000);
  std::vector<int> labels;
  double loss = 0, positives = 0;
  for (size_t i = 0; i < 5000; ++i) {
    labels.push_back(rows[15000 + i][0] == "1");
    positives += labels.back();
    loss -= std::log(labels.back() ? probabilities[i] : 1 - probabilities[i]);
  }
  EXPECT_NEAR(report.tail.auc, PairwiseAuc(probabilities, labels), 2e-5);  // the histogram's bins
  EXPECT_NEAR(report.tail.logloss, loss / 5000, 1e-8);                     // the file's 9 digits
  EXPECT_NEAR(report.tail.base_rate, positives / 5000, 1e-12);
}

TEST_F(SynthTest, TeacherHasTheAucAndBaseRateThatWereAskedFor) {
  config_.samples = 120000;
  for (const auto& [auc, base_rate] : {std::pair{0.8, 0.25}, std::pair{0.7, 0.05}}) {
    config_.auc = auc;
    config_.base_rate = base_rate;
    const SynthReport report = Run();
    EXPECT_NEAR(report.train.auc, auc, 0.008);  // sampling of labels and of the calibration, about 3 deviations
    EXPECT_NEAR(report.train.base_rate, base_rate, 0.005);
    EXPECT_LT(report.train.linear_auc, auc - 0.01);
  }
  config_.interaction = 0;
  EXPECT_NEAR(Run().train.linear_auc, config_.auc, 0.008);
}

TEST_F(SynthTest, KeysFollowAPowerLaw) {
  const SynthModel model(config_);
  std::vector<int> top(config_.fields, 0), half(config_.fields, 0);
  SynthSample sample;
  constexpr int kSamples = 20000;
  for (int i = 0; i < kSamples; ++i) {
    model.Draw(i, 0, &sample);
    for (int64_t f = 0; f < config_.fields; ++f) {
      if (sample.offsets[f] == sample.offsets[f + 1]) continue;
      const auto index = sample.indices[sample.offsets[f]];
      ASSERT_LT(index, model.cardinality(f));
      top[f] += index < model.cardinality(f) * 1e-3;
      half[f] += index < model.cardinality(f) / 2;
    }
  }
  int64_t largest = 0;
  for (int64_t f = 1; f < config_.fields; ++f)
    if (model.cardinality(f) > model.cardinality(largest)) largest = f;
  EXPECT_EQ(model.cardinality(largest), config_.rows);
  // P(index < x rows) = x^(1 / skew), over the samples where the field is not missing; 4 deviations.
  const double present = largest % 4 == 3 ? 1 - config_.missing / 2 : 1;
  EXPECT_NEAR(top[largest] / (kSamples * present), std::pow(1e-3, 1 / config_.skew), 0.015);
  EXPECT_NEAR(half[largest] / (kSamples * present), std::pow(0.5, 1 / config_.skew), 0.015);
}

TEST_F(SynthTest, ChurnBringsNewKeysAllTheTime) {
  auto new_keys_in_second_half = [&] {
    Run();
    const auto rows = ReadTable(config_.output, '\t');
    std::set<std::string> seen;
    int64_t fresh = 0;
    for (size_t i = 0; i < rows.size(); ++i)
      for (int c = 14; c < 40; ++c)
        if (seen.insert(std::to_string(c) + rows[i][c]).second && i >= rows.size() / 2) ++fresh;
    return fresh;
  };
  config_.rows = 100;  // all keys are seen early
  EXPECT_LT(new_keys_in_second_half(), 400);
  config_.churn = 10;
  EXPECT_GT(new_keys_in_second_half(), 2000);
}

TEST_F(SynthTest, MultiValuedColumnsHoldTheAskedNumberOfKeys) {
  config_.format = "csv";
  config_.dense = 2;
  config_.fields = 50;
  config_.keys_per_field = 20;
  config_.samples = 500;
  config_.output = Path("log.csv");
  Run();
  const auto rows = ReadTable(config_.output, ',');
  ASSERT_EQ(rows.size(), 501u);
  EXPECT_EQ(rows[0].front(), "label");
  EXPECT_EQ(rows[0].back(), "C50");
  int64_t keys = 0;
  for (size_t i = 1; i < rows.size(); ++i) {
    ASSERT_EQ(rows[i].size(), 53u);
    for (int c = 3; c < 53; ++c)
      keys += rows[i][c].empty() ? 0 : 1 + std::count(rows[i][c].begin(), rows[i][c].end(), '|');
  }
  // A quarter of the fields misses 5% of its keys.
  EXPECT_NEAR(static_cast<double>(keys) / (500 * 50), 20 * (1 - 0.05 / 4), 0.4);
}

TEST_F(SynthTest, LibffmTokensAreFieldIndexValue) {
  config_.format = "libffm";
  config_.dense = 1;
  config_.fields = 3;
  config_.samples = 100;
  Run();
  const auto rows = ReadTable(config_.output, ' ');
  ASSERT_EQ(rows.size(), 100u);
  for (const auto& row : rows) {
    for (size_t t = 1; t < row.size(); ++t) {
      int field = -1;
      unsigned long long index = 0;
      double value = 0;
      ASSERT_EQ(std::sscanf(row[t].c_str(), "%d:%llu:%lf", &field, &index, &value), 3) << row[t];
      ASSERT_LE(field, 3);
      if (field > 0) {
        EXPECT_EQ(value, 1);
      }
    }
  }
}

TEST_F(SynthTest, RefusesCriteoWithOtherColumns) {
  config_.fields = 25;
  const auto report = Synthesize(config_);
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.status().code(), StatusCode::kInvalidArgument);
  EXPECT_FALSE(std::filesystem::exists(config_.output));
}

TEST_F(SynthTest, UnwritablePlaceIsAnErrorNamingTheFileAndLeavesNothing) {
  config_.output = Path("none/log.tsv");
  const auto report = Synthesize(config_);
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.status().code(), StatusCode::kIo);
  EXPECT_NE(report.status().message().find("none/log.tsv"), std::string::npos);

  config_.output = Path("log.tsv");
  config_.teacher_output = Path("none/teacher");
  EXPECT_FALSE(Synthesize(config_).ok());
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

TEST_F(SynthTest, ShapeOfFieldsIsAsGiven) {
  SynthConfig config;
  config.format = "csv";
  config.dense = 1;
  config.fields = 3;
  config.samples = 2000;
  config.skew = 1;
  config.rows_of_fields = {5, 300, 20000};
  config.keys_of_fields = {1, 7, 3};
  const SynthModel model(config);
  std::vector<std::set<uint32_t>> seen(3);
  SynthSample sample;
  for (uint64_t i = 0; i < 2000; ++i) {
    model.Draw(i, 0, &sample);
    for (size_t f = 0; f < 3; ++f) {
      ASSERT_EQ(sample.offsets[f + 1] - sample.offsets[f], config.keys_of_fields[f]);
      for (int32_t k = sample.offsets[f]; k < sample.offsets[f + 1]; ++k) seen[f].insert(sample.indices[k]);
    }
  }
  // Uniform draws: n (1 - exp(-draws / n)) of n keys are seen.
  EXPECT_EQ(seen[0].size(), 5u);
  EXPECT_EQ(seen[1].size(), 300u);
  EXPECT_NEAR(static_cast<double>(seen[2].size()), 20000 * (1 - std::exp(-6000.0 / 20000)), 150);
  config.keys_of_fields = {1, 7};
  config.output = "-";
  EXPECT_NE(Synthesize(config).status().message().find("keys_of_fields"), std::string::npos);
}

}  // namespace
}  // namespace sluice::data
