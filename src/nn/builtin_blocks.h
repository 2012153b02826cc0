#pragma once

#include "nn/registry.h"

namespace sluice::nn {

// The width of the input of a block of type `type`. Errors: kInvalidArgument naming the block where it has not one
// input.
Result<int64_t> OnlyInputWidth(const BuildContext& context, const char* type);

// One function per block type, defined in the file of the block; builtin_blocks.cc registers them all.
// Weights-rich operators.
BlockType LinearType();
BlockType FmType();
BlockType EmbeddingType();

// Dense blocks.
BlockType MlpType();
BlockType DenseLinearType();
BlockType ConcatType();
BlockType SumType();
BlockType ActivationType();
BlockType DropoutType();
BlockType BatchNormType();
BlockType LayerNormType();
BlockType DotInteractionType();
BlockType BiInteractionType();
BlockType CrossType();
BlockType VectorCrossType();
BlockType CinType();

}  // namespace sluice::nn
