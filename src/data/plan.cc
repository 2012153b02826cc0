#include "data/plan.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "data/batch.h"

namespace sluice::data {
namespace {

constexpr int kTableSize = 4096;

float LogValue(double x) { return static_cast<float>(std::copysign(std::log1p(std::abs(x)), x)); }

int64_t SqlogValue(double x) {
  if (x <= 2) return static_cast<int64_t>(std::max(std::floor(x), -9.0e15));
  const double log = std::log(x);
  return static_cast<int64_t>(std::floor(log * log));
}

// Counts are mostly small integers, whose values are looked up.
struct SmallValues {
  std::array<float, kTableSize> log;
  std::array<int16_t, kTableSize> sqlog;
  SmallValues() {
    for (int i = 0; i < kTableSize; ++i) {
      log[i] = LogValue(i);
      sqlog[i] = static_cast<int16_t>(SqlogValue(i));
    }
  }
};
const SmallValues kSmall;

bool IsSmall(double x, int* index) {
  if (!(x >= 0 && x < kTableSize)) return false;
  *index = static_cast<int>(x);
  return *index == x;
}

int AddColumn(std::vector<std::string>* columns, const std::string& name) {
  const auto at = std::find(columns->begin(), columns->end(), name);
  if (at != columns->end()) return static_cast<int>(at - columns->begin());
  columns->push_back(name);
  return static_cast<int>(columns->size()) - 1;
}

NumericTransform MakeTransform(const FittedFeature& feature) {
  using Kind = NumericTransform::Kind;
  const auto& config = feature.config;
  NumericTransform t;
  t.kind = config.transform == "log"           ? Kind::kLog
           : config.transform == "standardise" ? Kind::kStandardise
           : config.transform == "sqlog"       ? Kind::kSqlog
           : config.transform == "none"        ? Kind::kNone
                                               : Kind::kBoundaries;
  t.clips = config.clip.size() == 2;
  if (t.clips) t.clip_low = config.clip[0], t.clip_high = config.clip[1];
  t.mean = feature.mean;
  t.inverse_deviation = feature.deviation > 0 ? 1.0 / feature.deviation : 1.0;
  t.missing = static_cast<float>(config.missing_value);
  t.boundaries = feature.boundaries;
  return t;
}

}  // namespace

float NumericTransform::Dense(double x) const {
  x = Clipped(x);
  if (kind == Kind::kLog) {
    int small;
    return IsSmall(x, &small) ? kSmall.log[small] : LogValue(x);
  }
  if (kind == Kind::kStandardise) x = (x - mean) * inverse_deviation;
  return static_cast<float>(x);
}

int64_t NumericTransform::Bucket(double x) const {
  x = Clipped(x);
  if (kind == Kind::kSqlog) {
    int small;
    return IsSmall(x, &small) ? kSmall.sqlog[small] : SqlogValue(x);
  }
  return std::upper_bound(boundaries.begin(), boundaries.end(), x) - boundaries.begin();
}

Result<Plan> MakePlan(const DataConfig& data, const FittedFeatures& features, Purpose purpose) {
  Plan plan;
  plan.schema = features.MakeSchema();
  plan.labels_required = purpose != Purpose::kPredict;
  plan.positive_label = data.positive_label;
  plan.label_min = data.label_min;
  plan.label_max = data.label_max;
  for (const auto& text : data.missing) {
    if (text.empty()) continue;
    plan.missing.push_back(text);
    plan.longest_missing = std::max(plan.longest_missing, text.size());
  }
  for (const auto& label : plan.schema.labels) plan.label_columns.push_back(AddColumn(&plan.columns, label));
  const bool scores_only = purpose == Purpose::kPredict;
  plan.schema.has_sample_weight = !scores_only && !data.sample_weight.empty();
  plan.schema.has_group = !scores_only && !data.group.empty();
  if (plan.schema.has_sample_weight) plan.weight_column = AddColumn(&plan.columns, data.sample_weight);
  if (plan.schema.has_group) plan.group_column = AddColumn(&plan.columns, data.group);
  if (!data.split.column.empty() && purpose != Purpose::kPredict)
    plan.split_column = AddColumn(&plan.columns, data.split.column);
  if (purpose == Purpose::kPredict)
    for (const auto& name : data.passthrough) plan.passthrough_columns.push_back(AddColumn(&plan.columns, name));

  int next_dense = 0;
  int next_field = 0;
  for (const auto& feature : features.features) {
    const auto& config = feature.config;
    if (config.type == "cross") {
      CrossOp cross = {.target = next_field, .salt = plan.schema.fields[next_field].salt, .max_keys = config.max_keys};
      ++next_field;
      for (const auto& name : config.crosses) {
        for (int f = 0; f < plan.schema.num_fields(); ++f)
          if (plan.schema.fields[f].name == name) cross.fields.push_back(f);
      }
      plan.crosses.push_back(std::move(cross));
      continue;
    }
    ColumnOp op;
    op.feature = feature.name;
    op.column = AddColumn(&plan.columns, config.column);
    if (config.type == "numeric") {
      op.kind = feature.sparse() ? ColumnOp::Kind::kBucket : ColumnOp::Kind::kDense;
      op.numeric = MakeTransform(feature);
    } else {
      op.kind = config.multi || config.weighted ? ColumnOp::Kind::kKeys : ColumnOp::Kind::kKey;
      op.separator = config.separator.empty() ? '|' : config.separator[0];
      op.weighted = config.weighted;
      op.weight_separator = config.weight_separator.empty() ? ':' : config.weight_separator[0];
      op.max_keys = config.multi ? config.max_keys : 1;
    }
    if (op.kind == ColumnOp::Kind::kDense) {
      op.target = next_dense++;
    } else {
      op.salt = plan.schema.fields[next_field].salt;
      op.target = next_field++;
    }
    plan.ops.push_back(std::move(op));
  }
  return plan;
}

void ApplyCrosses(const std::vector<CrossOp>& crosses, Batch* batch) {
  for (const auto& cross : crosses) {
    FieldColumn& out = batch->fields[cross.target];
    bool one_hot = true;
    for (const int f : cross.fields) one_hot = one_hot && batch->fields[f].one_hot();
    out.keys.clear();
    out.offsets.clear();
    out.weights.clear();
    if (!one_hot) out.offsets.push_back(0);
    std::vector<int64_t> at(cross.fields.size());
    for (int64_t i = 0; i < batch->size; ++i) {
      bool any = true;
      for (size_t j = 0; j < cross.fields.size(); ++j) {
        const FieldColumn& in = batch->fields[cross.fields[j]];
        at[j] = in.begin(i);
        any = any && in.begin(i) < in.end(i);
      }
      // Every combination, the last field's keys fastest.
      for (int64_t made = 0; any && (cross.max_keys == 0 || made < cross.max_keys); ++made) {
        Key key = cross.salt;
        for (size_t j = 0; j < cross.fields.size(); ++j) key = MixPair(key, batch->fields[cross.fields[j]].keys[at[j]]);
        out.keys.push_back(key);
        size_t j = cross.fields.size();
        for (any = false; !any && j-- > 0;) {
          const FieldColumn& in = batch->fields[cross.fields[j]];
          any = ++at[j] < in.end(i);
          if (!any) at[j] = in.begin(i);
        }
      }
      if (!one_hot) out.offsets.push_back(static_cast<int32_t>(out.keys.size()));
    }
  }
}

}  // namespace sluice::data
