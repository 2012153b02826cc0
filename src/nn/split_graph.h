#pragma once

#include "nn/net_graph.h"
#include "nn/partial_form.h"

namespace sluice::nn {

// Turns a graph as written into a form whose partials are narrower; parameters, buffers and tables stay as they are.
// Source: DES (Rong et al., SIGIR 2020), sections on equivalent substitution; docs/algorithms/des.md, operators.
//
// kProducts    An embedding (sum, mean, sqrtn) that, by way of concatenations at most, meets nothing but
//              - first layers of mlp blocks: Z = X W_0 before bias and activation is a sum over the rows present, so
//                Z's columns are the partial, and the layer becomes a block of its own that adds bias, numeric features
//                and other inputs once, after the reduction;
//              - vector_cross blocks that one mlp reads: L numbers and the mlp's first layer (nn/vector_cross.h);
//              has those products as its partial. Anything else that reads it (a product of fields, an activation, a
//              normalisation) breaks the form: the embedding stays pooled, and a note says what reads it.
// kPooled,     A factorisation machine whose factors are a pooled embedding's columns reads S from them (nn/fm.h).
// kProducts
template <class T>
void SplitGraph(PartialForm form, Graph<T>* graph);

}  // namespace sluice::nn
