#pragma once

#include "base/status.h"
#include "data/schema.h"
#include "nn/config.h"
#include "nn/net.h"

namespace sluice::nn {

// The explicit graph of a model: what a preset stands for on data of this schema, or the blocks of a custom model.
// Semantics    edges without inputs are left out: a schema without numeric features gives no part that reads them, one
//              without sparse fields no operator that reads rows. The linear and pairwise terms share a table with the
//              embeddings where the model allows it (one lookup, one row per key).
// Errors       kInvalidArgument: a setting that does not fit the schema, naming the setting.
Result<NetSpec> ExpandModel(const ModelConfig& config, const data::Schema& schema, Precision precision,
                            bool deterministic);

// The same graph as the settings of a custom model: ExpandModel of it gives this spec again.
ModelConfig ConfigOf(const NetSpec& spec);

}  // namespace sluice::nn
