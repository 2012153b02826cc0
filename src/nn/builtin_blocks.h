#pragma once

#include "nn/registry.h"

// One function per block type, defined in the file of the block; builtin_blocks.cc registers them all.
namespace sluice::nn {

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
