#pragma once

// What the fuzz targets of the parsers share.

#include <cstdint>
#include <cstdlib>
#include <memory>

#include "data/batch_ops.h"
#include "data/text_reader.h"

namespace sluice::data::fuzzing {

// A block of text as TextReader cuts it, parsed by `reader`; the batch is walked so that a bad index would be seen.
template <class Reader>
void ParseText(const Reader& reader, const uint8_t* data, size_t size, int file_columns, int num_columns) {
  static Piece piece;
  piece.Reset();
  piece.place = {};
  auto columns = std::make_shared<std::vector<int>>();
  for (int i = 0; i < num_columns; ++i) columns->push_back(i);
  piece.columns = columns;
  piece.file_columns = file_columns;
  piece.buffer.assign(data, data + size);
  if (size > 0 && piece.buffer.back() != '\n') piece.buffer.push_back('\n');
  piece.text_size = piece.buffer.size();
  for (const char c : piece.buffer) piece.lines += c == '\n';
  if (WholeRecords(piece.buffer.data(), piece.text_size, true, ',') > piece.text_size) std::abort();
  piece.buffer.resize(piece.text_size + 64);
  reader.Parse(&piece);
  Batch copy;
  AppendRows(piece.batch, 0, piece.batch.size, &copy);
  if (copy.size != piece.batch.size || piece.batch.size > piece.lines) std::abort();
}

// Features that take every path: dense numbers, buckets, one key, several weighted keys, a cross.
inline FittedFeatures AllKinds(const std::vector<std::string>& columns) {
  FittedFeatures fitted;
  const auto add = [&](const char* name, const std::string& column, auto&& change) {
    FittedFeature feature;
    feature.name = name;
    feature.config.column = column;
    feature.config.vocabulary = name;
    change(&feature);
    fitted.features.push_back(feature);
  };
  add("dense", columns[0], [](auto* f) { f->config.type = "numeric", f->config.transform = "log"; });
  add("sqlog", columns[1], [](auto* f) { f->config.type = "numeric", f->config.transform = "sqlog"; });
  add("bucket", columns[1], [](auto* f) {
    f->config.type = "numeric", f->config.transform = "bucket", f->boundaries = {0, 1, 2};
  });
  add("key", columns[2], [](auto*) {});
  add("keys", columns[3], [](auto* f) { f->config.multi = f->config.weighted = true, f->config.max_keys = 3; });
  add("cross", "", [](auto* f) { f->config.type = "cross", f->config.crosses = {"key", "keys"}; });
  return fitted;
}

}  // namespace sluice::data::fuzzing
