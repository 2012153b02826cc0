#include "train/param_labels.h"

#include <algorithm>
#include <optional>

#include <fmt/format.h>

#include "config/leaf_visitor.h"
#include "nn/embedding_op.h"

namespace sluice::train {
namespace {

// Finds a whole number among a block's settings, whatever their type is called.
class IntegerOption final : public config::LeafVisitor {
 public:
  using LeafVisitor::Field;
  explicit IntegerOption(std::string key) : key_(std::move(key)) {}
  int64_t value = 0;

  void Field(const char* key, bool& field, const config::Meta&) override { Take(key, field ? 1 : 0); }
  void Field(const char* key, int64_t& field, const config::Meta&) override { Take(key, field); }
  void Field(const char* key, std::vector<int64_t>& field, const config::Meta&) override {
    Take(key, static_cast<int64_t>(field.size()));
  }

 private:
  void Take(const char* key, int64_t field) {
    if (key_ == key) value = field;
  }
  std::string key_;
};

int64_t Option(const nn::BlockConfig& block, const char* key) {
  if (block.options == nullptr) return 0;
  IntegerOption option(key);
  block.options->Clone()->Visit(option);
  return option.value;
}

}  // namespace

ParamLabels::ParamLabels(const nn::NetSpec& spec, const data::Schema& schema,
                         const std::map<std::string, std::string>& renamed)
    : renamed_(renamed) {
  for (const auto& name : schema.dense) edges_["dense"].push_back("dense." + FieldLabel(name));
  for (const auto& block : spec.blocks) AddBlock(block, schema);
}

std::string ParamLabels::FieldLabel(const std::string& name) const {
  const auto found = renamed_.find(name);
  return found == renamed_.end() ? name : found->second;
}

const std::vector<std::string>* ParamLabels::Find(const std::string& param, size_t dimension) const {
  const auto found = labels_.find({param, dimension});
  return found == labels_.end() ? nullptr : &found->second;
}

void ParamLabels::AddBlock(const nn::BlockConfig& block, const data::Schema& schema) {
  const auto edge = [&](size_t i) -> const Labels* {
    const auto found = i < block.inputs.size() ? edges_.find(block.inputs[i]) : edges_.end();
    return found == edges_.end() ? nullptr : &found->second;
  };
  const Labels* input = edge(0);
  const auto layer = [&](int64_t l, const char* what) { return fmt::format("{}/layer{}/{}", block.name, l, what); };

  if (block.type == "embedding") {
    const auto* options = dynamic_cast<const nn::EmbeddingOptions*>(block.options.get());
    if (options == nullptr) return;
    Labels labels;
    for (const auto& field : schema.fields) {
      const auto& names = options->fields;
      if (!names.empty() && std::find(names.begin(), names.end(), field.name) == names.end()) continue;
      for (int64_t k = 0; k < options->dim; ++k) labels.push_back(fmt::format("{}.{}", FieldLabel(field.name), k));
    }
    edges_[block.name] = std::move(labels);
  } else if (block.type == "concat") {
    Labels labels;
    for (size_t i = 0; i < block.inputs.size(); ++i) {
      if (edge(i) == nullptr) return;
      labels.insert(labels.end(), edge(i)->begin(), edge(i)->end());
    }
    edges_[block.name] = std::move(labels);
  } else if (block.type == "mlp" && input != nullptr) {
    labels_[{layer(0, "weight"), 0}] = *input;
  } else if (block.type == "dense_linear") {
    for (size_t i = 0; i < block.inputs.size(); ++i)
      if (edge(i) != nullptr)
        labels_[{block.name + (block.inputs.size() > 1 ? fmt::format("/weight{}", i) : "/weight"), 0}] = *edge(i);
  } else if (block.type == "cross" && input != nullptr) {
    for (int64_t l = 0; l < Option(block, "layers"); ++l) {
      labels_[{layer(l, "weight"), 0}] = labels_[{layer(l, "weight"), 1}] = *input;
      labels_[{layer(l, "down"), 0}] = labels_[{layer(l, "up"), 1}] = labels_[{layer(l, "bias"), 0}] = *input;
    }
    edges_[block.name] = *input;
  } else if (block.type == "cin" && input != nullptr) {
    const int64_t dim = std::max<int64_t>(1, Option(block, "dim"));
    Labels vectors;
    for (size_t i = 0; i < input->size(); i += static_cast<size_t>(dim)) vectors.push_back((*input)[i]);
    labels_[{layer(0, "weight"), 0}] = vectors;
    for (int64_t l = 0; l < Option(block, "layers"); ++l) labels_[{layer(l, "weight"), 1}] = vectors;
  } else if (block.type == "dot_interaction") {
    // The first input may be hidden units without names; its vectors and columns then are named by their place.
    const int64_t dim = std::max<int64_t>(1, Option(block, "dim"));
    Labels vectors, labels;
    for (size_t i = 0; i < block.inputs.size(); ++i) {
      if (edge(i) == nullptr) {
        if (i > 0) return;
        vectors.push_back("hidden");
        if (Option(block, "keep_first") != 0)
          for (int64_t k = 0; k < dim; ++k) labels.push_back(fmt::format("hidden.{}", k));
        continue;
      }
      if (i == 0 && Option(block, "keep_first") != 0) labels = *edge(i);
      for (size_t j = 0; j < edge(i)->size(); j += static_cast<size_t>(dim)) vectors.push_back((*edge(i))[j]);
    }
    for (size_t v = 1; v < vectors.size(); ++v) {
      for (size_t u = 0; u < v; ++u) {
        // A product has no order; the names of the two vectors get one.
        const auto [a, b] = std::minmax(vectors[v], vectors[u]);
        labels.push_back(a + "*" + b);
      }
    }
    edges_[block.name] = std::move(labels);
  }
}

}  // namespace sluice::train
