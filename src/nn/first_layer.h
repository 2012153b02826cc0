#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "nn/activation.h"
#include "nn/block.h"

namespace sluice::nn {

// A fully connected layer, y = dropout(activation(x W + b)), by its parameters' places in the flat buffer.
struct FirstLayer {
  int64_t inputs = 0, outputs = 0;
  int64_t weight = 0, bias = 0;  // W [inputs, outputs], b [outputs] behind it: the block's first parameters
  Activation activation = Activation::kNone;
  double dropout = 0;
  uint64_t dropout_stream = 0;
};

// A block of one input that it reads in one product with weights: what lets that product be computed in parts, by the
// ranks that have the factors (nn/split_graph.h). Such a block also derives from this.
template <class T>
class HasFirstLayer {
 public:
  virtual ~HasFirstLayer() = default;
  virtual FirstLayer first_layer() const = 0;
  // What follows the layer, over the same parameters, with its output as input; null where nothing does.
  virtual std::unique_ptr<Block<T>> WithoutFirstLayer() const = 0;
};

// One stretch of a layer's input.
struct LayerPart {
  bool is_product = false;     // given as x_p W_p [n, outputs]; else as the columns x_p [n, width]
  int64_t row = 0, width = 0;  // rows of W
};

// The layer as a block of its own, y = dropout(activation(sum of products + sum of x_p W_p + b)), one input per part.
// Gradients    of a product: dz; of columns: dz W_p^T. W's rows of a product get none here: who computed it adds them.
// Precision    products of the columns are in T.
template <class T>
std::unique_ptr<Block<T>> MakeFirstLayer(const FirstLayer& layer, std::vector<LayerPart> parts);

}  // namespace sluice::nn
