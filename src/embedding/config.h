#pragma once

#include <cstdint>
#include <string>

#include "config/schema.h"
#include "optim/config.h"

namespace sluice::embedding {

// Initial weights of a table's rows.
struct InitConfig {
  std::string kind = "normal";
  double scale = 0.01;

  template <class V>
  void Visit(V& v) {
    v.Field("kind", kind,
            {.text = "normal (standard deviation `scale`), uniform in [-scale, scale), or zero.",
             .choices = {"normal", "uniform", "zero"}});
    v.Field("scale", scale, {.text = "Width of the distribution.", .min = 0, .max = 1e6});
  }
};

// Which keys get a row of their own.
struct AdmissionConfig {
  std::string kind = "none";
  int64_t count = 2;
  double probability = 1.0;
  int64_t candidates = 1 << 22;
  int64_t window_steps = 0;

  template <class V>
  void Visit(V& v) {
    v.Field("kind", kind,
            {.text = "none: every key gets a row; count: after `count` sightings; probability: each sighting admits "
                     "with `probability`, as a function of seed, key and step.",
             .choices = {"none", "count", "probability"}});
    v.Field("count", count, {.text = "count: sightings, the admitting one included.", .min = 1, .max = 65535});
    v.Field("probability", probability, {.text = "probability: chance of each sighting.", .min = 0, .max = 1});
    v.Field("candidates", candidates,
            {.text = "count: keys without a row whose sightings are remembered, 8 bytes each. Where more compete, those "
                     "with the fewest and oldest sightings are forgotten and start again at 0.",
             .unit = "keys",
             .min = 8192,
             .max = 4294967296.0});
    v.Field("window_steps", window_steps,
            {.text = "count: sightings are forgotten after this many steps without another (to within 1/8); 0: never.",
             .unit = "steps",
             .min = 0});
  }
};

// Which rows are given up.
struct ExpiryConfig {
  int64_t max_age_steps = 0;
  int64_t max_rows = 0;

  template <class V>
  void Visit(V& v) {
    v.Field("max_age_steps", max_age_steps,
            {.text = "Rows not seen for more steps than this are removed; 0: never. Each row is looked at every 256 steps.",
             .unit = "steps",
             .min = 0});
    v.Field("max_rows", max_rows,
            {.text = "Capacity of the table, an equal share for each of its 1,024 shards; beyond it the rows used least "
                     "recently, then least often, are removed. 1,024 or more; 0: no bound.",
             .unit = "rows",
             .min = 0,
             .max = 4294967000.0});
  }
};

// An embedding table as configured.
struct TableConfig {
  optim::OptimizerConfig optimizer;
  InitConfig init;
  std::string on_missing = "default";
  AdmissionConfig admission;
  ExpiryConfig expiry;

  template <class V>
  void Visit(V& v) {
    v.Struct("optimizer", optimizer, {.text = "Update rule of the rows, once per unique row and step."});
    v.Struct("init", init, {.text = "Initial weights of a row: a function of seed, key and column."});
    v.Field("on_missing", on_missing,
            {.text = "What a key without a row reads: default (one learned row per vocabulary, zero at first), init (the "
                     "initial weights that its row would have) or zero.",
             .choices = {"default", "init", "zero"}});
    v.Struct("admission", admission, {.text = "Which keys get a row of their own."});
    v.Struct("expiry", expiry, {.text = "Which rows are given up."});
  }
};

}  // namespace sluice::embedding
