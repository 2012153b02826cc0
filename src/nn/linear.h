#pragma once

#include "nn/field_op.h"

namespace sluice::nn {

struct LinearOptions : FieldOpOptions {
  LinearOptions() { table = "wide"; }
  void Visit(config::Visitor& v) override { VisitCommon(v); }
  std::shared_ptr<BlockOptions> Clone() const override { return std::make_shared<LinearOptions>(*this); }
};

}  // namespace sluice::nn
