#pragma once

// The same samples stored in every format, for the tests of streams.

#include <string>

#include "data/testing.h"

namespace sluice::data::testing {

inline constexpr int64_t kSamples = 900;

// One way of storing the same samples, and what is done to them on the way.
struct Case {
  std::string name;
  std::string kind;  // of the files
  int64_t window = 0;
  std::string split = "none";
  double keep_rate = 1;
};

inline std::string CsvText(int64_t begin, int64_t end) {
  std::string text = "label,time,a,\"b b\",w\n";
  for (int64_t i = begin; i < end; ++i) {
    const uint64_t bits = Mix64(static_cast<uint64_t>(i));
    text +=
        fmt::format("{},{},x{}, {},{}\n", bits % 3 == 0 ? 1 : 0, 1000 + i / 2, bits % 17,
                    bits % 5 == 0 ? "\"q, \"\"z\"\"\n2\"" : fmt::format("y{}|y{}", bits % 7, bits % 11), bits % 100);
  }
  return text;
}

inline std::string LibffmText(int64_t begin, int64_t end) {
  std::string text;
  for (int64_t i = begin; i < end; ++i) {
    const uint64_t bits = Mix64(static_cast<uint64_t>(i));
    text += fmt::format("{} 0:{}:1", bits % 3 == 0 ? 1 : 0, bits % 100);
    for (uint64_t k = 0; k < bits % 4; ++k) text += fmt::format(" 1:{}:{}.5", (bits >> 8) % 50 + k, k);
    text += "\n";
  }
  return text;
}

inline std::string LibsvmText(int64_t begin, int64_t end) {
  std::string text;
  for (int64_t i = begin; i < end; ++i) {
    const uint64_t bits = Mix64(static_cast<uint64_t>(i));
    text += fmt::format("{} {}:{} 500:0.25\n", bits % 3 == 0 ? "+1" : "-1", bits % 100, bits % 9);
  }
  return text;
}

// Two files of the samples.
inline DataConfig MakeData(const Case& c, const TempFolder& folder) {
  DataConfig data;
  data.block_bytes = 4096;
  data.shuffle_window = c.window;
  data.negative_keep_rate = c.keep_rate;
  data.split.kind = c.split;
  data.split.fraction = 0.3;
  const auto write = [&](const std::string& name, auto&& text) {
    const auto one = text(0, 500), two = text(500, kSamples);
    if (c.kind.find(".gz") != std::string::npos)
      data.train = {folder.WriteGzip("a" + name + ".gz", one), folder.WriteGzip("b" + name + ".gz", two)};
    else if (c.kind.find(".zst") != std::string::npos)
      data.train = {folder.WriteZstd("a" + name + ".zst", one), folder.WriteZstd("b" + name + ".zst", two)};
    else
      data.train = {folder.Write("a" + name, one), folder.Write("b" + name, two)};
  };
  if (c.kind.rfind("csv", 0) == 0) {
    if (c.split == "time") data.split.column = "time";
    write(".csv", CsvText);
  } else if (c.kind.rfind("libffm", 0) == 0) {
    write(".ffm", LibffmText);
  } else if (c.kind.rfind("libsvm", 0) == 0) {
    write(".svm", LibsvmText);
  } else {
    write(".tsv", [](int64_t begin, int64_t end) { return CriteoText(begin, end); });
  }
  if (c.kind == "packed") {
    std::vector<std::string> packed;
    for (const auto& file : data.train) {
      DataConfig one;
      one.train = {file};
      auto fitted = FitFeatures(one, {}, true);
      auto source = OpenSource(one, fitted.value(), {.batch_size = 100});
      packed.push_back(file + ".sluice");
      EXPECT_GT(Pack(source.value().get(), fitted.value(), packed.back()).value(), 0);
    }
    data.train = packed;
  }
  return data;
}

inline FeatureList MakeFeatures(const Case& c) {
  if (c.kind.rfind("csv", 0) != 0) return {};
  FeatureConfig multi;
  multi.multi = true;
  FeatureConfig number;
  number.type = "numeric";
  return {{"a", {}}, {"b b", multi}, {"w", number}};
}

inline void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

}  // namespace sluice::data::testing
