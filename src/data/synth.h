#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"

namespace sluice::data {

// Settings of a synthetic click log. Its labels are drawn from a planted teacher, so the best reachable AUC is known.
struct SynthConfig {
  std::string output = "-";
  std::string format = "criteo";
  int64_t seed = 1;
  int64_t samples = 1000000;
  int64_t dense = 13;
  int64_t fields = 26;
  int64_t rows = 4000000;
  double skew = 12.0;
  double keys_per_field = 1.0;
  std::vector<int64_t> rows_of_fields;
  std::vector<int64_t> keys_of_fields;
  double missing = 0.1;
  double churn = 0.0;
  double base_rate = 0.25;
  double auc = 0.8;
  double interaction = 0.16;
  double tail = 0.1;
  std::string teacher_output;
  bool report = true;
  int64_t threads = 0;

  template <class V>
  void Visit(V& v) {
    v.Field("output", output, {.text = "File to write; - for standard output."});
    v.Field(
        "format", format,
        {.text =
             "criteo: tab-separated, hexadecimal categories, no header; csv: with a header; libffm: numeric columns "
             "are fields with a weight.",
         .choices = {"criteo", "csv", "libffm"}});
    v.Field("seed", seed, {.text = "Seed of keys, teacher and labels.", .min = 0});
    v.Field("samples", samples, {.text = "Lines to write.", .unit = "samples", .min = 1});
    v.Field("dense", dense, {.text = "Integer columns. Criteo files have 13.", .min = 0, .max = 1000});
    v.Field("fields", fields, {.text = "Categorical columns. Criteo files have 26.", .min = 1, .max = 10000});
    v.Field(
        "rows", rows,
        {.text = "Keys of the largest field; the other fields have fewer, down to a few.", .min = 2, .max = 1 << 24});
    v.Field(
        "skew", skew,
        {.text = "Power law of the keys in the largest field: index = u^skew * rows. Smaller fields are less skewed.",
         .min = 1,
         .max = 30});
    v.Field("keys_per_field", keys_per_field,
            {.text = "Keys of a field in a sample, on average. Above 1 (not in criteo) the columns are multi-valued: "
                     "between 1 and twice as many, separated by | in csv.",
             .min = 1,
             .max = 1000});
    v.Field("rows_of_fields", rows_of_fields,
            {.text = "Keys of each field, one number a field, in place of rows and the ladder of sizes below it.",
             .min = 1,
             .max = 1 << 24});
    v.Field(
        "keys_of_fields", keys_of_fields,
        {.text =
             "Keys of each field in every sample, exactly, one number a field, in place of keys_per_field: multi-hot "
             "data of a known shape. Not in criteo.",
         .min = 1,
         .max = 10000});
    v.Field("missing", missing, {.text = "Share of empty integer columns.", .min = 0, .max = 0.99});
    v.Field("churn", churn,
            {.text = "How often, over the whole file, a key is replaced by a new one: 0.5 renews half of all keys.",
             .min = 0,
             .max = 1000});
    v.Field("base_rate", base_rate, {.text = "Share of positive labels.", .min = 0.001, .max = 0.999});
    v.Field("auc", auc, {.text = "AUC that the teacher itself has.", .min = 0.51, .max = 0.99});
    v.Field("interaction", interaction,
            {.text = "Share of the teacher's variance that lies in products of keys, out of a linear model's reach.",
             .min = 0,
             .max = 1});
    v.Field("tail", tail,
            {.text = "Share of the samples, the last ones, reported apart as held-out.", .min = 0, .max = 0.9});
    v.Field("teacher_output", teacher_output,
            {.text = "File for the teacher's probability of every sample of the tail, one a line; empty: none."});
    v.Field("report", report, {.text = "Write the report beside the output, as OUTPUT.json."});
    v.Field("threads", threads,
            {.text = "Threads; 0: all usable processors. The output is the same at any number.",
             .min = 0,
             .performance_only = true});
  }
};

// What the best possible model reaches on some of the samples.
struct SynthPart {
  int64_t samples = 0;
  double base_rate = 0;   // share of positive labels
  double auc = 0;         // of the teacher's probabilities
  double linear_auc = 0;  // of the teacher without its products of keys
  double logloss = 0;     // of the teacher's probabilities
};

struct SynthReport {
  int64_t samples = 0;
  int64_t bytes = 0;
  int64_t distinct_keys = 0;
  double wall_s = 0;
  SynthPart train, tail;

  std::string ToText() const;
  std::string ToJson() const;
};

// Writes a synthetic click log: docs/synthetic-data.md says what its teacher is.
// Semantics    every number is a function of (seed, sample index, column): the output does not depend on the threads. A
//              file is written aside and renamed when complete; an older one is replaced.
// Errors       kInvalidArgument naming the setting (criteo with other columns or several keys per field; lists of
//              another length than `fields`); kIo naming the file.
// Cost         about a microsecond a line on one core; memory a bit per key, whatever the number of samples.
Result<SynthReport> Synthesize(const SynthConfig& config);

}  // namespace sluice::data
