#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace sluice::data {

// How training files are divided into a training and an evaluation side that complement each other exactly.
struct SplitConfig {
  std::string kind = "none";
  double fraction = 0.1;
  std::string column;
  std::string from;

  template <class V>
  void Visit(V& v) {
    v.Field("kind", kind,
            {.text = "Validation samples taken from the training files: none; tail (the last part of the bytes); time (the "
                     "largest values of `column`); hash (a pseudo-random part by the sample's text, or by `column`).",
             .choices = {"none", "tail", "time", "hash"}});
    v.Field("fraction", fraction, {.text = "Share of the data that goes to validation.", .min = 0, .max = 1});
    v.Field("column", column, {.text = "Column that decides: required for time, optional for hash."});
    v.Field("from", from,
            {.text = "time: values from this one on are validation, instead of `fraction`, which needs a pass over the data."});
  }
};

// Where samples come from and how they are read.
struct DataConfig {
  std::string format = "auto";
  std::vector<std::string> train;
  std::vector<std::string> eval;
  SplitConfig split;
  std::vector<std::string> label = {"label"};
  std::string positive_label;
  double label_min = 0;
  double label_max = 1;
  std::string sample_weight;
  std::string group;
  std::vector<std::string> passthrough;
  std::string separator = ",";
  bool header = true;
  std::vector<std::string> columns;
  std::vector<std::string> missing = {"", "?"};
  bool utf8 = true;
  int64_t max_line_bytes = 1 << 20;
  std::string unknown_fields = "error";
  std::string on_bad_line = "error";
  int64_t max_bad_lines = 1000;
  int64_t shuffle_window = 0;
  double negative_keep_rate = 1.0;
  int64_t fit_samples = 100000;
  int64_t block_bytes = 1 << 18;
  int64_t reader_threads = 1;

  template <class V>
  void Visit(V& v) {
    v.Field("format", format,
            {.text = "Layout of the files. auto decides by name (.csv, .libsvm, .svm, .libffm, .ffm, .sluice, each also with .gz "
                     "or .zst) and takes the rest as criteo. Files named .sluice are packed in any case.",
             .choices = {"auto", "criteo", "criteo_tb", "csv", "libsvm", "libffm", "packed"}});
    v.Field("train", train,
            {.text = "Training files, read in this order; globs are expanded in sorted order; \"-\" is standard input."});
    v.Field("eval", eval, {.text = "Validation files; leave empty to use `split`."});
    v.Struct("split", split, {.text = "Validation from the training files."});
    v.Field("label", label, {.text = "csv: name of the label column, or of several for a model with several outputs."});
    v.Field("positive_label", positive_label,
            {.text = "Text of a label that means 1; every other text means 0. Empty: labels are numbers."});
    v.Field("label_min", label_min, {.text = "Smallest label allowed; -1 is read as 0 in libsvm and libffm where this is 0."});
    v.Field("label_max", label_max, {.text = "Largest label allowed."});
    v.Field("sample_weight", sample_weight, {.text = "csv: column that weights each sample's loss; empty: all 1."});
    v.Field("group", group, {.text = "csv: column that groups samples for grouped AUC; libsvm uses qid."});
    v.Field("passthrough", passthrough, {.text = "Columns that predict copies beside the score."});
    v.Field("separator", separator, {.text = "csv: one character between columns; \"\\t\" for a tab."});
    v.Field("header", header, {.text = "csv: the first line of each file names the columns."});
    v.Field("columns", columns, {.text = "csv without header: names of the columns."});
    v.Field("missing", missing, {.text = "csv: texts that mean a missing value."});
    v.Field("utf8", utf8, {.text = "Lines that are not valid UTF-8 are bad lines."});
    v.Field("max_line_bytes", max_line_bytes, {.text = "Longer lines are bad lines.", .unit = "bytes", .min = 64, .max = 1 << 28});
    v.Field("unknown_fields", unknown_fields,
            {.text = "libffm, libsvm: what a field or index that belongs to no feature does; error makes its line a bad line.",
             .choices = {"error", "ignore"}});
    v.Field("on_bad_line", on_bad_line,
            {.text = "What a malformed line does: error ends the run naming file, line and column; skip counts it and goes on.",
             .choices = {"error", "skip"}});
    v.Field("max_bad_lines", max_bad_lines, {.text = "skip: more bad lines than this end the run.", .unit = "lines", .min = 0});
    v.Field("shuffle_window", shuffle_window,
            {.text = "Training samples are shuffled within consecutive windows of this many; 0: file order. A window is held in "
                     "memory.",
             .unit = "samples", .min = 0, .max = 1 << 30});
    v.Field("negative_keep_rate", negative_keep_rate,
            {.text = "Share of training samples with label 0 that is kept; log of it is added to the logit in evaluation and "
                     "prediction.",
             .min = 1e-9, .max = 1});
    v.Field("fit_samples", fit_samples,
            {.text = "Training samples that quantiles, means and deviations are computed from.", .unit = "samples", .min = 1});
    v.Field("block_bytes", block_bytes,
            {.text = "Text is read and parsed in blocks of about this size.", .unit = "bytes", .min = 4096, .max = 1 << 28});
    v.Field("reader_threads", reader_threads,
            {.text = "Threads that read and parse; 0: the consumer does it.", .unit = "threads", .min = 0, .max = 256,
             .performance_only = true});
  }
};

