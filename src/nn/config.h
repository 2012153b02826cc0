#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "nn/registry.h"

namespace sluice::nn {

// The model of a run: a preset with its sizes, or a graph of blocks written out (preset `custom`). A preset expands to
// such a graph (nn/presets.h), which the resolved configuration of a run shows.
struct ModelConfig {
  std::string preset = "deepfm";
  int64_t dim = 16;
  std::vector<int64_t> mlp = {400, 400, 400};
  std::vector<int64_t> bottom_mlp = {512, 256};
  std::vector<int64_t> top_mlp = {512, 256};
  std::string activation = "relu";
  double dropout = 0.0;
  bool batch_norm = false;
  int64_t cross_layers = 3;
  int64_t cross_rank = 0;
  std::vector<int64_t> cin_layers = {128, 128};
  std::string pooling = "sum";
  bool separate_wide = false;
  std::string loss = "bce";
  bool output_bias = true;
  std::vector<BlockConfig> blocks;
  std::vector<std::string> outputs;

  template <class V>
  void Visit(V& v) {
    v.Field("preset", preset,
            {.text = "Model: a preset, or custom for the graph in `blocks`.",
             .choices = {"lr", "fm", "wide_deep", "deepfm", "dnn", "dlrm", "dcn", "dcnv2", "xdeepfm", "custom"}});
    v.Field("dim", dim,
            {.text = "Width of an embedding and of a factor of a factorisation machine.", .min = 1, .max = 4096});
    v.Field("mlp", mlp,
            {.text = "Hidden widths of the deep part; a last linear layer to the logit follows.", .min = 1});
    v.Field("bottom_mlp", bottom_mlp,
            {.text = "DLRM: widths of the layers over the numeric features; one of width dim follows where the last "
                     "differs.",
             .min = 1});
    v.Field("top_mlp", top_mlp,
            {.text = "DLRM: hidden widths over the interactions; a last linear layer to the logit follows.", .min = 1});
    v.Field("activation", activation,
            {.text = "Activation of hidden layers.",
             .choices = {"none", "relu", "leaky_relu", "sigmoid", "tanh", "silu", "gelu", "softplus"}});
    v.Field("dropout", dropout, {.text = "Share of hidden units dropped in training.", .min = 0, .max = 0.99});
    v.Field("batch_norm", batch_norm, {.text = "Batch normalisation of hidden layers, before the activation."});
    v.Field("cross_layers", cross_layers, {.text = "DCN and DCNv2: number of cross layers.", .min = 1, .max = 64});
    v.Field("cross_rank", cross_rank,
            {.text = "DCNv2: rank of the cross layers' matrices; 0: full matrices.", .min = 0});
    v.Field("cin_layers", cin_layers, {.text = "xDeepFM: feature maps of the layers of the CIN.", .min = 1});
    v.Field("pooling", pooling,
            {.text = "How the embeddings of a field's keys become one vector.",
             .choices = {"sum", "mean", "sqrtn", "max"}});
    v.Field("separate_wide", separate_wide,
            {.text = "Keep the linear weights in a table of their own, `wide`, so that it can have its own optimizer "
                     "(tables.wide.optimizer). Presets with a linear part only."});
    v.Field("loss", loss, {.text = "Loss: bce for labels in [0, 1], mse for any.", .choices = {"bce", "mse"}});
    v.Field("output_bias", output_bias, {.text = "Add one trained bias per label to the logit."});
    v.List("blocks", blocks, {.text = "Blocks of a custom model, in topological order."});
    v.Field(
        "outputs", outputs,
        {.text = "Custom: edges whose sum is the logit, each as wide as there are labels; the last block where left "
                 "out."});
  }
};

}  // namespace sluice::nn
