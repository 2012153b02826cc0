// The forms in which operators hand their partials to other ranks, against the graph as written on one.
#include "nn/split_graph.h"

#include <algorithm>
#include <cmath>

#include "nn/model_test_util.h"

namespace sluice::nn {
namespace {

using testing::MakeSchema;
using testing::SmallConfig;
using testing::Step;

enum class Split { kByRow, kByField };

// One step on N owners of rows whose partials are added up, on top of a Step, which has batch, rows and parameters.
struct SplitStep {
  Step& base;
  std::unique_ptr<Net<double>> net;
  Net<double>::WorkspacePtr ws;
  int owners;
  Split split;
  std::vector<double> dense_grad;
  std::vector<std::vector<double>> row_grads;
  std::vector<ProjectionBuffers<double>> projected;
  std::vector<std::vector<double>> partials;  // of each owner, the sums

  SplitStep(Step& step, const NetSpec& spec, const data::Schema& schema, PartialForm form, int num_owners, Split how)
      : base(step), owners(num_owners), split(how), projected(static_cast<size_t>(num_owners)) {
    auto built = Net<double>::Build(spec, schema, form);
    EXPECT_TRUE(built.ok()) << built.status().message();
    net = std::move(built).value();
    ws = net->MakeWorkspace();
  }

  int OwnerOf(int field, int32_t row) const { return (split == Split::kByField ? field : row) % owners; }

  double Loss() {
    const int64_t n = base.batch.size;
    const int64_t sums = net->partial_columns(Reduction::kSum), maxima = net->partial_columns(Reduction::kMax);
    std::vector<double> total(static_cast<size_t>(n * sums), 0.0), largest(static_cast<size_t>(n * maxima), -INFINITY);
    std::vector<std::vector<std::vector<int32_t>>> index(static_cast<size_t>(owners), base.index);
    std::vector<std::vector<RowsView<double>>> views;
    partials.clear();
    for (int r = 0; r < owners; ++r) {
      views.push_back(base.Views());
      for (size_t f = 0; f < base.index.size(); ++f) {
        for (int32_t& row : index[r][f])
          if (OwnerOf(static_cast<int>(f), row) != r) row = -1;
        for (auto& view : views.back())
          if (view.index[f] != nullptr) view.index[f] = index[r][f].data();
      }
      std::vector<double> sum(total.size()), max(largest.size());
      net->Partials(base.batch, views.back(), base.pool, {sum.data(), max.data()}, base.params.data(), &projected[r]);
      for (size_t i = 0; i < sum.size(); ++i) total[i] += sum[i];
      for (size_t i = 0; i < max.size(); ++i) largest[i] = std::max(largest[i], max[i]);
      partials.push_back(std::move(sum));
    }
    StepParts<double> parts;
    parts.partials = {total.data(), largest.data()};
    parts.has_partials = true;
    parts.weight = static_cast<double>(n);
    std::vector<double> reported(base.params.size(), NAN);
    parts.gradients_final = [&](std::span<double> all, Range part) {
      for (int64_t i = part.begin; i < part.end; ++i) {
        EXPECT_TRUE(std::isnan(reported[i])) << "gradient " << i << " is final twice";
        reported[i] = all[i];
      }
    };
    auto scratch = base.buffers;
    net->TrainStep(base.batch, {}, base.params.data(), scratch.data(), base.info, base.pool, ws.get(), &parts);
    std::vector<double> sum_grads(total.size()), max_grads(largest.size());
    net->PartialGradients(base.pool, ws.get(), {sum_grads.data(), max_grads.data()});
    dense_grad.assign(Net<double>::dense_grad(*ws), Net<double>::dense_grad(*ws) + base.params.size());
    EXPECT_EQ(reported, dense_grad) << "told when they were not final, or not told";
    row_grads.clear();
    for (size_t t = 0; t < base.rows.size(); ++t) row_grads.emplace_back(base.rows[t].size(), 0.0);
    for (int r = 0; r < owners; ++r) {
      if (net->has_projections()) {
        net->ProjectionGradients(n, {sum_grads.data(), max_grads.data()}, base.params.data(), base.pool, &projected[r]);
        const double* grad = projected[r].weight_grads.data();
        for (const OwnedWeights& weights : net->owned_weights())
          for (int64_t i = weights.params.begin; i < weights.params.end; ++i) dense_grad[i] += *grad++;
      }
      for (size_t t = 0; t < base.rows.size(); ++t) {
        std::vector<double> mine(base.rows[t].size());
        net->RowGradients(base.batch, views[r], static_cast<int>(t), {0, views[r][t].num_rows},
                          {total.data(), largest.data()}, {sum_grads.data(), max_grads.data()}, mine.data(), {},
                          &projected[r]);
        for (size_t i = 0; i < mine.size(); ++i) row_grads[t][i] += mine[i];
      }
    }
    const LossSums loss = Net<double>::loss(*ws);
    return loss.loss / loss.weight;
  }
};

void ExpectNear(const std::vector<double>& a, const std::vector<double>& b, const char* what) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], 1e-13) << what << " element " << i;
}

