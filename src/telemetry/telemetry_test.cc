#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "telemetry/event_file.h"
#include "telemetry/metrics_file.h"
#include "telemetry/progress.h"
#include "telemetry/resource.h"
#include "telemetry/run_log.h"

namespace sluice::telemetry {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class ProgressTest : public ::testing::Test {
 protected:
  ProgressOptions Options(bool live) {
    return {.write = [this](const std::string& text) { output_.push_back(text); },
            .clock = [this] { return now_; },
            .live = live,
            .columns = 200};
  }
  std::vector<std::string> output_;
  double now_ = 1000;
};

TEST_F(ProgressTest, OffATerminalOneStructuredLinePerInterval) {
  Progress progress(Options(false));
  for (int i = 0; i <= 25; ++i, now_ += 1)
    progress.Update({.step = i, .samples = i * 1000, .fraction = i / 100.0, .loss = 0.5, .auc = 0.75,
                     .bytes_per_sample = {{"read", 120}}});
  EXPECT_THAT(output_, ElementsAre("phase=train step=10 samples=10000 fraction=0.1000 samples_per_s=1000 loss=0.5 "
                                   "auc_approximate=0.75000 read_bytes_per_sample=120.0 eta_s=90\n",
                                   "phase=train step=20 samples=20000 fraction=0.2000 samples_per_s=1000 loss=0.5 "
                                   "auc_approximate=0.75000 read_bytes_per_sample=120.0 eta_s=80\n"));
  EXPECT_FALSE(progress.Due());
}

TEST_F(ProgressTest, OnATerminalTheLineIsRedrawn) {
  Progress progress(Options(true));
  progress.Update({.step = 1, .samples = 1000});
  now_ += 0.1;
  progress.Update({.step = 2, .samples = 2000});
  EXPECT_TRUE(output_.empty());
  now_ += 0.1;
  progress.Update({.step = 3, .samples = 3000, .fraction = 0.5, .loss = 0.4321, .auc = 0.7});
  ASSERT_EQ(output_.size(), 1u);
  EXPECT_EQ(output_[0], "\r\x1b[Ktrain  step 3  3 k samples  50.0%  10 k samples/s  loss 0.4321  AUC ~0.7000  ETA 0.2s");
  progress.Clear();
  EXPECT_EQ(output_.back(), "\r\x1b[K");
  progress.Finish({.step = 4, .samples = 4000});
  EXPECT_THAT(output_.back(), HasSubstr("step 4"));
  EXPECT_EQ(output_.back().back(), '\n');
}

TEST_F(ProgressTest, LiveLineFitsTheTerminal) {
  ProgressOptions options = Options(true);
  options.columns = 20;
  Progress progress(options);
  progress.Finish({.step = 123456789, .samples = 1000000000, .loss = 1});
  EXPECT_EQ(output_.at(0).size(), 4 + 19 + 1u);
}

TEST_F(ProgressTest, LastLineGivesTheRateOfThePhase) {
  Progress progress(Options(false));
  progress.Update({.samples = 500});
  now_ += 15;
  progress.Update({.samples = 1000});
  now_ += 5;
  progress.Finish({.samples = 2500});
  EXPECT_THAT(output_.back(), HasSubstr("samples_per_s=100"));
  progress.Update({.phase = "eval", .samples = 100});  // a new phase starts its own clock
  now_ += 10;
  progress.Finish({.phase = "eval", .samples = 600});
  EXPECT_THAT(output_.back(), HasSubstr("phase=eval samples=600 samples_per_s=50"));
}

TEST_F(ProgressTest, QuietShowsNothing) {
  ProgressOptions options = Options(true);
  options.quiet = true;
  Progress progress(options);
  progress.Finish({.samples = 1});
  EXPECT_FALSE(progress.Due());
  EXPECT_TRUE(output_.empty());
}

TEST(HumanTest, NumbersAreShort) {
  EXPECT_EQ(HumanCount(999), "999");
  EXPECT_EQ(HumanCount(45678), "45.7 k");
  EXPECT_EQ(HumanCount(1234567), "1.23 M");
  EXPECT_EQ(HumanCount(4.5e9), "4.5 G");
  EXPECT_EQ(HumanDuration(5.62), "5.6s");
  EXPECT_EQ(HumanDuration(184), "3m04s");
  EXPECT_EQ(HumanDuration(3725), "1h02m");
  EXPECT_EQ(HumanBytes(512), "512 B");
  EXPECT_EQ(HumanBytes(1.5 * 1024 * 1024 * 1024), "1.5 GiB");
}

class RunFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = ::testing::TempDir() + "sluice_telemetry_" + std::to_string(::getpid());
    ASSERT_TRUE(MakeFolders(folder_).ok());
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string folder_;
};

