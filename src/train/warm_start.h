#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "data/features.h"
#include "train/config.h"
#include "train/model_state.h"
#include "train/progress.h"
#include "train/rank_keys.h"

namespace sluice::train {

// What a warm start took over.
struct WarmStartReport {
  int64_t rows = 0;
  std::vector<std::string> whole;      // parameters taken as they are
  std::vector<std::string> adapted;    // parameters of which some inputs were added, dropped or moved
  std::vector<std::string> fresh;      // parameters and tables that start anew
  std::vector<std::string> left;       // tables of the other model that nothing here takes over
  std::vector<std::string> new_slots;  // what starts with new slots, since its optimizer is another one
  std::string ToText() const;
};

// Fills a new state from checkpoint.init_from, by names: rows by key, dense parameters by name and, where a layer's
// input is made of fields, field by field, so that fields may be added (they start without influence), dropped or
// renamed.
// Semantics    a renamed field keeps the vocabulary of the old one (RenameFields), hence its rows. Rows of dropped
//              fields stay in a table that other fields use too, since a key does not tell its field; expiry removes
//              them. With several ranks each takes the rows that it owns, and the report counts those.
// Errors       kInvalidArgument naming every field, table and parameter that does not fit; nothing else was changed
//              then.
template <class T>
Result<WarmStartReport> WarmStart(const RunConfig& config, ModelState<T>* state, Progress* progress,
                                  const RankContext* ranks = nullptr);

// Lets fields that init_from has keep its quantiles, means and deviations: its rows and weights were learned with them,
// so that other files give a value the same key or number. Errors: kInvalidArgument naming the fields that are made
// otherwise there (another transform, number of buckets or boundaries), unless checkpoint.warm_start.allow_misfit.
Status AdoptTransforms(const RunConfig& config, data::FittedFeatures* features);

// Gives renamed fields the vocabulary that they had in checkpoint.init_from; before features are fitted.
Status RenameFields(RunConfig* config);

}  // namespace sluice::train