struct Case {
  std::string name;
  ModelConfig config;
  int64_t pooled = 0, products = 0;  // columns on 3 fields of dim 3 and 2 numeric features
};

std::vector<Case> Cases() {
  std::vector<Case> cases;
  const auto add = [&](const std::string& name, ModelConfig config, int64_t pooled, int64_t products) {
    cases.push_back({name, std::move(config), pooled, products});
  };
  const int64_t fk = 9, h0 = 5;
  add("lr", SmallConfig("lr"), 1, 1);
  add("fm", SmallConfig("fm"), 4, 4);
  add("dnn", SmallConfig("dnn"), fk, h0);
  add("wide_deep", SmallConfig("wide_deep"), fk + 1, h0 + 1);
  add("deepfm", SmallConfig("deepfm"), fk + 1, h0 + 4);
  add("dlrm", SmallConfig("dlrm"), fk, fk);
  add("dcn", SmallConfig("dcn"), fk, 2 + 1 + h0);  // two layers, the logit, the deep part
  add("dcnv2", SmallConfig("dcnv2"), fk, fk);
  add("xdeepfm", SmallConfig("xdeepfm"), fk + 1, fk + 1);
  ModelConfig config = SmallConfig("deepfm");
  config.separate_wide = true;
  add("deepfm with a wide table", config, fk + 2, h0 + 5);
  config = SmallConfig("dnn");
  config.batch_norm = true;
  config.dropout = 0.3;
  add("dnn with batch normalisation and dropout", config, fk, h0);
  config = SmallConfig("dnn");
  config.dropout = 0.3;
  config.activation = "silu";
  config.mlp = {5};
  add("dnn with dropout", config, fk, h0);
  config = SmallConfig("deepfm");
  config.pooling = "mean";  // S is not the sum of means
  add("deepfm of means", config, fk + 4, h0 + 4);
  config = SmallConfig("dnn");
  config.pooling = "max";
  add("dnn of maxima", config, 0, 0);
  return cases;
}

TEST(SplitGraphTest, EveryFormGivesTheGradientsOfTheWholeGraph) {
  for (const Case& c : Cases()) {
    const data::Schema schema = MakeSchema(3, 2);
    const NetSpec spec = ExpandModel(c.config, schema, Precision::kFp64, false).value();
    Step step(c.config, schema);
    const double loss = step.Loss();
    const std::vector<double> dense_grad(Net<double>::dense_grad(*step.ws),
                                         Net<double>::dense_grad(*step.ws) + step.params.size());
    std::vector<std::vector<double>> row_grads;
    for (size_t t = 0; t < step.rows.size(); ++t) {
      row_grads.emplace_back(step.rows[t].size());
      step.net->RowGradients(step.batch, step.Views(), static_cast<int>(t), {0, step.Views()[t].num_rows},
                             step.ws.get(), row_grads[t].data());
    }
    for (const PartialForm form : {PartialForm::kPooled, PartialForm::kProducts}) {
      for (const int owners : {1, 2, 3}) {
        for (const Split split : {Split::kByRow, Split::kByField}) {
          SCOPED_TRACE(fmt::format("{}, {}, {} owners{}", c.name, PartialFormName(form), owners,
                                   split == Split::kByField ? " of whole fields" : ""));
          SplitStep parts(step, spec, schema, form, owners, split);
          EXPECT_EQ(parts.net->partial_columns(Reduction::kSum), form == PartialForm::kPooled ? c.pooled : c.products);
          ASSERT_EQ(parts.net->params().size(), step.net->params().size());
          for (size_t p = 0; p < step.net->params().params().size(); ++p)
            EXPECT_EQ(parts.net->params().params()[p].name, step.net->params().params()[p].name);
          EXPECT_NEAR(parts.Loss(), loss, 1e-13);
          ExpectNear(parts.dense_grad, dense_grad, "dense gradient");
          for (size_t t = 0; t < row_grads.size(); ++t) ExpectNear(parts.row_grads[t], row_grads[t], "row gradient");
        }
      }
    }
  }
}

