// Rate at which Criteo text in memory (page cache) becomes batches of hashed keys on one core, beside the rate at which the
// same core can merely read the bytes.
//   parse_bench [lines] [repeats]

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/rng.h"
#include "base/simd.h"
#include "data/open.h"
#include "data/scan.h"

namespace {

using namespace sluice;
using Clock = std::chrono::steady_clock;

double Seconds(Clock::time_point since) { return std::chrono::duration<double>(Clock::now() - since).count(); }

// Lines with the lengths of Criteo's: short counts, 26 hexadecimal values, some missing.
std::string CriteoText(int64_t lines) {
  std::string text;
  for (int64_t i = 0; i < lines; ++i) {
    const CounterRng rng(1, static_cast<uint64_t>(i));
    text += rng.Below(0, 4) == 0 ? '1' : '0';
    for (uint64_t c = 1; c <= 13; ++c) {
      text += '\t';
      const double u = rng.Uniform(c);
      if (u > 0.1) text += std::to_string(static_cast<int64_t>(u * u * u * u * 5000));
    }
    for (uint64_t c = 14; c < 40; ++c) {
      const double u = rng.Uniform(c);
      char value[16];
      std::snprintf(value, sizeof value, "%08x", static_cast<unsigned>(Mix64(static_cast<uint64_t>(u * u * u * u * 1e6))));
      text += '\t';
      if (u > 0.05) text += value;
    }
    text += '\n';
  }
  return text;
}

// Median of the seconds that body takes.
template <class Body>
double Median(int repeats, const Body& body) {
  std::vector<double> seconds;
  for (int r = 0; r < repeats; ++r) {
    const auto start = Clock::now();
    body();
    seconds.push_back(Seconds(start));
  }
  std::sort(seconds.begin(), seconds.end());
  return seconds[seconds.size() / 2];
}

int64_t Drain(const data::DataConfig& config, const data::FittedFeatures& features, int threads) {
  auto source = data::OpenSource(config, features, {.num_reader_threads = threads});
  SLUICE_CHECK(source.ok(), "{}", source.status().message());
  data::Batch batch;
  while (source.value()->Next(&batch).value()) {
  }
  return source.value()->stats().samples;
}

}  // namespace

int main(int argc, char** argv) {
  const int64_t lines = argc > 1 ? std::atoll(argv[1]) : 400000;
  const int repeats = argc > 2 ? std::atoi(argv[2]) : 5;
  const std::string text = CriteoText(lines);
  const auto folder = std::filesystem::temp_directory_path() / ("parse_bench_" + std::to_string(::getpid()));
  std::filesystem::create_directory(folder);
  const std::string path = (folder / "data.tsv").string();
  std::ofstream(path, std::ios::binary) << text;

  data::DataConfig config;
  config.train = {path};
  data::DataConfig packed;
  packed.train = {(folder / "data.sluice").string()};
  auto features = data::FitFeatures(config, {}, true);
  SLUICE_CHECK(features.ok(), "{}", features.status().message());
  {
    auto source = data::OpenSource(config, features.value(), {});
    const auto written = data::Pack(source.value().get(), features.value(), packed.train[0]);
    SLUICE_CHECK(written.ok() && written.value() == lines, "packing lost samples");
  }
  SLUICE_CHECK(Drain(config, features.value(), 0) == lines, "reading lost samples");
  auto packed_features = data::FitFeatures(packed, {}, true);
  SLUICE_CHECK(Drain(packed, packed_features.value(), 0) == lines, "reading packed data lost samples");

  size_t newlines = 0;
  const double scan = Median(repeats, [&] { newlines += SLUICE_DISPATCH(CountNewlines)(text.data(), text.size()); });
  SLUICE_CHECK(newlines == static_cast<size_t>(lines) * static_cast<size_t>(repeats), "miscounted");
  std::printf("instruction set %s, %.0f bytes a line\n", IsaName(BestIsa()),
              static_cast<double>(text.size()) / static_cast<double>(lines));
  std::printf("%-34s %10s %14s %10s %8s\n", "", "MB/s", "samples/s", "ns/sample", "of read");
  const auto row = [&](const char* name, double seconds, bool samples) {
    std::printf("%-34s %10.0f %14.0f %10.0f %7.1f%%\n", name, static_cast<double>(text.size()) / seconds * 1e-6,
                samples ? static_cast<double>(lines) / seconds : 0.0, seconds / static_cast<double>(lines) * 1e9,
                scan / seconds * 100);
  };
  row("read memory (count newlines)", scan, false);
  row("criteo text, no reader thread", Median(repeats, [&] { Drain(config, features.value(), 0); }), true);
  row("criteo text, 1 reader thread", Median(repeats, [&] { Drain(config, features.value(), 1); }), true);
  row("criteo text, 2 reader threads", Median(repeats, [&] { Drain(config, features.value(), 2); }), true);
  row("packed, no reader thread", Median(repeats, [&] { Drain(packed, packed_features.value(), 0); }), true);
  std::filesystem::remove_all(folder);
  return 0;
}
