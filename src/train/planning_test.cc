// What the planner says of a run beside what the run's ledgers count; and what `sluice plan` prints.
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "train/ranks_test_util.h"

namespace sluice::train {
namespace {

class PlanningTest : public RanksTest {
 protected:
  // Three keys a field on average, 50 whole batches.
  static RunConfig Model(const std::string& preset) {
    RunConfig config = Tiny(preset, 3000, 3);
    config.precision = "fp32";
    config.checkpoint.at_end = false;
    return config;
  }

  static nlohmann::json Json(const std::string& path) {
    const auto text = ReadWholeFile(path);
    EXPECT_TRUE(text.ok()) << text.status().message();
    return nlohmann::json::parse(text.ok() ? text.value() : "{}");
  }

  // The plan's group of the one field.
  static nlohmann::json Group(const nlohmann::json& plan, const std::string& field) {
    for (const auto& group : plan.at("groups"))
      if (group.at("fields") == nlohmann::json::array({field})) return group;
    ADD_FAILURE() << "no group of " << field << " in " << plan.dump(1);
    return {};
  }

  // Each kind and the sum within 5% of what was sent. The report of the run.
  TrainReport ExpectPredicted(const RunConfig& config, int ranks, const std::string& what) {
    const TrainReport report = MustTrainOn(ranks, config, NewRun());
    double predicted = 0, measured = 0;
    EXPECT_EQ(report.predicted_bytes_per_sample.size(), 6u) << what;
    for (const auto& [kind, bytes] : report.predicted_bytes_per_sample) {
      const double sent = report.bytes_per_sample.at(kind);
      EXPECT_NEAR(bytes, sent, 0.05 * sent + 1e-9) << what << ": " << kind;
      predicted += bytes;
      measured += sent;
    }
    EXPECT_GT(measured, 0) << what;
    EXPECT_NEAR(predicted, measured, 0.05 * measured) << what;
    return report;
  }
};

TEST_F(PlanningTest, PredictedBytesAreThoseSent) {
  for (const std::string preset : {"lr", "fm", "deepfm", "dlrm"}) {
    for (const std::string placement : {"des", "des_rs", "rows_a2a", "auto"}) {
      RunConfig config = Model(preset);
      config.strategy.placement = placement;
      for (const int ranks : {2, 3})
        ExpectPredicted(config, ranks, fmt::format("{} {} on {}", preset, placement, ranks));
    }
  }
}

TEST_F(PlanningTest, PredictsStatisticsAndFormatsOfMessages) {
  for (const std::string placement : {"des", "des_rs", "rows_a2a"}) {
    RunConfig config = Model("deepfm");
    config.strategy.placement = placement;
    config.model.batch_norm = true;
    config.train.clip_norm = 0.5;
    config.train.progressive.window = 600;
    config.strategy.wire.partials = "bf16";
    config.strategy.wire.dense_gradients = "bf16";
    ExpectPredicted(config, 3, placement);
  }
}

TEST_F(PlanningTest, PredictsMixesFormsOfInputAndPooling) {
  for (const std::string preset : {"wide_deep", "deepfm", "dlrm"}) {
    for (const std::string pooling : {"sum", "mean", "max"}) {
      RunConfig config = Model(preset);
      config.model.pooling = pooling;
      config.strategy.placement = "des_rs";
      config.strategy.fields = {{"C1", {.placement = "field_a2a"}}, {"C2", {.placement = "rows_a2a"}}};
      for (const std::string input : {"replicated", "sharded"}) {
        config.strategy.input = input;
        config.strategy.wire.rows = input == "sharded" ? "bf16" : "fp32";
        ExpectPredicted(config, 3, fmt::format("{} {} {}", preset, pooling, input));
      }
    }
  }
}

TEST_F(PlanningTest, PredictsFirstLayersAsProducts) {
  for (const std::string preset : {"dnn", "wide_deep", "dcn"}) {
    RunConfig config = Model(preset);
    config.train.clip_norm = 0.5;
    for (const auto& [form, placement] : {std::pair{"auto", "auto"},
                                          {"pooled", "des_rs"},
                                          {"by_hash", "auto"},
                                          {"by_hash", "des"},
                                          {"by_rows", "auto"},
                                          {"by_rows", "des"}}) {
      config.strategy.first_layer = form;
      config.strategy.placement = placement;
      ExpectPredicted(config, 3, fmt::format("{} {} {}", preset, form, placement));
    }
  }
}

TEST_F(PlanningTest, PredictsDeterministicMode) {
  for (const std::string placement : {"des", "des_rs", "rows_a2a", "field_a2a", "auto"}) {
    RunConfig config = Model("deepfm");
    config.deterministic = true;
    config.train.clip_norm = 0.5;
    config.strategy.placement = placement;
    ExpectPredicted(config, 3, placement);
  }
}

// What a table keeps by shard for all its vocabularies keeps them from having homes.
TEST_F(PlanningTest, AutoChoosesOnlyWhatRuns) {
  RunConfig config = Model("deepfm");
  embedding::TableConfig table;
  table.expiry.max_rows = 2048;
  config.tables = {{"default", table}};
  ExpectPredicted(config, 3, "bounded tables");
}

TEST_F(PlanningTest, AutoSendsNoMoreThanAnyPlacementOfTheWholeModel) {
  for (const std::string preset : {"lr", "deepfm"}) {
    RunConfig config = Model(preset);
    const double automatic = MustTrainOn(4, config, NewRun()).bytes_per_sample.at("sent");
    for (const std::string placement : {"des_rs", "rows_a2a", "field_a2a"}) {
      config.strategy.placement = placement;
      EXPECT_LE(automatic, 1.02 * MustTrainOn(4, config, NewRun()).bytes_per_sample.at("sent"))
          << preset << " " << placement;
    }
  }
}

TEST_F(PlanningTest, MeasuresTheLinkBetweenTheRanks) {
  RunConfig config = Model("deepfm");
  config.strategy.planner.link = "measure";
  ExpectPredicted(config, 3, "measured link");
}

TEST_F(PlanningTest, ReportSaysWhatWasPredicted) {
  const std::string run = NewRun();
  const TrainReport report = MustTrainOn(2, Model("lr"), run);
  EXPECT_NE(report.ToText().find("bytes per sample predicted"), std::string::npos) << report.ToText();
  const auto metrics = Json(run + "/metrics.json");
  EXPECT_NEAR(metrics.at("predicted_bytes_per_sample").at("partials").get<double>(),
              metrics.at("bytes_per_sample").at("partials").get<double>(), 0.1);
}

TEST_F(PlanningTest, PlanIsTextAndJson) {
  PlanRequest request;
  request.ranks = 8;
  request.link = "10Gbit";
  request.json = NewRun() + ".json";
  auto text = PlanRun(Model("deepfm"), request);
  ASSERT_TRUE(text.ok()) << text.status().message();
  for (const char* part : {"rows_a2a", "field_a2a", "des_rs", "choice", "best mix without DES", "ms/step", "MiB/rank"})
    EXPECT_NE(text->find(part), std::string::npos) << part << "\n" << *text;
  const auto json = Json(request.json);
  EXPECT_EQ(json.at("ranks"), 8);
  EXPECT_EQ(json.at("chosen_by"), "time");
  EXPECT_DOUBLE_EQ(json.at("machine").at("bandwidth_bytes_per_s").get<double>(), 1.25e9);
  EXPECT_EQ(json.at("plan").at("memory_bytes").size(), 8u);
  for (const char* field : {"C1", "C2", "C3", "C4"}) {
    const auto group = Group(json, field);
    EXPECT_NEAR(group.at("keys_per_sample").get<double>(), 3, 0.5);
    EXPECT_FALSE(group.at("reason").get<std::string>().empty());
    EXPECT_GT(group.at("alternatives").at("des_rs").at("step_s").get<double>(), 0);
  }
}

TEST_F(PlanningTest, PlanReadsNoMoreThanItsSample) {
  PlanRequest request;
  request.sample = "60";
  request.json = NewRun() + ".json";
  ASSERT_TRUE(PlanRun(Model("lr"), request).ok());
  const auto few = Json(request.json);
  request.sample = TinyData(3000, 1);  // another file: one key a field
  ASSERT_TRUE(PlanRun(Model("lr"), request).ok());
  const auto other = Json(request.json);
  EXPECT_EQ(few.at("chosen_by"), "bytes");
  EXPECT_LE(Group(few, "C1").at("rows").get<double>(), 3000);
  EXPECT_NEAR(Group(other, "C1").at("keys_per_sample").get<double>(), 1, 0.2);
}

// A row of this model takes between 60 and 120 bytes in its two tables.
TEST_F(PlanningTest, WhatDoesNotFitARankIsDividedAndWhatFitsNoneIsRefused) {
  RunConfig config = Model("deepfm");
  config.strategy.planner.rows = {{"C1", {1000000}}};
  PlanRequest request;
  request.ranks = 4;
  request.json = NewRun() + ".json";
  request.memory = "50MB";
  auto text = PlanRun(config, request);
  ASSERT_TRUE(text.ok()) << text.status().message();
  EXPECT_NE(text->find("do not fit one rank of 47.7 MiB"), std::string::npos) << *text;
  const auto json = Json(request.json);
  EXPECT_EQ(Group(json, "C1").at("rows"), 1000000);
  EXPECT_FALSE(Group(json, "C1").at("alternatives").at("field_a2a").at("possible").get<bool>());
  EXPECT_EQ(Group(json, "C1").at("home"), -1);
  for (const auto& bytes : json.at("plan").at("memory_bytes")) EXPECT_LE(bytes.get<double>(), 50e6);
  request.memory = "";
  config.strategy.planner.largest_home = "10MB";
  ASSERT_TRUE(PlanRun(config, request).ok());
  const auto limited = Json(request.json);
  EXPECT_FALSE(Group(limited, "C1").at("alternatives").at("field_a2a").at("possible").get<bool>());
  EXPECT_TRUE(Group(limited, "C2").at("alternatives").at("field_a2a").at("possible").get<bool>());
  request.memory = "5MB";
  const Status refused = PlanRun(config, request).status();
  EXPECT_EQ(refused.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(refused.message().find("memory_per_rank"), std::string::npos) << refused.message();
}

TEST_F(PlanningTest, BadRequestsNameTheirOption) {
  const auto message = [&](const PlanRequest& request, const RunConfig& config) {
    const Status status = PlanRun(config, request).status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  const RunConfig config = Model("lr");
  EXPECT_NE(message({.link = "fast"}, config).find("--link"), std::string::npos);
  EXPECT_NE(message({.link = "1Gbit", .latency = "soon"}, config).find("--latency"), std::string::npos);
  EXPECT_NE(message({.memory = "much"}, config).find("--memory"), std::string::npos);
  EXPECT_NE(message({.sample = "0"}, config).find("--sample"), std::string::npos);
  RunConfig measured = config;
  measured.strategy.planner.link = "measure";
  EXPECT_NE(message({}, measured).find("--link"), std::string::npos);
  RunConfig rows = config;
  rows.strategy.planner.rows = {{"C99", {5}}};
  EXPECT_NE(message({}, rows).find("strategy.planner.rows.C99"), std::string::npos);
}

}  // namespace
}  // namespace sluice::train
