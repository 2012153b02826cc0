#include "nn/presets.h"

#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include "nn/model_test_util.h"

namespace sluice::nn {
namespace {

using testing::MakeSchema;
using testing::SmallConfig;
using testing::Step;

const std::vector<std::string> kPresets = {"lr", "fm", "wide_deep", "deepfm", "dnn", "dlrm", "dcn", "dcnv2", "xdeepfm"};

std::vector<std::string> Types(const NetSpec& spec) {
  std::vector<std::string> types;
  for (const BlockConfig& block : spec.blocks) types.push_back(block.type);
  return types;
}

TEST(PresetsTest, WholeModelsHaveTheGradientOfTheirLoss) {
  for (const std::string& preset : kPresets) {
    for (const bool separate : {false, true}) {
      ModelConfig config = SmallConfig(preset);
      if (separate && preset != "wide_deep" && preset != "deepfm" && preset != "xdeepfm") continue;
      config.separate_wide = separate;
      config.batch_norm = preset == "dnn" || preset == "dlrm";
      config.cross_rank = preset == "dcnv2" ? 2 : 0;
      SCOPED_TRACE(preset + (separate ? " with a wide table" : ""));
      Step step(config, MakeSchema(3, 2));
      step.Loss();
      const std::vector<double> dense_grad(Net<double>::dense_grad(*step.ws),
                                           Net<double>::dense_grad(*step.ws) + step.params.size());
      std::vector<std::vector<double>> row_grads;
      for (size_t t = 0; t < step.rows.size(); ++t) {
        row_grads.emplace_back(step.rows[t].size(), -99.0);
        const int64_t n = static_cast<int64_t>(step.rows[t].size()) / step.net->tables()[t].dim;
        step.net->RowGradients(step.batch, step.Views(), static_cast<int>(t), {0, n}, step.ws.get(),
                               row_grads[t].data());
      }
      const auto check = [&](double& x, double gradient, const std::string& what) {
        const double kept = x, eps = 1e-5;
        x = kept + eps;
        const double up = step.Loss();
        x = kept - eps;
        const double down = step.Loss();
        x = kept;
        EXPECT_NEAR(gradient, (up - down) / (2 * eps), 1e-7) << what;
      };
      for (const ParamInfo& p : step.net->params().params())
        for (int64_t i = 0; i < p.size; ++i) check(step.params[p.offset + i], dense_grad[p.offset + i], p.name);
      for (size_t t = 0; t < step.rows.size(); ++t)
        for (size_t i = 0; i < step.rows[t].size(); ++i)
          check(step.rows[t][i], row_grads[t][i], fmt::format("table {} element {}", t, i));
    }
  }
}

TEST(PresetsTest, SharedRowsHoldOneWeightAndOneVectorPerKey) {
  const data::Schema schema = MakeSchema(3, 0);
  const auto tables = [&](const std::string& preset, bool separate, int labels = 1) {
    ModelConfig config = SmallConfig(preset);
    config.separate_wide = separate;
    const data::Schema s = MakeSchema(3, 0, labels);
    std::string text;
    auto net = Net<double>::Build(ExpandModel(config, s, Precision::kFp64, false).value(), s).value();
    for (const TableNeed& need : net->tables()) {
      int64_t zeros = 0;
      for (const Range& range : need.zero_columns) zeros += range.size();
      text += fmt::format("{}:{} ({} zero) ", need.name, need.dim, zeros);
    }
    return text;
  };
  EXPECT_EQ(tables("lr", false), "wide:1 (1 zero) ");
  EXPECT_EQ(tables("fm", false), "embedding:4 (1 zero) ");
  EXPECT_EQ(tables("deepfm", false), "embedding:4 (1 zero) ");
  EXPECT_EQ(tables("deepfm", true), "wide:1 (1 zero) embedding:3 (0 zero) ");
  EXPECT_EQ(tables("wide_deep", false), "embedding:4 (1 zero) ");
  EXPECT_EQ(tables("wide_deep", true), "wide:1 (1 zero) embedding:3 (0 zero) ");
  EXPECT_EQ(tables("xdeepfm", false), "embedding:4 (1 zero) ");
  EXPECT_EQ(tables("dlrm", false), "embedding:3 (0 zero) ");
  EXPECT_EQ(tables("deepfm", false, 2), "embedding:11 (2 zero) ");  // 2 weights, 2 x 3 factors, 3 for the deep part
}

TEST(PresetsTest, EveryPresetBuildsOnFieldsAloneAndOnSeveralLabels) {
  for (const std::string& preset : kPresets) {
    for (const auto& [fields, dense, labels] : std::vector<std::array<int, 3>>{{3, 0, 1}, {3, 2, 2}, {1, 1, 1}}) {
      SCOPED_TRACE(fmt::format("{} {} {} {}", preset, fields, dense, labels));
      const data::Schema schema = MakeSchema(fields, dense, labels);
      const auto spec = ExpandModel(SmallConfig(preset), schema, Precision::kFp32, false);
      ASSERT_TRUE(spec.ok()) << spec.status().message();
      const auto net = Net<float>::Build(spec.value(), schema);
      ASSERT_TRUE(net.ok()) << net.status().message();
    }
  }
}

TEST(PresetsTest, NumericFeaturesAloneSufficeWhereTheModelAllowsIt) {
  const data::Schema schema = MakeSchema(0, 3);
  for (const std::string& preset : kPresets) {
    SCOPED_TRACE(preset);
    const auto spec = ExpandModel(SmallConfig(preset), schema, Precision::kFp32, false);
    const bool allowed =
        preset == "lr" || preset == "wide_deep" || preset == "dnn" || preset == "dcn" || preset == "dcnv2";
    ASSERT_EQ(spec.ok(), allowed);
    if (allowed) {
      EXPECT_TRUE(Net<float>::Build(spec.value(), schema).ok());
    } else {
      EXPECT_NE(spec.status().message().find(preset), std::string::npos) << spec.status().message();
    }
  }
}

TEST(PresetsTest, ACustomModelOfThePresetsBlocksIsThePreset) {
  const data::Schema schema = MakeSchema(3, 2);
  for (const std::string& preset : kPresets) {
    SCOPED_TRACE(preset);
    const NetSpec spec = ExpandModel(SmallConfig(preset), schema, Precision::kFp32, true).value();
    const NetSpec again = ExpandModel(ConfigOf(spec), schema, Precision::kFp32, true).value();
    EXPECT_EQ(Types(again), Types(spec));
    EXPECT_EQ(again.outputs, spec.outputs);
    EXPECT_EQ(again.output_bias, spec.output_bias);
    EXPECT_EQ(Net<float>::Build(again, schema).value()->Describe(),
              Net<float>::Build(spec, schema).value()->Describe());
  }
}

TEST(PresetsTest, SettingsThatContradictAreRefused) {
  const data::Schema schema = MakeSchema(3, 2);
  const auto refusal = [&](const ModelConfig& config, const data::Schema& s) {
    const auto spec = ExpandModel(config, s, Precision::kFp32, false);
    return spec.ok() ? std::string("accepted") : spec.status().message();
  };
  ModelConfig config = SmallConfig("lr");
  config.separate_wide = true;
  EXPECT_NE(refusal(config, schema).find("model.separate_wide"), std::string::npos);
  config = SmallConfig("custom");
  EXPECT_NE(refusal(config, schema).find("model.blocks is empty"), std::string::npos);
  config = SmallConfig("dcn");
  config.cross_rank = 2;
  EXPECT_NE(refusal(config, schema).find("model.cross_rank"), std::string::npos);
  config = SmallConfig("lr");
  config.outputs = {"x"};
  EXPECT_NE(refusal(config, schema).find("preset custom"), std::string::npos);
  EXPECT_NE(refusal(SmallConfig("lr"), MakeSchema(0, 0)).find("to learn from"), std::string::npos);
  EXPECT_NE(refusal(SmallConfig("dlrm"), MakeSchema(1, 0)).find("two vectors"), std::string::npos);
  EXPECT_NE(refusal(SmallConfig("lr"), MakeSchema(1, 0, 0)).find("data.label"), std::string::npos);
}

}  // namespace
}  // namespace sluice::nn