TEST_F(RunFileTest, LogHasOneObjectPerLine) {
  RunLog log;
  ASSERT_TRUE(log.Open(folder_ + "/train.jsonl").ok());
  ASSERT_TRUE(log.Write({.step = 1, .samples = 64, .values = {{"loss", 0.5}, {"auc", NAN}}}).ok());
  EXPECT_EQ(ReadWholeFile(folder_ + "/train.jsonl").value(),
            "{\"event\":\"step\",\"step\":1,\"samples\":64,\"loss\":0.5,\"auc\":null}\n");  // there without Close
  ASSERT_TRUE(log.Write({.event = "eval", .step = 2, .samples = 128}).ok());
  ASSERT_TRUE(log.Close().ok());
  EXPECT_THAT(ReadWholeFile(folder_ + "/train.jsonl").value(), HasSubstr("\"event\":\"eval\""));
}

TEST_F(RunFileTest, ResumedLogDropsWhatTheCheckpointDoesNotKnow) {
  const std::string path = folder_ + "/train.jsonl";
  {
    RunLog log;
    ASSERT_TRUE(log.Open(path).ok());
    for (int64_t step : {1, 2, 3, 4}) ASSERT_TRUE(log.Write({.step = step}).ok());
  }
  std::ofstream(path, std::ios::app) << "{\"event\":\"step\",\"st";  // killed in the middle of a line
  RunLog log;
  ASSERT_TRUE(log.Open(path, 2).ok());
  ASSERT_TRUE(log.Write({.step = 3, .samples = 9}).ok());
  ASSERT_TRUE(log.Close().ok());
  EXPECT_EQ(ReadWholeFile(path).value(),
            "{\"event\":\"step\",\"step\":1,\"samples\":0}\n{\"event\":\"step\",\"step\":2,\"samples\":0}\n"
            "{\"event\":\"step\",\"step\":3,\"samples\":9}\n");
  RunLog fresh;
  ASSERT_TRUE(fresh.Open(folder_ + "/other.jsonl", 7).ok());  // nothing there to go on with
}

TEST_F(RunFileTest, LogThatCannotBeWrittenIsAnError) {
  RunLog log;
  EXPECT_EQ(log.Open(folder_ + "/none/train.jsonl").code(), StatusCode::kIo);
  RunLog full;
  ASSERT_TRUE(full.Open("/dev/full").ok());
  const Status status = full.Write({.step = 1});
  EXPECT_EQ(status.code(), StatusCode::kIo);
  EXPECT_THAT(status.message(), HasSubstr("/dev/full"));
}

// The records of an event file, read by hand: length, checksum, message, checksum.
std::vector<std::string> Records(std::string_view file) {
  std::vector<std::string> records;
  while (!file.empty()) {
    uint64_t length = 0;
    uint32_t crc[2];
    std::memcpy(&length, file.data(), 8);
    std::memcpy(&crc[0], file.data() + 8, 4);
    std::memcpy(&crc[1], file.data() + 12 + length, 4);
    const std::string_view parts[2] = {file.substr(0, 8), file.substr(12, length)};
    for (int i = 0; i < 2; ++i) {
      const uint32_t plain = crc[i] - 0xa282ead8u;
      EXPECT_EQ((plain << 15) | (plain >> 17), Crc32c(parts[i]));
    }
    records.emplace_back(parts[1]);
    file.remove_prefix(16 + length);
  }
  return records;
}