TEST(SplitGraphTest, SplitStepsHaveTheGradientOfTheirLoss) {
  for (const std::string preset : {"deepfm", "dcn"}) {
    const data::Schema schema = MakeSchema(3, 2);
    const ModelConfig config = SmallConfig(preset);
    Step step(config, schema);
    SplitStep parts(step, ExpandModel(config, schema, Precision::kFp64, false).value(), schema, PartialForm::kProducts,
                    2, Split::kByRow);
    parts.Loss();
    const auto dense_grad = parts.dense_grad;
    const auto row_grads = parts.row_grads;
    const auto check = [&](double& x, double gradient, const std::string& what) {
      const double kept = x, eps = 1e-5;
      x = kept + eps;
      const double up = parts.Loss();
      x = kept - eps;
      const double down = parts.Loss();
      x = kept;
      EXPECT_NEAR(gradient, (up - down) / (2 * eps), 1e-7) << preset << " " << what;
    };
    for (const ParamInfo& p : step.net->params().params())
      for (int64_t i = 0; i < p.size; ++i) check(step.params[p.offset + i], dense_grad[p.offset + i], p.name);
    for (size_t i = 0; i < step.rows[0].size(); ++i) check(step.rows[0][i], row_grads[0][i], fmt::format("row {}", i));
  }
}

// DES, figure 8, in loops: Z_i = X_i W_0 from the rows of owner i; dW_0 = sum of X_i^T dZ.
TEST(SplitGraphTest, AnOwnersPartialIsWhatItPooledTimesTheFirstLayersWeights) {
  const data::Schema schema = MakeSchema(3, 2);
  const ModelConfig config = SmallConfig("dnn");
  Step step(config, schema);
  for (const Split split : {Split::kByRow, Split::kByField}) {
    SplitStep parts(step, ExpandModel(config, schema, Precision::kFp64, false).value(), schema, PartialForm::kProducts,
                    2, split);
    parts.Loss();
    const ParamInfo& weight = *step.net->params().Find("deep/layer0/weight");
    const int64_t k = 3, h0 = 5;
    ASSERT_EQ(weight.shape, (std::vector<int64_t>{3 * k + 2, h0}));
    for (int r = 0; r < 2; ++r) {
      for (int64_t i = 0; i < Step::kSize; ++i) {
        for (int64_t h = 0; h < h0; ++h) {
          double z = 0;
          for (int f = 0; f < 3; ++f) {
            const data::FieldColumn& column = step.batch.fields[f];
            for (int64_t j = column.begin(i); j < column.end(i); ++j) {
              const int32_t row = step.index[f][j];
              if (parts.OwnerOf(f, row) != r) continue;
              for (int64_t d = 0; d < k; ++d)
                z += step.rows[0][row * k + d] * step.params[weight.offset + (f * k + d) * h0 + h];
            }
          }
          ASSERT_NEAR(parts.partials[r][i * h0 + h], z, 1e-13) << "owner " << r << " sample " << i;
        }
      }
      // Where fields live whole, the gradient of a field's weights is zero at everybody else.
      const double* grad = parts.projected[r].weight_grads.data();
      for (const OwnedWeights& weights : parts.net->owned_weights()) {
        const bool any = std::any_of(grad, grad + weights.params.size(), [](double g) { return g != 0; });
        grad += weights.params.size();
        if (split == Split::kByField) {
          EXPECT_EQ(any, weights.field % 2 == r) << "field " << weights.field;
        }
      }
    }
  }
}

