#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/file.h"
#include "base/rng.h"
#include "base/simd.h"
#include "checkpoint/checkpoint_folder.h"
#include "checkpoint/checkpoint_reader.h"
#include "checkpoint/checkpoint_writer.h"

namespace sluice::checkpoint {
namespace {

namespace fs = std::filesystem;

std::vector<std::byte> RandomBytes(size_t size, uint64_t seed) {
  std::vector<std::byte> bytes(size);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(CounterRng(seed, 1).Bits(i));
  return bytes;
}

class CheckpointTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = ::testing::TempDir() + "sluice_checkpoint_" + std::to_string(::getpid());
    fs::remove_all(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  // One file with three sections, of which one is empty.
  Result<std::string> Write(int64_t step, uint64_t seed = 1, size_t size = 3000) {
    SLUICE_ASSIGN_OR_RETURN(auto writer, CheckpointWriter::Create(folder_, step));
    SLUICE_ASSIGN_OR_RETURN(SectionWriter* const file, writer->OpenFile("model"));
    SLUICE_RETURN_IF_ERROR(file->Put("dense/weights", RandomBytes(size, seed)));
    SLUICE_RETURN_IF_ERROR(file->Put("dense/empty", {}));
    SLUICE_RETURN_IF_ERROR(file->Put("table/0", RandomBytes(77, seed + 1)));
    return writer->Commit({{"schema", "a b c"}});
  }
  std::vector<int64_t> Steps() {
    std::vector<int64_t> steps;
    for (const auto& checkpoint : ListCheckpoints(folder_).value()) steps.push_back(checkpoint.step);
    return steps;
  }
  std::vector<std::string> Names() {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_)) names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    return names;
  }
  static void FlipBit(const std::string& path, int64_t offset) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(offset);
    const char c = static_cast<char>(file.get() ^ 4);
    file.seekp(offset);
    file.put(c);
    ASSERT_TRUE(file.good());
  }

  std::string folder_;
};

TEST_F(CheckpointTest, ReadsWhatWasWritten) {
  const auto path = Write(123);
  ASSERT_TRUE(path.ok()) << path.status().message();
  EXPECT_EQ(path.value(), folder_ + "/step-000000123");
  EXPECT_EQ(Names(), std::vector<std::string>{"step-000000123"});

  const auto reader = CheckpointReader::Open(path.value());
  ASSERT_TRUE(reader.ok()) << reader.status().message();
  EXPECT_EQ(reader.value()->manifest().step, 123);
  EXPECT_EQ(reader.value()->manifest().processor, ProcessorName());
  EXPECT_EQ(reader.value()->Value("schema").value(), "a b c");
  EXPECT_EQ(reader.value()->Value("other").status().code(), StatusCode::kDataLoss);
  EXPECT_EQ(reader.value()->Names("dense/"), (std::vector<std::string>{"dense/empty", "dense/weights"}));
  EXPECT_EQ(reader.value()->Names("").size(), 3u);
  EXPECT_EQ(reader.value()->Names("dense/x").size(), 0u);
  EXPECT_EQ(reader.value()->Read("dense/weights").value(), RandomBytes(3000, 1));
  EXPECT_EQ(reader.value()->Read("dense/empty").value().size(), 0u);
  EXPECT_EQ(reader.value()->Read("table/0").value(), RandomBytes(77, 2));
  const Status missing = reader.value()->Read("table/1").status();
  EXPECT_EQ(missing.code(), StatusCode::kNotFound);
  EXPECT_NE(missing.message().find("table/1"), std::string::npos);
}

TEST_F(CheckpointTest, FilesAreWrittenInParallel) {
  constexpr int kFiles = 4, kSections = 50;
  auto writer = CheckpointWriter::Create(folder_, 1).value();
  std::vector<std::thread> threads;
  for (int f = 0; f < kFiles; ++f) {
    threads.emplace_back([&writer, f] {
      SectionWriter* file = writer->OpenFile("part" + std::to_string(f)).value();
      for (int s = 0; s < kSections; ++s) {
        const std::string name = "p" + std::to_string(f) + "/" + std::to_string(s);
        const auto bytes = RandomBytes(static_cast<size_t>(s * 1000), static_cast<uint64_t>(f * 100 + s));
        ASSERT_TRUE(file->Begin(name).ok());
        for (size_t at = 0; at < bytes.size(); at += 700)
          ASSERT_TRUE(file->Write(std::span(bytes).subspan(at, std::min<size_t>(700, bytes.size() - at))).ok());
        ASSERT_TRUE(file->End().ok());
      }
    });
  }
  for (auto& thread : threads) thread.join();
  const auto path = writer->Commit({});
  ASSERT_TRUE(path.ok());
  const auto reader = CheckpointReader::Open(path.value()).value();
  EXPECT_EQ(reader->Names("").size(), static_cast<size_t>(kFiles * kSections));
  for (int f = 0; f < kFiles; ++f)
    for (int s = 0; s < kSections; ++s)
      EXPECT_EQ(reader->Read("p" + std::to_string(f) + "/" + std::to_string(s)).value(),
                RandomBytes(static_cast<size_t>(s * 1000), static_cast<uint64_t>(f * 100 + s)));
}