TEST_F(RunFileTest, EventFileHoldsTheScalarsOfTheLog) {
  EXPECT_EQ(Crc32c("123456789"), 0xe3069283u);  // the check value of CRC-32C
  RunLog log;
  ASSERT_TRUE(log.Open(folder_ + "/train.jsonl").ok());
  ASSERT_TRUE(log.AddEventFile(folder_, 299).ok());
  ASSERT_TRUE(log.Write({.step = 300, .samples = 64, .values = {{"loss", 0.5}, {"auc", NAN}}}).ok());
  ASSERT_TRUE(log.Write({.step = 301}).ok());
  ASSERT_TRUE(log.Close().ok());
  std::string path;
  for (const auto& entry : std::filesystem::directory_iterator(folder_))
    if (entry.path().filename().string().starts_with("events.out.tfevents.")) path = entry.path();
  const auto records = Records(ReadWholeFile(path).value());
  ASSERT_EQ(records.size(), 3u);
  // After key and 8 bytes of wall time: step 0, then field 3.
  EXPECT_EQ(records[0].substr(9), std::string("\x10\x00\x1a\x0d", 4) + "brain.Event:2");
  // Step 300, and session_log { status: START }.
  EXPECT_EQ(records[1].substr(9), std::string("\x10\xac\x02\x3a\x02\x08\x01", 7));
  // Step 300, summary { value { tag: "step/loss" simple_value: 0.5 } }.
  EXPECT_EQ(records[2].substr(9),
            std::string("\x10\xac\x02\x2a\x12\x0a\x10\x0a\x09", 9) + "step/loss" + std::string("\x15\0\0\0\x3f", 5));
}

TEST_F(RunFileTest, MetricsFileHasThePromisedMembers) {
  const std::string path = folder_ + "/metrics.json";
  ASSERT_TRUE(WriteMetricsFile(path, {.auc = 0.75, .samples = 10, .samples_per_s = 5, .peak_rss_bytes = 1 << 20,
                                      .wall_s = 2, .bytes_per_sample = {{"read", 3.5}}, .others = {{"steps", 4}}})
                  .ok());
  const auto json = nlohmann::json::parse(ReadWholeFile(path).value());
  for (const char* name : {"auc", "logloss", "ne", "calibration", "samples", "samples_per_s", "peak_rss_bytes", "wall_s",
                           "bytes_per_sample"})
    EXPECT_TRUE(json.contains(name)) << name;
  EXPECT_EQ(json["auc"], 0.75);
  EXPECT_TRUE(json["logloss"].is_null());
  EXPECT_EQ(json["bytes_per_sample"]["read"], 3.5);
  EXPECT_EQ(json["steps"], 4);
  EXPECT_FALSE(std::filesystem::exists(path + ".tmp"));
  EXPECT_EQ(WriteMetricsFile(folder_ + "/none/metrics.json", {}).code(), StatusCode::kIo);
}

TEST(ResourceTest, MemoryAndTimeGrowWithUse) {
  const double cpu = CpuSeconds(), wall = WallSeconds();
  const int64_t rss = RssBytes();
  ASSERT_GT(rss, 0);
  std::vector<char> bytes(64 << 20, 'x');
  EXPECT_GT(RssBytes(), rss + (60 << 20)) << static_cast<int>(bytes[12345]);
  EXPECT_GE(PeakRssBytes(), RssBytes() / 2);
  double sum = 0;
  while (CpuSeconds() < cpu + 0.02) sum += std::sin(sum + 1);
  EXPECT_GT(WallSeconds(), wall) << sum;
}

}  // namespace
}  // namespace sluice::telemetry
