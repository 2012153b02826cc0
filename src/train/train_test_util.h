#pragma once

#include <gtest/gtest.h>

#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/log.h"
#include "data/synth.h"
#include "train/api.h"

namespace sluice::train {

// A folder with a synthetic Criteo file, for tests that train. Made once per process, removed at its end.
class TrainTest : public ::testing::Test {
 protected:
  static std::string Folder() {
    static const Workplace place;
    return place.path.string();
  }
  static std::string Data() { return Folder() + "/data.tsv"; }
  std::string NewRun() {
    static int runs = 0;
    return Folder() + "/run" + std::to_string(runs++);
  }

  // DeepFM, small, on the file's head with its tail held out.
  static RunConfig Config() {
    RunConfig config;
    config.data.train = {Data()};
    config.data.format = "criteo";
    config.data.split.kind = "tail";
    config.model.dim = 4;
    config.model.mlp = {16};
    config.train.batch_size = 256;
    config.threads = 2;
    config.train.overlap = "true";
    config.log.every_seconds = 1000;
    return config;
  }

  static TrainReport MustTrain(const RunConfig& config, const std::string& run) {
    auto report = Train(config, {.run_dir = run, .quiet = true});
    EXPECT_TRUE(report.ok()) << report.status().message();
    return report.ok() ? *report : TrainReport{};
  }
  static std::string DigestOf(const std::string& path) {
    auto digest = Inspect({.checkpoint = path, .digest = true});
    EXPECT_TRUE(digest.ok()) << digest.status().message();
    return digest.ok() ? *digest : "";
  }
  std::string TrainDigest(const RunConfig& config) {
    const std::string run = NewRun();
    MustTrain(config, run);
    return DigestOf(run);
  }

 private:
  struct Workplace {
    std::filesystem::path path;
    // In memory where there is room: hundreds of small checkpoints wait longer for a disk than they take to make.
    static std::filesystem::path Temporary() {
      std::error_code error;
      const auto memory = std::filesystem::space("/dev/shm", error);
      const bool roomy = !error && memory.available > (uintmax_t{1} << 30) && ::access("/dev/shm", W_OK) == 0;
      return roomy && std::getenv("TMPDIR") == nullptr ? "/dev/shm" : std::filesystem::temp_directory_path();
    }
    Workplace() {
      InitLogging(true);
      path = Temporary() / ("sluice-train-test-" + std::to_string(::getpid()));
      std::filesystem::create_directories(path);
      data::SynthConfig synth;
      synth.output = (path / "data.tsv").string();
      synth.samples = 12000;
      synth.rows = 2000;
      synth.report = false;
      const auto report = data::Synthesize(synth);
      EXPECT_TRUE(report.ok()) << report.status().message();
    }
    ~Workplace() { std::filesystem::remove_all(path); }
  };
};

}  // namespace sluice::train
