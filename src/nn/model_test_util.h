#pragma once

#include <string>
#include <vector>

#include "nn/block_test_util.h"
#include "nn/net.h"
#include "nn/presets.h"

namespace sluice::nn::testing {

inline data::Schema MakeSchema(int fields, int dense, int labels = 1) {
  data::Schema schema;
  for (int f = 0; f < fields; ++f) {
    const std::string name = "c" + std::to_string(f);
    schema.fields.push_back({.name = name, .vocabulary = name, .salt = VocabularySalt(name), .one_hot = f != 1});
  }
  for (int d = 0; d < dense; ++d) schema.dense.push_back("i" + std::to_string(d));
  for (int l = 0; l < labels; ++l) schema.labels.push_back("y" + std::to_string(l));
  return schema;
}

inline ModelConfig SmallConfig(const std::string& preset) {
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

}  // namespace sluice::nn::testing
