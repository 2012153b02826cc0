#pragma once

// Helpers of this module's tests.

#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <type_traits>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/batch.h"
#include "data/open.h"

namespace sluice::data::testing {

// A folder that goes away with the object.
class TempFolder {
 public:
  TempFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "sluice_data_XXXXXX").string();
    SLUICE_CHECK(mkdtemp(pattern.data()) != nullptr, "mkdtemp");
    path_ = pattern;
  }
  ~TempFolder() { std::filesystem::remove_all(path_); }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  std::string path(const std::string& name) const { return (path_ / name).string(); }

  std::string Write(const std::string& name, const std::string& content) const {
    std::ofstream(path(name), std::ios::binary) << content;
    return path(name);
  }
  std::string WriteGzip(const std::string& name, const std::string& content) const {
    gzFile file = gzopen(path(name).c_str(), "wb1");
    gzwrite(file, content.data(), static_cast<unsigned>(content.size()));
    gzclose(file);
    return path(name);
  }
  std::string WriteZstd(const std::string& name, const std::string& content) const {
    std::string packed(ZSTD_compressBound(content.size()), '\0');
    packed.resize(ZSTD_compress(packed.data(), packed.size(), content.data(), content.size(), 1));
    return Write(name, packed);
  }

 private:
  std::filesystem::path path_;
};

inline std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Everything of sample i of a batch as bytes, so that streams can be compared sample by sample. Not as text: the tests
// compare hundreds of thousands of samples, and formatting them took sanitized builds minutes.
inline std::string SampleBytes(const Batch& batch, int64_t i) {
  std::string bytes;
  const auto append = [&](const auto& value) {
    using V = std::remove_cvref_t<decltype(value)>;
    if constexpr (std::is_same_v<V, std::string>) {
      bytes += value + '\n';
    } else {
      bytes.append(reinterpret_cast<const char*>(&value), sizeof(V));
    }
  };
  const auto matrix = [&](const auto& values) {
    const size_t width = values.size() / static_cast<size_t>(batch.size);
    append(width);
    for (size_t j = 0; j < width; ++j) append(values[static_cast<size_t>(i) * width + j]);
  };
  matrix(batch.labels);
  matrix(batch.sample_weights);
  matrix(batch.dense);
  matrix(batch.groups);
  matrix(batch.passthrough);
  for (const auto& field : batch.fields) {
    append(field.end(i) - field.begin(i));
    append(field.weights.empty());
    for (int64_t k = field.begin(i); k < field.end(i); ++k) {
      append(field.keys[static_cast<size_t>(k)]);
      if (!field.weights.empty()) append(field.weights[static_cast<size_t>(k)]);
    }
  }
  return bytes;
}

inline void ExpectWellFormed(const Batch& batch, const Schema& schema) {
  ASSERT_EQ(batch.labels.size(), static_cast<size_t>(batch.size * schema.num_labels()));
  ASSERT_EQ(batch.dense.size(), static_cast<size_t>(batch.size * schema.num_dense()));
  ASSERT_EQ(batch.fields.size(), schema.fields.size());
  for (size_t f = 0; f < batch.fields.size(); ++f) {
    const auto& field = batch.fields[f];
    if (schema.fields[f].one_hot) {
      ASSERT_TRUE(field.offsets.empty());
      ASSERT_EQ(field.nnz(), batch.size);
    } else {
      ASSERT_EQ(field.offsets.size(), static_cast<size_t>(batch.size + 1));
      ASSERT_EQ(field.offsets.front(), 0);
      ASSERT_EQ(field.offsets.back(), field.nnz());
    }
    if (schema.fields[f].weighted) {
      ASSERT_EQ(field.weights.size(), field.keys.size());
    } else {
      ASSERT_TRUE(field.weights.empty());
    }
  }
}

// What is left of a source: its samples, or the failure that ended it.
struct Drained {
  std::vector<std::string> samples;
  std::vector<int64_t> batch_sizes;
  std::vector<std::string> positions;   // after each batch
  Status status;
};

inline Drained Drain(BatchSource* source) {
  Drained out;
  Batch batch;
  for (;;) {
    const Result<bool> more = source->Next(&batch);
    if (!more.ok()) {
      out.status = more.status();
      return out;
    }
    if (!more.value()) return out;
    ExpectWellFormed(batch, source->schema());
    out.batch_sizes.push_back(batch.size);
    for (int64_t i = 0; i < batch.size; ++i) out.samples.push_back(SampleBytes(batch, i));
    out.positions.push_back(source->position());
  }
}

// Fits, opens and drains; failures of any step end up in `status`.
inline Drained ReadAll(const DataConfig& data, const FeatureList& features, const OpenOptions& options) {
  Drained out;
  auto fitted = FitFeatures(data, features, true);
  if (!fitted.ok()) {
    out.status = fitted.status();
    return out;
  }
  auto source = OpenSource(data, fitted.value(), options);
  if (!source.ok()) {
    out.status = source.status();
    return out;
  }
  return Drain(source.value().get());
}

// A line of Criteo's layout whose values are functions of i.
inline std::string CriteoLine(int64_t i, bool label = true) {
  const CounterRng rng(7, static_cast<uint64_t>(i));
  std::string line = label ? fmt::format("{}\t", rng.Below(0, 4) == 0 ? 1 : 0) : "";
  for (uint64_t c = 1; c <= 13; ++c) {
    if (rng.Below(2 * c, 5) > 0) line += fmt::format("{}", static_cast<int64_t>(rng.Below(2 * c + 1, 1000)) - 2);
    line += '\t';
  }
  for (uint64_t c = 1; c <= 26; ++c) {
    if (rng.Below(100 + c, 10) > 0) line += fmt::format("{:08x}", static_cast<uint32_t>(Mix64(rng.Below(200 + c, 50))));
    line += c < 26 ? "\t" : "\n";
  }
  return line;
}

inline std::string CriteoText(int64_t begin, int64_t end, bool label = true) {
  std::string text;
  for (int64_t i = begin; i < end; ++i) text += CriteoLine(i, label);
  return text;
}

}  // namespace sluice::data::testing
