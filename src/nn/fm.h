#pragma once

#include <memory>

#include "nn/block.h"
#include "nn/field_op.h"

namespace sluice::nn {

struct FmOptions : FieldOpOptions {
  int64_t dim = 16;
  bool linear = true;
  std::string share;

  void Visit(config::Visitor& v) override {
    VisitCommon(v);
    v.Field("dim", dim, {.text = "Width of a key's factor.", .min = 1, .max = 4096});
    v.Field("linear", linear, {.text = "Add the linear term, a weight of its own per key."});
    v.Field(
        "share", share,
        {.text = "Operators on one table that name the same share read the same columns as factors or embeddings."});
  }
  std::shared_ptr<BlockOptions> Clone() const override { return std::make_shared<FmOptions>(*this); }
};

// A machine of one label whose factors are what an embedding over the same fields sums (DeepFM): S is the sum of the
// embedding's fields, so that of its k + 1 columns only q is left to send.
// The operator that gives q [n, 1]; null where `op` is not such a machine over `embedding`.
template <class T>
std::unique_ptr<SparseOp<T>> MakeFmTerms(const SparseOp<T>& op, const SparseOp<T>& embedding);
// out [n, 1] = q + 1/2 |S|^2 from the inputs (pooled [n, num_fields * dim], q [n, 1]).
template <class T>
std::unique_ptr<Block<T>> MakeFmOfPooled(int64_t num_fields, int64_t dim);

}  // namespace sluice::nn
