#pragma once

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
    v.Field("share", share,
            {.text = "Operators on one table that name the same share read the same columns as factors or embeddings."});
  }
  std::shared_ptr<BlockOptions> Clone() const override { return std::make_shared<FmOptions>(*this); }
};

}  // namespace sluice::nn
