#include "nn/presets.h"

#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include "nn/block_test_util.h"

namespace sluice::nn {
namespace {

using testing::Value;

const std::vector<std::string> kPresets = {"lr", "fm", "wide_deep", "deepfm", "dnn", "dlrm", "dcnv2", "xdeepfm"};

data::Schema MakeSchema(int fields, int dense, int labels = 1) {
  data::Schema schema;
  for (int f = 0; f < fields; ++f) {
    const std::string name = "c" + std::to_string(f);
    schema.fields.push_back({.name = name, .vocabulary = name, .salt = VocabularySalt(name), .one_hot = f != 1});
  }
  for (int d = 0; d < dense; ++d) schema.dense.push_back("i" + std::to_string(d));
  for (int l = 0; l < labels; ++l) schema.labels.push_back("y" + std::to_string(l));
  return schema;
}

ModelConfig SmallConfig(const std::string& preset) {
  ModelConfig config;
  config.preset = preset;
  config.dim = 3;
  config.mlp = {5, 4};
  config.bottom_mlp = {4};
  config.top_mlp = {5};
  config.cin_layers = {3, 2};
  config.cross_layers = 2;
  config.activation = "tanh";  // smooth, for finite differences
  return config;
}

std::vector<std::string> Types(const NetSpec& spec) {
  std::vector<std::string> types;
  for (const BlockConfig& block : spec.blocks) types.push_back(block.type);
  return types;
}

// One step of a whole net: loss and the gradients of dense parameters and rows.
struct Step {
  std::unique_ptr<Net<double>> net;
  Net<double>::WorkspacePtr ws;
  data::Batch batch;
  std::vector<std::vector<double>> rows;
  std::vector<std::vector<int32_t>> index;
  std::vector<double> params, buffers;
  StepInfo info;
  ThreadPool pool{1};
  static constexpr int64_t kSize = 12, kRowsPerField = 3;

  Step(const ModelConfig& config, const data::Schema& schema) {
    const NetSpec spec = ExpandModel(config, schema, Precision::kFp64, false).value();
    auto built = Net<double>::Build(spec, schema);
    EXPECT_TRUE(built.ok()) << built.status().message();
    net = std::move(built).value();
    ws = net->MakeWorkspace();
    params.resize(net->params().size());
    for (const ParamInfo& p : net->params().params())
      for (int64_t i = 0; i < p.size; ++i) params[p.offset + i] = 0.5 * Value(4, p.offset + i);
    buffers.resize(net->buffers().size());
    net->buffers().Initialise<double>(1, buffers.data());
    const CounterRng rng(23, 1);
    uint64_t n = 0;
    batch.size = kSize;
    for (int64_t i = 0; i < kSize * schema.num_dense(); ++i) batch.dense.push_back(static_cast<float>(Value(8, i)));
    for (int64_t i = 0; i < kSize * schema.num_labels(); ++i) batch.labels.push_back(static_cast<float>(i % 3 == 0));
    for (int f = 0; f < schema.num_fields(); ++f) {
      data::FieldColumn column;
      index.emplace_back();
      for (int64_t i = 0; i < kSize; ++i) {
        if (!schema.fields[f].one_hot) column.offsets.push_back(static_cast<int32_t>(column.keys.size()));
        const int64_t keys = schema.fields[f].one_hot ? 1 : static_cast<int64_t>(rng.Below(n++, 4));
        for (int64_t j = 0; j < keys; ++j) {
          index.back().push_back(static_cast<int32_t>(f * kRowsPerField + rng.Below(n++, kRowsPerField)));
          column.keys.push_back(static_cast<Key>(index.back().back()));
        }
      }
      if (!schema.fields[f].one_hot) column.offsets.push_back(static_cast<int32_t>(column.keys.size()));
      batch.fields.push_back(std::move(column));
    }
    for (const TableNeed& need : net->tables()) {
      rows.emplace_back(schema.num_fields() * kRowsPerField * need.dim);
      for (size_t i = 0; i < rows.back().size(); ++i) rows.back()[i] = Value(90 + rows.size(), static_cast<int64_t>(i));
    }
    info.batch_size = kSize;
    info.training = true;
    info.seed = 3;
  }

  std::vector<RowsView<double>> Views() const {
    std::vector<RowsView<double>> views;
    for (size_t t = 0; t < rows.size(); ++t) {
      const int64_t dim = net->tables()[t].dim;
      RowsView<double> view{.rows = rows[t].data(),
                            .num_rows = static_cast<int64_t>(rows[t].size()) / dim,
                            .dim = dim,
                            .index = std::vector<const int32_t*>(index.size(), nullptr),
                            .row_range = {}};
      for (const int f : net->tables()[t].fields) view.index[f] = index[f].data();
      views.push_back(view);
    }
    return views;
  }

  double Loss() {
    auto scratch = buffers;
    net->TrainStep(batch, Views(), params.data(), scratch.data(), info, pool, ws.get());
    const LossSums sums = Net<double>::loss(*ws);
    return sums.loss / sums.weight;
  }
};

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
    const bool allowed = preset == "lr" || preset == "wide_deep" || preset == "dnn" || preset == "dcnv2";
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
  config = SmallConfig("lr");
  config.outputs = {"x"};
  EXPECT_NE(refusal(config, schema).find("preset custom"), std::string::npos);
  EXPECT_NE(refusal(SmallConfig("lr"), MakeSchema(0, 0)).find("to learn from"), std::string::npos);
  EXPECT_NE(refusal(SmallConfig("dlrm"), MakeSchema(1, 0)).find("two vectors"), std::string::npos);
  EXPECT_NE(refusal(SmallConfig("lr"), MakeSchema(1, 0, 0)).find("data.label"), std::string::npos);
}

}  // namespace
}  // namespace sluice::nn
