#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <sstream>

#include "data/byte_input.h"
#include "data/features.h"
#include "data/libsvm.h"
#include "data/numbers.h"
#include "data/open.h"
#include "data/packed.h"
#include "data/text_reader.h"

namespace sluice::data {
namespace {

constexpr int64_t kHeadBytes = 4 << 20;
constexpr size_t kHeadLines = 10000;
constexpr size_t kFewValues = 24;  // a number with no more distinct values than this reads better as a category

FeatureList CriteoFeatures(bool dense_input) {
  FeatureList list;
  for (int i = 1; i <= 13; ++i) {
    FeatureConfig config;
    config.type = "numeric";
    config.transform = dense_input ? "log" : "sqlog";
    list.emplace_back(fmt::format("I{}", i), config);
  }
  for (int i = 1; i <= 26; ++i) list.emplace_back(fmt::format("C{}", i), FeatureConfig());
  return list;
}

// The first lines of the first file, without newlines.
Result<std::vector<std::string>> ReadHead(const DataConfig& data) {
  SLUICE_ASSIGN_OR_RETURN(const auto files, ExpandFiles(data.train.empty() ? data.eval : data.train));
  if (files.empty()) return InvalidArgument("data.train: names no files");
  if (files.front() == "-")
    return InvalidArgument("features: must be given for standard input, whose head cannot be looked at first");
  SLUICE_ASSIGN_OR_RETURN(auto input, ByteInput::Open(files.front()));
  std::string head(kHeadBytes, '\0');
  SLUICE_ASSIGN_OR_RETURN(const size_t size, input->Read(head.data(), head.size()));
  const bool cut = size == head.size();
  head.resize(size);
  if (head.empty()) return DataLoss("{}: the file is empty", files.front());
  if (!cut && head.back() != '\n') head += '\n';
  const bool quotes = ResolveFormat(data) == "csv";
  std::vector<std::string> lines;
  const char* begin = head.data();
  const char* end = begin + WholeRecords(head.data(), head.size(), quotes, data.separator[0]);
  while (begin < end && lines.size() < kHeadLines) {
    const char* stop = begin;
    for (bool quoted = false; stop < end && (quoted || *stop != '\n'); ++stop)
      if (quotes && *stop == '"') quoted = !quoted;
    lines.emplace_back(begin, stop);
    begin = stop + 1;
  }
  if (lines.empty())
    return DataLoss("{}:1: no line ends within the first {} bytes", files.front(), kHeadBytes);
  if (lines.front().rfind("\xef\xbb\xbf", 0) == 0) lines.front().erase(0, 3);
  return lines;
}

// Numbers with many values become dense numbers or quantile buckets, everything else categories.
Result<FeatureList> InferCsv(const DataConfig& data, bool dense_input) {
  SLUICE_ASSIGN_OR_RETURN(const auto lines, ReadHead(data));
  std::vector<std::string> names = data.columns;
  std::vector<std::string> values;
  size_t first = 0;
  if (data.header) {
    if (!SplitCsvRecord(lines.front(), data.separator[0], &names)) return DataLoss("a quote in the header is not closed");
    first = 1;
  }
  if (names.empty()) return InvalidArgument("data.columns: names the columns of csv files without a header");
  std::vector<std::set<std::string>> distinct(names.size());
  std::vector<bool> numeric(names.size(), true);
  for (size_t i = first; i < lines.size(); ++i) {
    if (!SplitCsvRecord(lines[i], data.separator[0], &values) || values.size() != names.size()) continue;
    for (size_t c = 0; c < names.size(); ++c) {
      const std::string& text = values[c];
      if (text.empty() || std::find(data.missing.begin(), data.missing.end(), text) != data.missing.end()) continue;
      double x = 0;
      if (!ParseNumber(text.data(), text.data() + text.size(), &x)) numeric[c] = false;
      if (distinct[c].size() <= kFewValues) distinct[c].insert(text);
    }
  }
  std::set<std::string> taken(data.label.begin(), data.label.end());
  taken.insert(data.passthrough.begin(), data.passthrough.end());
  for (const auto& name : {data.sample_weight, data.group, data.split.column}) taken.insert(name);
  FeatureList list;
  for (size_t c = 0; c < names.size(); ++c) {
    if (taken.count(names[c]) > 0) continue;
    FeatureConfig config;
    if (numeric[c] && distinct[c].size() > kFewValues) {
      config.type = "numeric";
      config.transform = dense_input ? "standardise" : "quantile";
    }
    list.emplace_back(names[c], config);
  }
  return list;
}

// What the head tells of a libffm field.
struct FieldHead {
  bool several = false;
  bool weighted = false;
};

// One feature per field: of several keys where some line of the head has several.
Result<FeatureList> InferLibffm(const DataConfig& data) {
  SLUICE_ASSIGN_OR_RETURN(const auto lines, ReadHead(data));
  std::map<int64_t, FieldHead> fields;
  for (const auto& line : lines) {
    std::map<int64_t, int> keys;
    std::istringstream tokens(line.substr(0, line.find('#')));
    for (std::string token; tokens >> token;) {
      const auto colon = token.find(':');
      int64_t low = 0;
      int64_t high = 0;
      if (colon == std::string::npos || !ParseInterval(token.substr(0, colon), &low, &high) || low != high) continue;
      FieldHead& field = fields[low];
      const auto second = token.find(':', colon + 1);
      field.weighted = field.weighted || (second != std::string::npos && token.substr(second + 1) != "1");
      field.several = field.several || ++keys[low] > 1;
    }
  }
  FeatureList list;
  for (const auto& [number, head] : fields) {
    FeatureConfig config;
    config.column = std::to_string(number);
    config.multi = head.several;
    config.weighted = head.weighted;
    list.emplace_back(fmt::format("F{}", number), config);
  }
  if (list.empty()) return DataLoss("{}: no field:key:value in its first lines", data.train.empty() ? "" : data.train.front());
  return list;
}

FeatureList LibsvmFeatures() {
  FeatureConfig config;
  config.column = "*";
  config.multi = true;
  config.weighted = true;
  return {{"index", config}};
}

}  // namespace

Result<FeatureList> InferFeatures(const DataConfig& data, bool dense_input) {
  const std::string format = ResolveFormat(data);
  if (format == "criteo" || format == "criteo_tb") return CriteoFeatures(dense_input);
  if (format == "csv") return InferCsv(data, dense_input);
  if (format == "libffm") return InferLibffm(data);
  if (format == "libsvm") return LibsvmFeatures();
  SLUICE_ASSIGN_OR_RETURN(const auto files, ExpandFiles(data.train.empty() ? data.eval : data.train));
  if (files.empty()) return InvalidArgument("data.train: names no files");
  SLUICE_ASSIGN_OR_RETURN(const FittedFeatures packed, ReadPackedFeatures(files.front()));
  FeatureList list;
  for (const auto& feature : packed.features) list.emplace_back(feature.name, feature.config);
  return list;
}

}  // namespace sluice::data