TEST_F(CheckpointTest, WriterWithoutCommitLeavesNothing) {
  ASSERT_TRUE(Write(1).ok());
  {
    auto writer = CheckpointWriter::Create(folder_, 2).value();
    ASSERT_TRUE(writer->OpenFile("model").value()->Put("a", RandomBytes(10, 1)).ok());
    EXPECT_EQ(Steps(), std::vector<int64_t>{1});
  }
  EXPECT_EQ(Names(), std::vector<std::string>{"step-000000001"});
}

TEST_F(CheckpointTest, SameStepIsReplaced) {
  ASSERT_TRUE(Write(5, 1).ok());
  ASSERT_TRUE(Write(5, 9).ok());
  EXPECT_EQ(Names(), std::vector<std::string>{"step-000000005"});
  EXPECT_EQ(CheckpointReader::Open(folder_ + "/step-000000005").value()->Read("dense/weights").value(),
            RandomBytes(3000, 9));
}

TEST_F(CheckpointTest, KeepsTheLast) {
  for (int64_t step : {3, 20, 100}) ASSERT_TRUE(Write(step).ok());
  ASSERT_TRUE(KeepLast(folder_, 0).ok());
  EXPECT_EQ(Steps(), (std::vector<int64_t>{3, 20, 100}));
  ASSERT_TRUE(KeepLast(folder_, 2).ok());
  EXPECT_EQ(Names(), (std::vector<std::string>{"step-000000020", "step-000000100"}));
  ASSERT_TRUE(KeepLast(folder_, 5).ok());
  EXPECT_EQ(LatestCheckpoint(folder_).value()->step, 100);
}

TEST_F(CheckpointTest, TornAndForeignFoldersAreNoCheckpoints) {
  EXPECT_TRUE(ListCheckpoints(folder_ + "/missing").value().empty());
  ASSERT_TRUE(Write(7).ok());
  fs::create_directory(folder_ + "/step-000000008");                                            // no manifest
  fs::create_directory(folder_ + "/step-x");                                                    // no step
  fs::create_directory(folder_ + "/photos");                                                    // foreign
  fs::copy(folder_ + "/step-000000007", folder_ + "/step-000000009");                           // of another step
  fs::copy(folder_ + "/step-000000007", folder_ + "/step-7");                                   // misnamed
  fs::copy(folder_ + "/step-000000007", folder_ + "/.tmp-step-000000010-1");                    // never renamed
  fs::copy(folder_ + "/step-000000007", folder_ + "/step-000000011");                           // cut short
  fs::resize_file(folder_ + "/step-000000011/model.bin", 3000);
  fs::copy(folder_ + "/step-000000007", folder_ + "/step-000000012");                           // a file is missing
  fs::remove(folder_ + "/step-000000012/model.bin");
  std::ofstream(folder_ + "/step-000000013") << "a file";
  EXPECT_EQ(Steps(), std::vector<int64_t>{7});
}

TEST_F(CheckpointTest, LeftoversOfDeadWritersAreRemovedAndLivingOnesKept) {
  ASSERT_TRUE(Write(7).ok());
  fs::copy(folder_ + "/step-000000007", folder_ + "/.tmp-step-000000008-99999");
  auto living = CheckpointWriter::Create(folder_, 9).value();
  ASSERT_TRUE(living->OpenFile("model").ok());
  ASSERT_TRUE(RemoveLeftovers(folder_).ok());
  EXPECT_EQ(Names(), (std::vector<std::string>{".tmp-step-000000009-" + std::to_string(::getpid()), "step-000000007"}));
  EXPECT_TRUE(living->Commit({}).ok());
  EXPECT_EQ(Steps(), (std::vector<int64_t>{7, 9}));
  EXPECT_TRUE(RemoveLeftovers(folder_ + "/missing").ok());
}

TEST_F(CheckpointTest, FlippedBitsNameFileAndSection) {
  const std::string path = Write(1).value();
  FlipBit(path + "/model.bin", 3020);
  const auto reader = CheckpointReader::Open(path).value();
  EXPECT_TRUE(reader->Read("dense/weights").ok());
  const Status status = reader->Read("table/0").status();
  EXPECT_EQ(status.code(), StatusCode::kDataLoss);
  EXPECT_NE(status.message().find("model.bin"), std::string::npos) << status.message();
  EXPECT_NE(status.message().find("table/0"), std::string::npos) << status.message();
}