TEST(SplitGraphTest, OwnedWeightsAreTheRowsOfTheirFields) {
  const data::Schema schema = MakeSchema(3, 2);
  const NetSpec spec = ExpandModel(SmallConfig("dcn"), schema, Precision::kFp64, false).value();
  const auto net = Net<double>::Build(spec, schema, PartialForm::kProducts).value();
  const auto costs = net->form_costs();
  // Cross weights [9, 2], logit [9, 1] and first layer [9, 5] of the deep part; the first two are read by all.
  EXPECT_EQ(costs.owned_weights, 9 * (2 + 1 + 5));
  EXPECT_EQ(costs.owned_weights_read_elsewhere, 9 * (2 + 1));
  const int64_t deep = net->params().Find("deep/layer0/weight")->offset;
  int found = 0;
  for (const OwnedWeights& weights : net->owned_weights()) {
    if (weights.params.begin < deep) continue;
    EXPECT_EQ(weights.params.begin, deep + weights.field * 3 * 5);
    EXPECT_EQ(weights.params.size(), 3 * 5);
    EXPECT_FALSE(weights.read_elsewhere);
    ++found;
  }
  EXPECT_EQ(found, 3);
  EXPECT_EQ(Net<double>::Build(spec, schema).value()->form_costs().owned_weights, 0);
}

TEST(SplitGraphTest, SaysWhatBreaksTheForm) {
  const data::Schema schema = MakeSchema(3, 2);
  const auto notes = [&](const NetSpec& spec) {
    std::string all;
    for (const std::string& note : Net<double>::Build(spec, schema, PartialForm::kProducts).value()->form_costs().notes)
      all += note + "; ";
    return all;
  };
  const auto preset = [&](const std::string& name) {
    return ExpandModel(SmallConfig(name), schema, Precision::kFp64, false).value();
  };
  EXPECT_NE(notes(preset("dcnv2")).find("block 'cross' (cross) reads it"), std::string::npos) << notes(preset("dcnv2"));
  EXPECT_NE(notes(preset("xdeepfm")).find("block 'cin' (cin) reads it"), std::string::npos);
  EXPECT_NE(notes(preset("dlrm")).find("(dot_interaction) reads it"), std::string::npos);
  EXPECT_NE(notes(preset("dnn")).find("5 columns in place of 9"), std::string::npos) << notes(preset("dnn"));
  // A normalisation, or an activation, between embedding and first layer.
  for (const std::string type : {"batch_norm", "layer_norm", "activation"}) {
    NetSpec spec = preset("dnn");
    for (BlockConfig& block : spec.blocks)
      if (block.name == "features") block.inputs[0] = "between";
    spec.blocks.push_back(MakeBlock("between", type, {"embedding"}));
    EXPECT_NE(notes(spec).find(fmt::format("block 'between' ({}) reads it", type)), std::string::npos) << notes(spec);
  }
}

TEST(SplitGraphTest, DeterministicModeTakesTheGraphAsWritten) {
  const data::Schema schema = MakeSchema(3, 2);
  const NetSpec spec = ExpandModel(SmallConfig("dnn"), schema, Precision::kFp64, true).value();
  EXPECT_TRUE(Net<double>::Build(spec, schema).ok());
  for (const PartialForm form : {PartialForm::kPooled, PartialForm::kProducts}) {
    const auto refused = Net<double>::Build(spec, schema, form);
    EXPECT_EQ(refused.status().code(), StatusCode::kInvalidArgument);
    EXPECT_NE(refused.status().message().find("deterministic"), std::string::npos);
  }
}

}  // namespace
}  // namespace sluice::nn