// One input feature: a dense number, or a sparse field of keys.
struct FeatureConfig {
  std::string type = "categorical";
  std::string column;
  std::string vocabulary;
  bool multi = false;
  std::string separator = "|";
  bool weighted = false;
  std::string weight_separator = ":";
  int64_t max_keys = 0;
  std::string transform = "none";
  std::vector<double> boundaries;
  int64_t buckets = 32;
  std::vector<double> clip;
  double missing_value = 0;
  std::vector<std::string> crosses;

  template <class V>
  void Visit(V& v) {
    v.Field("type", type,
            {.text = "categorical: the text is hashed to a key; numeric: a number; cross: one key per combination of the fields in "
                     "`crosses`.",
             .choices = {"categorical", "numeric", "cross"}});
    v.Field("column", column,
            {.text = "Input column; empty: the feature's name. libffm: the field. libsvm: an index, a range such as 1-13, or * for "
                     "all."});
    v.Field("vocabulary", vocabulary,
            {.text = "Features with the same vocabulary share keys and rows; empty: the feature's name."});
    v.Field("multi", multi, {.text = "Any number of keys per sample instead of one."});
    v.Field("separator", separator, {.text = "csv: one character between the values of a multi-valued column."});
    v.Field("weighted", weighted, {.text = "A weight beside each key: key:weight in csv, the value in libsvm and libffm."});
    v.Field("weight_separator", weight_separator, {.text = "csv: one character between a key and its weight."});
    v.Field("max_keys", max_keys, {.text = "Keys kept per sample, the first ones; 0: all.", .min = 0, .max = 1 << 20});
    v.Field("transform", transform,
            {.text = "numeric, to a dense column: none, log (sign(x) log(1 + |x|)), standardise (mean 0, deviation 1 over the "
                     "first data.fit_samples); to a sparse field: sqlog (floor(log(x)^2) for x > 2, else floor(x)), bucket (by "
                     "`boundaries`), quantile (into `buckets` of equal count over the first data.fit_samples).",
             .choices = {"none", "log", "standardise", "sqlog", "bucket", "quantile"}});
    v.Field("boundaries", boundaries, {.text = "bucket: ascending; bucket i holds boundaries[i-1] <= x < boundaries[i]."});
    v.Field("buckets", buckets, {.text = "quantile: number of buckets.", .min = 2, .max = 1 << 20});
    v.Field("clip", clip, {.text = "numeric: [smallest, largest], applied before the transform."});
    v.Field("missing_value", missing_value,
            {.text = "numeric, dense: what a missing value becomes after the transform. In a sparse field missing is a key of its "
                     "own."});
    v.Field("crosses", crosses, {.text = "cross: two or more sparse features."});
  }
};

// In the order of the configuration file.
using FeatureList = std::vector<std::pair<std::string, FeatureConfig>>;

}  // namespace sluice::data
