#include "data/open.h"

#include <algorithm>
#include <cmath>

#include "data/byte_input.h"
#include "data/delimited.h"
#include "data/libsvm.h"
#include "data/packed.h"
#include "data/plan.h"
#include "data/sliced_source.h"
#include "data/stream_source.h"

namespace sluice::data {
namespace {

bool EndsWith(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

// The format that a file's name tells, or nothing.
std::string FormatOfName(std::string name) {
  for (const char* suffix : {".gz", ".zst"})
    if (EndsWith(name, suffix)) name.resize(name.size() - std::string(suffix).size());
  if (EndsWith(name, ".csv")) return "csv";
  if (EndsWith(name, ".libsvm") || EndsWith(name, ".svm")) return "libsvm";
  if (EndsWith(name, ".libffm") || EndsWith(name, ".ffm")) return "libffm";
  if (EndsWith(name, ".sluice")) return "packed";
  return "";
}

// Format of the files that are opened: by their names, else that of the training files. A packed file is one whatever
// the configured layout of text is, so that a model trained on text reads it too.
std::string FormatOfFiles(const DataConfig& data, const FittedFeatures& features,
                          const std::vector<std::string>& files) {
  const std::string format = FormatOfName(files.front());
  if (data.format != "auto" && format != "packed") return data.format;
  if (!format.empty()) return format;
  return features.format == "packed" ? "criteo" : features.format;
}

// The names of the files that a purpose reads, and whether they are divided by the split.
std::vector<std::string> Patterns(const DataConfig& data, Purpose purpose, bool* splits) {
  *splits = data.split.kind != "none" && data.eval.empty() && purpose != Purpose::kPredict;
  if (purpose == Purpose::kTrain) return data.train;
  return data.eval.empty() ? data.train : data.eval;
}

Status CheckOptions(const DataConfig& data, const OpenOptions& options, const std::vector<std::string>& files) {
  const bool standard_input = std::find(files.begin(), files.end(), "-") != files.end();
  if (files.empty())
    return InvalidArgument("data.{}: names no files", options.purpose == Purpose::kTrain ? "train" : "eval");
  if (standard_input && files.size() > 1) return InvalidArgument("standard input cannot be joined with other files");
  if (standard_input && options.purpose == Purpose::kTrain && options.epochs > 1)
    return InvalidArgument("standard input can be read once only, so train.epochs must be 1");
  if (standard_input && data.split.kind == "tail")
    return InvalidArgument("data.split.kind: tail needs the length of the data, which standard input does not tell");
  if (data.separator.size() != 1 || data.separator == "\n" || data.separator == "\"")
    return InvalidArgument("data.separator: must be one character, not '{}'", data.separator);
  if (data.split.kind == "time" && data.split.column.empty())
    return InvalidArgument("data.split.column: names the time column, which split.kind: time needs");
  if (data.label.empty()) return InvalidArgument("data.label: names no column");
  return Status::Ok();
}

// What packed files no longer know.
Status CheckPacked(const DataConfig& data, Purpose purpose) {
  if (data.split.kind == "time" || !data.split.column.empty())
    return InvalidArgument("data.split.column: packed files have no input columns; split before packing");
  if (purpose == Purpose::kPredict && !data.passthrough.empty())
    return InvalidArgument("data.passthrough: packed files have no input columns");
  return Status::Ok();
}

// What the sparse line formats cannot do.
Status CheckLibsvm(const DataConfig& data, const FittedFeatures& features, const std::string& format) {
  const char* refused = !data.sample_weight.empty()                                          ? "sample_weight"
                        : !data.split.column.empty()                                         ? "split.column"
                        : !data.passthrough.empty()                                          ? "passthrough"
                        : !data.group.empty() && (data.group != "qid" || format != "libsvm") ? "group"
                                                                                             : nullptr;
  if (refused != nullptr) return InvalidArgument("data.{}: {} files have no such column", refused, format);
  for (const auto& feature : features.features) {
    int64_t low, high;
    if (feature.config.type == "cross") continue;
    if (!ParseInterval(feature.config.column, &low, &high) || (format == "libffm" && low != high))
      return InvalidArgument("features.{}.column: '{}' is not {}", feature.name, feature.config.column,
                             format == "libffm" ? "the number of a field" : "an index, a range such as 1-13, or *");
  }
  return Status::Ok();
}

// Bytes (packed: samples) before each file, and of all.
Result<std::vector<int64_t>> FileStarts(const std::vector<std::string>& files, bool packed) {
  std::vector<int64_t> starts = {0};
  for (const auto& file : files) {
    SLUICE_ASSIGN_OR_RETURN(const int64_t size, packed ? CountPackedSamples(file) : UncompressedSize(file));
    starts.push_back(starts.back() + size);
  }
  return starts;
}

Result<SampleFilter> MakeFilter(const DataConfig& data, const FittedFeatures& features, const OpenOptions& options,
                                const std::vector<std::string>& files, bool splits, bool packed) {
  SampleFilter filter;
  if (options.purpose == Purpose::kTrain) {
    filter.keep_rate = data.negative_keep_rate;
    filter.rng = CounterRng(options.seed, 0x6e656761);
  }
  if (!splits) return filter;
  filter.side = options.purpose == Purpose::kTrain ? SampleFilter::Side::kTrain : SampleFilter::Side::kEval;
  if (data.split.kind == "hash") {
    filter.split = SampleFilter::Split::kHash;
    filter.hash_fraction = data.split.fraction;
  } else if (data.split.kind == "time") {
    if (!features.has_split_from) return InvalidArgument("data.split: the features were fitted without this split");
    filter.split = SampleFilter::Split::kTime;
    filter.time_from = features.split_from;
  } else {
    filter.split = SampleFilter::Split::kTail;
    SLUICE_ASSIGN_OR_RETURN(filter.file_starts, FileStarts(files, packed));
    filter.tail_start =
        static_cast<int64_t>(std::floor(static_cast<double>(filter.file_starts.back()) * (1.0 - data.split.fraction)));
  }
  return filter;
}

Result<std::unique_ptr<PieceReader>> MakeTextReader(const DataConfig& data, const FittedFeatures& features,
                                                    const OpenOptions& options, const std::vector<std::string>& files,
                                                    const std::string& format, SampleFilter filter, Schema* schema) {
  SLUICE_ASSIGN_OR_RETURN(Plan plan, MakePlan(data, features, options.purpose));
  *schema = plan.schema;
  TextOptions text;
  text.files = files;
  text.block_bytes = data.block_bytes;
  text.max_line_bytes = data.max_line_bytes;
  text.skip_bad_lines = data.on_bad_line == "skip";
  text.utf8 = data.utf8;
  text.filter = std::move(filter);
  std::unique_ptr<PieceReader> reader;
  if (format == "csv") {
    text.separator = data.separator[0];
    text.quotes = true;
    text.header = data.header;
    text.column_names = data.columns.empty() ? features.columns : data.columns;
    if (!text.header && text.column_names.empty())
      return InvalidArgument("data.columns: names the columns of csv files without a header");
    reader = std::make_unique<DelimitedReader>(std::move(plan), std::move(text));
  } else if (format == "libsvm" || format == "libffm") {
    SLUICE_RETURN_IF_ERROR(CheckLibsvm(data, features, format));
    reader = std::make_unique<LibsvmReader>(std::move(plan), std::move(text), format == "libffm",
                                            data.unknown_fields == "ignore");
  } else {
    plan.missing.clear();  // only the empty value is missing
    plan.longest_missing = 0;
    text.column_names = CriteoColumns();
    reader = std::make_unique<DelimitedReader>(std::move(plan), std::move(text));
  }
  return reader;
}

uint64_t Fingerprint(const DataConfig& data, const FittedFeatures& features, const OpenOptions& options,
                     const std::vector<std::string>& files) {
  std::string text = fmt::format("{} {} {} {} {} {} {} {} {}", static_cast<int>(options.purpose), options.seed,
                                 data.shuffle_window, data.negative_keep_rate, data.split.kind, data.split.fraction,
                                 data.split.column, features.split_from, data.on_bad_line);
  for (const auto& file : files) text += "\n" + file;
  return HashBytes(text + features.Save());
}

}  // namespace

std::string ResolveFormat(const DataConfig& data) {
  const auto& files = data.train.empty() ? data.eval : data.train;
  const std::string format = files.empty() ? "" : FormatOfName(files.front());
  if (data.format != "auto" && format != "packed") return data.format;
  return format.empty() ? "criteo" : format;
}

double LogitCorrection(const DataConfig& data) { return std::log(data.negative_keep_rate); }

Result<int64_t> InputSize(const DataConfig& data, const FittedFeatures& features) {
  bool splits = false;
  SLUICE_ASSIGN_OR_RETURN(const std::vector<std::string> files, ExpandFiles(Patterns(data, Purpose::kTrain, &splits)));
  SLUICE_ASSIGN_OR_RETURN(const auto starts, FileStarts(files, FormatOfFiles(data, features, files) == "packed"));
  return starts.back();
}

bool HasEvaluation(const DataConfig& data) { return !data.eval.empty() || data.split.kind != "none"; }

Result<std::unique_ptr<BatchSource>> OpenSource(const DataConfig& data, const FittedFeatures& features,
                                                const OpenOptions& options) {
  bool splits = false;
  SLUICE_ASSIGN_OR_RETURN(const std::vector<std::string> files, ExpandFiles(Patterns(data, options.purpose, &splits)));
  SLUICE_RETURN_IF_ERROR(CheckOptions(data, options, files));
  if (options.purpose == Purpose::kEval && !HasEvaluation(data))
    return InvalidArgument("data.eval: names no files, and data.split.kind is none");
  const std::string format = FormatOfFiles(data, features, files);
  const bool in_range = options.range.count > 0;
  if (in_range && options.slice.size > 1) return InvalidArgument("a slice of a stretch of the input is not offered");
  Schema schema;
  std::unique_ptr<PieceReader> reader;
  SLUICE_ASSIGN_OR_RETURN(SampleFilter filter, MakeFilter(data, features, options, files, splits, format == "packed"));
  if (format == "packed") {
    SLUICE_RETURN_IF_ERROR(CheckPacked(data, options.purpose));
    schema = features.MakeSchema();
    SLUICE_ASSIGN_OR_RETURN(reader, PackedReader::Open(files, features, schema, std::move(filter)));
  } else {
    SLUICE_ASSIGN_OR_RETURN(reader, MakeTextReader(data, features, options, files, format, std::move(filter), &schema));
  }
  if (in_range) {
    if (!reader->rewindable()) return InvalidArgument("data.train: standard input cannot be divided among workers");
    std::vector<int64_t> starts;
    if (options.range.search != nullptr) starts = options.range.search->file_starts;
    if (starts.empty()) {
      SLUICE_ASSIGN_OR_RETURN(starts, FileStarts(files, format == "packed"));
      if (options.range.search != nullptr) options.range.search->file_starts = starts;
    }
    reader = std::make_unique<RangeReader>(std::move(reader), options.range, std::move(starts), format == "packed");
    SLUICE_RETURN_IF_ERROR(reader->Rewind({}));
  }

  StreamOptions stream;
  stream.batch_size = options.batch_size;
  stream.shuffle_window = options.purpose == Purpose::kTrain ? data.shuffle_window : 0;
  stream.seed = in_range ? MixPair(options.seed, MixPair(static_cast<uint64_t>(options.range.epoch),
                                                         static_cast<uint64_t>(options.range.index)))
                         : options.seed;
  stream.max_bad_lines = data.max_bad_lines;
  stream.fingerprint = Fingerprint(data, features, options, files);
  stream.name = files.front() + (files.size() > 1 ? fmt::format(" and {} more", files.size() - 1) : "");
  stream.may_be_empty = options.purpose == Purpose::kPredict || in_range;
  const int64_t epochs = options.purpose == Purpose::kTrain ? options.epochs : 1;
  const bool sliced = options.slice.size > 1;
  // A bad line that is left out shows only when it is parsed, and lines to predict need not be alike.
  const bool countable = options.purpose != Purpose::kPredict && (format == "packed" || data.on_bad_line != "skip");
  if (sliced && countable) {
    return std::unique_ptr<BatchSource>(std::make_unique<SlicedSource>(
        schema, std::move(reader), stream, options.num_reader_threads, epochs, options.slice));
  }
  auto pieces = std::make_unique<PieceStream>(std::move(reader), options.num_reader_threads, epochs);
  std::unique_ptr<BatchSource> source = std::make_unique<StreamSource>(schema, std::move(pieces), std::move(stream));
  if (sliced) source = std::make_unique<SelectingSource>(std::move(source), options.slice);
  return source;
}

}  // namespace sluice::data
