#include "nn/builtin_blocks.h"

#include "base/check.h"

namespace sluice::nn {

const std::map<std::string, BlockType>& BlockTypes() {
  static const std::map<std::string, BlockType> types = [] {
    std::map<std::string, BlockType> all;
    for (auto make :
         {LinearType, FmType, EmbeddingType, MlpType, DenseLinearType, ConcatType, SumType, ActivationType, DropoutType,
          BatchNormType, LayerNormType, DotInteractionType, BiInteractionType, CrossType, VectorCrossType, CinType}) {
      BlockType type = make();
      const std::string name = type.type;
      SLUICE_CHECK(all.emplace(name, std::move(type)).second, "block type {} is registered twice", name);
    }
    return all;
  }();
  return types;
}

const BlockType* FindBlockType(const std::string& type) {
  const auto found = BlockTypes().find(type);
  return found == BlockTypes().end() ? nullptr : &found->second;
}

std::vector<std::string> BlockTypeNames() {
  std::vector<std::string> names;
  for (const auto& [name, type] : BlockTypes()) names.push_back(name);
  return names;
}

Result<int64_t> OnlyInputWidth(const BuildContext& context, const char* type) {
  if (context.input_widths.size() != 1)
    return InvalidArgument("model block `{}` ({}) takes one input, not {}", context.name, type,
                           context.input_widths.size());
  return context.input_widths[0];
}

void BlockConfig::VisitOptions(config::Visitor& v) {
  const BlockType* found = FindBlockType(type);
  if (found == nullptr) return;  // the visitor has already named the types that there are
  if (options == nullptr) options = found->make_options();
  options->Visit(v);
}

}  // namespace sluice::nn