TEST_F(CheckpointTest, FlippedBitAnywhereInTheManifestIsFound) {
  const std::string path = Write(1).value(), manifest = path + "/" + kManifestName;
  const std::string sound = ReadWholeFile(manifest).value();
  for (size_t i = 0; i < sound.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string text = sound;
      text[i] = static_cast<char>(text[i] ^ (1 << bit));
      const auto parsed = ParseManifest(text, manifest);
      if (parsed.ok()) {
        // A flip that changes no value: between two kinds of white space, or between two cases of a digit.
        EXPECT_EQ(SerialiseManifest(parsed.value()), sound) << "byte " << i << " bit " << bit;
      } else {
        EXPECT_EQ(parsed.status().code(), StatusCode::kDataLoss);
        EXPECT_NE(parsed.status().message().find(manifest), std::string::npos);
      }
    }
  }
}

TEST_F(CheckpointTest, CutManifestIsDamaged) {
  const std::string path = Write(1).value();
  const std::string sound = ReadWholeFile(path + "/" + kManifestName).value();
  for (size_t size = 0; size + 1 < sound.size(); ++size)
    EXPECT_FALSE(ParseManifest(std::string_view(sound).substr(0, size), path).ok()) << size;
}

TEST_F(CheckpointTest, OtherFormatVersionIsNamed) {
  Manifest manifest;
  manifest.format_version = 99;
  const Status status = ParseManifest(SerialiseManifest(manifest), "x/manifest.json").status();
  EXPECT_EQ(status.code(), StatusCode::kDataLoss);
  EXPECT_NE(status.message().find("format 99"), std::string::npos) << status.message();
}

TEST_F(CheckpointTest, ManifestCannotReachOutOfItsFolder) {
  for (const char* file : {"../other.bin", "/etc/passwd", "", ".hidden", "a/b"}) {
    Manifest manifest;
    manifest.sections["s"] = {file, 0, 1, 0};
    const Status status = ParseManifest(SerialiseManifest(manifest), "m").status();
    EXPECT_EQ(status.code(), StatusCode::kDataLoss) << file;
    EXPECT_NE(status.message().find("section s"), std::string::npos) << status.message();
  }
}

TEST_F(CheckpointTest, FindsWhatTheUserMeans) {
  const std::string path = Write(4).value();
  ASSERT_TRUE(Write(6).ok());
  EXPECT_EQ(FindCheckpoint(path).value(), path);
  EXPECT_EQ(FindCheckpoint(folder_).value(), folder_ + "/step-000000006");
  fs::create_directories(folder_ + "/run/checkpoints");
  fs::copy(folder_ + "/step-000000004", folder_ + "/run/checkpoints/step-000000004", fs::copy_options::recursive);
  EXPECT_EQ(FindCheckpoint(folder_ + "/run").value(), folder_ + "/run/checkpoints/step-000000004");
  EXPECT_EQ(FindCheckpoint(folder_ + "/none").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(FindCheckpoint(path + "/model.bin").status().code(), StatusCode::kNotFound);
  fs::create_directories(folder_ + "/bare");
  EXPECT_EQ(FindCheckpoint(folder_ + "/bare").status().code(), StatusCode::kNotFound);
  fs::remove(path + "/model.bin");
  EXPECT_EQ(FindCheckpoint(path).status().code(), StatusCode::kDataLoss);
}

// Files of this process cannot grow beyond the limit while it lives; a write beyond it fails as on a full disk.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  void (*handler_)(int);
};

TEST_F(CheckpointTest, FullDiskKeepsTheLastGoodOne) {
  ASSERT_TRUE(Write(1).ok());
  {
    const FileSizeLimit limit(1 << 20);
    const Status status = Write(2, 2, 5 << 20).status();
    EXPECT_EQ(status.code(), StatusCode::kIo);
    EXPECT_NE(status.message().find("model.bin"), std::string::npos) << status.message();
  }
  {
    const FileSizeLimit limit(2000);  // fails only when the buffer is flushed
    EXPECT_EQ(Write(2).status().code(), StatusCode::kIo);
  }
  EXPECT_EQ(Names(), std::vector<std::string>{"step-000000001"});
  EXPECT_EQ(CheckpointReader::Open(FindCheckpoint(folder_).value()).value()->Read("dense/weights").value(),
            RandomBytes(3000, 1));
}

TEST_F(CheckpointTest, UnwritablePlaceIsNamed) {
  const Status status = CheckpointWriter::Create("/proc/nowhere", 1).status();
  EXPECT_EQ(status.code(), StatusCode::kIo);
  EXPECT_NE(status.message().find("/proc/nowhere"), std::string::npos) << status.message();
  ASSERT_TRUE(MakeFolders(folder_).ok());
  std::ofstream(folder_ + "/file") << "x";
  EXPECT_EQ(CheckpointWriter::Create(folder_ + "/file", 1).status().code(), StatusCode::kIo);
}

}  // namespace
}  // namespace sluice::checkpoint
