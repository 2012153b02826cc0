#pragma once

#include <optional>
#include <utility>

#include "nn/field_op.h"

namespace sluice::nn {

struct FieldPooling {
  std::string pooling = "sum";

  template <class V>
  void Visit(V& v) {
    v.Field("pooling", pooling,
            {.text = "How this field's keys become one vector.", .choices = {"sum", "mean", "sqrtn", "max"}});
  }
};

struct EmbeddingOptions : FieldOpOptions {
  int64_t dim = 16;
  std::string pooling = "sum";
  std::vector<std::pair<std::string, FieldPooling>> per_field;
  std::string share;

  void Visit(config::Visitor& v) override {
    VisitCommon(v);
    v.Field("dim", dim, {.text = "Width of a key's embedding.", .min = 1, .max = 4096});
    v.Field(
        "pooling", pooling,
        {.text = "How the embeddings of a field's keys become one vector: with key weights w, sum of w v; mean: "
                 "divided by the sum of w; sqrtn: by the root of the sum of w^2; max: largest w v, column by column.",
         .choices = {"sum", "mean", "sqrtn", "max"}});
    v.Map("per_field", per_field, {.text = "Poolings of single fields. Max does not mix with others in one block."});
    v.Field(
        "share", share,
        {.text = "Operators on one table that name the same share read the same columns as factors or embeddings."});
  }
  std::shared_ptr<BlockOptions> Clone() const override { return std::make_shared<EmbeddingOptions>(*this); }
};

// Where an embedding that pools by sums (not max) reads its table.
struct SummedColumns {
  int64_t column = 0, dim = 0;
  bool plain = false;  // every field's pooling is sum: coefficients are the keys' weights
};
// Nothing for other operators.
template <class T>
std::optional<SummedColumns> SummedColumnsOf(const SparseOp<T>& op);

}  // namespace sluice::nn
