#include "nn/field_op.h"

#include <algorithm>

namespace sluice::nn {

void FieldOpOptions::VisitCommon(config::Visitor& v) {
  v.Field("table", table, {.text = "Table whose rows are read."});
  v.Field("fields", fields, {.text = "Sparse fields that are read; all of them where left out."});
}

Result<std::vector<int>> ResolveFields(const std::string& block, const std::vector<std::string>& names,
                                       const data::Schema& schema) {
  std::vector<int> fields;
  if (schema.fields.empty())
    return InvalidArgument(
        "model block `{}` reads sparse fields, but the features have none: make some of them "
        "categorical or bucketed, or use a model of numeric features",
        block);
  if (names.empty())
    for (int f = 0; f < schema.num_fields(); ++f) fields.push_back(f);
  for (const std::string& name : names) {
    const auto found = std::find_if(schema.fields.begin(), schema.fields.end(),
                                    [&](const data::SparseField& field) { return field.name == name; });
    if (found == schema.fields.end()) {
      std::string known;
      for (const auto& field : schema.fields) known += (known.empty() ? "" : ", ") + field.name;
      return InvalidArgument("model block `{}`: there is no sparse field `{}`; the features give {}", block, name,
                             known);
    }
    fields.push_back(static_cast<int>(found - schema.fields.begin()));
  }
  std::sort(fields.begin(), fields.end());
  const auto twice = std::adjacent_find(fields.begin(), fields.end());
  if (twice != fields.end())
    return InvalidArgument("model block `{}`: field `{}` is named twice", block, schema.fields[*twice].name);
  return fields;
}

Pooling ParsePooling(const std::string& name) {
  if (name == "mean") return Pooling::kMean;
  if (name == "sqrtn") return Pooling::kSqrtn;
  if (name == "max") return Pooling::kMax;
  SLUICE_CHECK(name == "sum", "pooling {}", name);
  return Pooling::kSum;
}

}  // namespace sluice::nn
