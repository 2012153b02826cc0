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

  // Hidden layers from `input`; returns the last one's edge, which is `input` where there is none. Batch normalisation
  // stands between product and activation, so that such layers are blocks of their own.
  std::string AddHidden(const std::string& name, std::string input, const std::vector<int64_t>& widths) {
    if (widths.empty()) return input;
    if (!config.batch_norm)
      return Add(name, "mlp", {input},
                 {{"layers", widths}, {"activation", config.activation}, {"dropout", config.dropout}});
    for (size_t l = 0; l < widths.size(); ++l) {
      const std::string layer = fmt::format("{}_{}", name, l);
      Add(layer, "mlp", {input}, {{"layers", std::vector<int64_t>{widths[l]}}, {"linear_output", true}});
      Add(layer + "_norm", "batch_norm", {layer});
      input = Add(layer + "_activation", "activation", {layer + "_norm"}, {{"kind", config.activation}});
      if (config.dropout > 0) input = Add(layer + "_dropout", "dropout", {input}, {{"rate", config.dropout}});
    }
    return input;
  }
  // Hidden layers, then a linear one to the logit.
  void AddDeep(const std::string& name, const std::string& input, std::vector<int64_t> hidden) {
    const int64_t num_labels = schema.num_labels();
    if (config.batch_norm) {
      const std::string last = AddHidden(name, input, hidden);
      AddOutput(name, "mlp", {last}, {{"layers", std::vector<int64_t>{num_labels}}, {"linear_output", true}});
      return;
    }
    hidden.push_back(num_labels);
    AddOutput(name, "mlp", {input},
              {{"layers", std::move(hidden)},
               {"activation", config.activation},
               {"dropout", config.dropout},
               {"linear_output", true}});
  }
};

void Lr(Expansion& e) { e.AddLinear("wide"); }

void Fm(Expansion& e) {
  if (e.has_fields()) e.AddOutput("fm", "fm", {}, {{"table", std::string("embedding")}, {"dim", e.config.dim}});
  e.AddDenseLinear();
}

void WideDeep(Expansion& e) {
  e.AddLinear(e.wide_table());
  e.AddDeep("deep", e.AddDeepInput(), e.config.mlp);
}

void Dnn(Expansion& e) { e.AddDeep("deep", e.AddDeepInput(), e.config.mlp); }

// Guo et al., IJCAI 2017: the factors of the machine are the embeddings of the deep part.
void DeepFm(Expansion& e) {
  if (e.has_fields()) {
    if (e.config.separate_wide) e.AddOutput("linear", "linear", {}, {{"table", std::string("wide")}});
    OptionList options = {
        {"table", std::string("embedding")}, {"dim", e.config.dim}, {"linear", !e.config.separate_wide}};
    // With several labels each has factors of its own; the embeddings then are columns apart.
    if (e.schema.num_labels() == 1) options.emplace_back("share", std::string(kShare));
    e.AddOutput("fm", "fm", {}, options);
  }
  e.AddDenseLinear();
  e.AddDeep("deep", e.AddDeepInput(), e.config.mlp);
}

// Naumov et al. 2019: numeric features through an MLP to the width of an embedding, dot products of all pairs, an MLP.
void Dlrm(Expansion& e) {
  std::vector<std::string> vectors;
  if (e.has_dense()) {
    std::vector<int64_t> layers = e.config.bottom_mlp;
    if (layers.empty() || layers.back() != e.config.dim) layers.push_back(e.config.dim);
    vectors.push_back(e.AddHidden("bottom", "dense", layers));
  }
  vectors.push_back(e.AddEmbedding());
  e.Add("interaction", "dot_interaction", vectors, {{"dim", e.config.dim}, {"keep_first", e.has_dense()}});
  e.AddDeep("top", "interaction", e.config.top_mlp);
}

// Wang et al. 2017: the cross network with weight vectors beside an MLP; its last layer as below.
void Dcn(Expansion& e) {
  const std::string input = e.AddDeepInput();
  e.Add("cross", "vector_cross", {input}, {{"layers", e.config.cross_layers}});
  e.AddDeep("cross_logit", "cross", {});
  e.AddDeep("deep", input, e.config.mlp);
}

// Wang et al. 2021, parallel structure. The last layer over [cross | deep] is a sum of one over each.
void DcnV2(Expansion& e) {
  const std::string input = e.AddDeepInput();
  e.Add("cross", "cross", {input}, {{"layers", e.config.cross_layers}, {"rank", e.config.cross_rank}});
  e.AddDeep("cross_logit", "cross", {});
  e.AddDeep("deep", input, e.config.mlp);
}

// Lian et al. 2018: linear part, compressed interaction network and MLP.
void XDeepFm(Expansion& e) {
  e.AddLinear(e.wide_table());
  const std::string input = e.AddDeepInput();
  e.Add("cin", "cin", {"embedding"}, {{"dim", e.config.dim}, {"layers", e.config.cin_layers}});
  e.AddDeep("cin_logit", "cin", {});
  e.AddDeep("deep", input, e.config.mlp);
}

struct Preset {
  void (*expand)(Expansion&);
  int min_fields = 0;  // sparse fields without which the model makes no sense
};

const std::map<std::string, Preset>& Presets() {
  static const std::map<std::string, Preset> presets = {
      {"lr", {Lr}},        {"fm", {Fm, 1}}, {"wide_deep", {WideDeep}}, {"deepfm", {DeepFm, 1}},  {"dnn", {Dnn}},
      {"dlrm", {Dlrm, 1}}, {"dcn", {Dcn}},  {"dcnv2", {DcnV2}},        {"xdeepfm", {XDeepFm, 1}}};
  return presets;
}

// Settings that belong to some presets only, so that one that has no effect is not passed over in silence.
Status CheckSettings(const ModelConfig& config, const Preset& preset, const data::Schema& schema) {
  if (schema.num_fields() == 0 && schema.num_dense() == 0)
    return InvalidArgument("the features give neither sparse fields nor numeric columns to learn from");
  if (schema.num_fields() < preset.min_fields)
    return InvalidArgument("model.preset {} needs categorical or bucketed features; all of these are numeric",
                           config.preset);
  if (config.preset == "dlrm" && schema.num_fields() + (schema.num_dense() > 0) < 2)
    return InvalidArgument(
        "model.preset dlrm needs at least two vectors: two sparse fields, or one and numeric features");
  const bool has_wide = config.preset == "wide_deep" || config.preset == "deepfm" || config.preset == "xdeepfm";
  if (config.separate_wide && !has_wide)
    return InvalidArgument("model.separate_wide is for wide_deep, deepfm and xdeepfm; the preset is {}", config.preset);
  if (config.preset == "dcn" && config.cross_rank > 0)
    return InvalidArgument("model.cross_rank is for dcnv2: the cross layers of dcn have weight vectors, not matrices");
  return Status::Ok();
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
  const auto preset = Presets().find(config.preset);
  if (preset == Presets().end()) return InvalidArgument("model.preset: there is no preset `{}`", config.preset);
  SLUICE_RETURN_IF_ERROR(CheckSettings(config, preset->second, schema));
  Expansion expansion{.config = config, .schema = schema, .blocks = {}, .outputs = {}};
  preset->second.expand(expansion);
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
