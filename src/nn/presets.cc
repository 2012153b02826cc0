#include "nn/presets.h"

#include <algorithm>
#include <functional>
#include <map>

#include "nn/block_builder.h"

namespace sluice::nn {
namespace {

constexpr char kShare[] = "embedding";

// Collects the blocks of one model.
struct Expansion {
  const ModelConfig& config;
  const data::Schema& schema;
  std::vector<BlockConfig> blocks;
  std::vector<std::string> outputs;

  bool has_fields() const { return schema.num_fields() > 0; }
  bool has_dense() const { return schema.num_dense() > 0; }
  std::string wide_table() const { return config.separate_wide ? "wide" : "embedding"; }

  std::string Add(const std::string& name, const std::string& type, std::vector<std::string> inputs,
                  const OptionList& options = {}) {
    blocks.push_back(MakeBlock(name, type, std::move(inputs), options));
    return name;
  }
  void AddOutput(const std::string& name, const std::string& type, std::vector<std::string> inputs,
                 const OptionList& options = {}) {
    outputs.push_back(Add(name, type, std::move(inputs), options));
  }

  // Linear weights of the keys and of the numeric features.
  void AddLinear(const std::string& table) {
    if (has_fields()) AddOutput("linear", "linear", {}, {{"table", table}});
    AddDenseLinear();
  }
  void AddDenseLinear() {
    if (has_dense()) AddOutput("linear_dense", "dense_linear", {"dense"});
  }

  std::string AddEmbedding() {
    return Add("embedding", "embedding", {},
               {{"dim", config.dim}, {"pooling", config.pooling}, {"share", std::string(kShare)}});
  }

  // What deep parts read: embeddings and numeric features side by side.
  std::string AddDeepInput() {
    if (!has_fields()) return "dense";
    const std::string embedding = AddEmbedding();
    return has_dense() ? Add("features", "concat", {embedding, "dense"}) : embedding;
  }

  OptionList MlpOptions(std::vector<int64_t> layers) const {
    return {{"layers", std::move(layers)},
            {"activation", config.activation},
            {"dropout", config.dropout},
            {"batch_norm", config.batch_norm}};
  }
  // Hidden layers, then a linear one to the logit.
  void AddDeep(const std::string& input, std::vector<int64_t> hidden, const std::string& name) {
    hidden.push_back(schema.num_labels());
    OptionList options = MlpOptions(std::move(hidden));
    options.emplace_back("linear_output", true);
    AddOutput(name, "mlp", {input}, options);
  }
};

void Lr(Expansion& e) { e.AddLinear("wide"); }

void Fm(Expansion& e) {
  if (e.has_fields()) e.AddOutput("fm", "fm", {}, {{"table", std::string("embedding")}, {"dim", e.config.dim}});
  e.AddDenseLinear();
}

void WideDeep(Expansion& e) {
  e.AddLinear(e.wide_table());
  e.AddDeep(e.AddDeepInput(), e.config.mlp, "deep");
}

void Dnn(Expansion& e) { e.AddDeep(e.AddDeepInput(), e.config.mlp, "deep"); }

// Guo et al., IJCAI 2017: the factors of the machine are the embeddings of the deep part.
void DeepFm(Expansion& e) {
  if (e.has_fields()) {
    if (e.config.separate_wide) e.AddOutput("linear", "linear", {}, {{"table", std::string("wide")}});
    OptionList options = {{"table", std::string("embedding")},
                          {"dim", e.config.dim},
                          {"linear", !e.config.separate_wide}};
    // With several labels each has factors of its own; the embeddings then are columns apart.
    if (e.schema.num_labels() == 1) options.emplace_back("share", std::string(kShare));
    e.AddOutput("fm", "fm", {}, options);
  }
  e.AddDenseLinear();
  e.AddDeep(e.AddDeepInput(), e.config.mlp, "deep");
}

using Preset = void (*)(Expansion&);

const std::map<std::string, Preset>& Presets() {
  static const std::map<std::string, Preset> presets = {
      {"lr", Lr}, {"fm", Fm}, {"wide_deep", WideDeep}, {"deepfm", DeepFm}, {"dnn", Dnn}};
  return presets;
}

}  // namespace

Result<NetSpec> ExpandModel(const ModelConfig& config, const data::Schema& schema, Precision precision,
                            bool deterministic) {
  NetSpec spec;
  spec.loss = config.loss == "mse" ? LossKind::kMse : LossKind::kBce;
  spec.output_bias = config.output_bias;
  spec.precision = precision;
  spec.deterministic = deterministic;
  if (schema.num_labels() == 0) return InvalidArgument("the data has no label: set data.label");
  if (config.preset == "custom") {
    if (config.blocks.empty()) return InvalidArgument("model.preset is custom, but model.blocks is empty");
    spec.blocks = config.blocks;
    spec.outputs = config.outputs;
    if (spec.outputs.empty()) spec.outputs = {config.blocks.back().name};
    return spec;
  }
  if (!config.blocks.empty() || !config.outputs.empty())
    return InvalidArgument("model.blocks and model.outputs belong to preset custom; the preset is {}", config.preset);
  if (schema.num_fields() == 0 && schema.num_dense() == 0)
    return InvalidArgument("the features give neither sparse fields nor numeric columns to learn from");
  const auto preset = Presets().find(config.preset);
  if (preset == Presets().end()) return InvalidArgument("model.preset: there is no preset `{}`", config.preset);
  Expansion expansion{.config = config, .schema = schema, .blocks = {}, .outputs = {}};
  preset->second(expansion);
  spec.blocks = std::move(expansion.blocks);
  spec.outputs = std::move(expansion.outputs);
  return spec;
}

ModelConfig ConfigOf(const NetSpec& spec) {
  ModelConfig config;
  config.preset = "custom";
  config.loss = spec.loss == LossKind::kMse ? "mse" : "bce";
  config.output_bias = spec.output_bias;
  config.blocks = spec.blocks;
  config.outputs = spec.outputs;
  return config;
}

}  // namespace sluice::nn
