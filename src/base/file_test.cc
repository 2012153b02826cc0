#include "base/file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

namespace sluice {
namespace {

namespace fs = std::filesystem;

class FileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = ::testing::TempDir() + "sluice_file_" + std::to_string(::getpid());
    ASSERT_TRUE(MakeFolders(folder_ + "/a/b").ok());
    path_ = folder_ + "/file";
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string folder_, path_;
};

TEST_F(FileTest, WritesOfAnySizeArriveInOrder) {
  std::string expected;
  FileWriter writer;
  ASSERT_TRUE(writer.Open(path_).ok());
  for (const size_t size : {0, 1, 100, (1 << 20) - 102, 1, 1, 3 << 20, 5, 1 << 20}) {
    const std::string part(size, static_cast<char>('a' + expected.size() % 26));
    ASSERT_TRUE(writer.Write(part).ok());
    expected += part;
  }
  EXPECT_EQ(writer.bytes_written(), static_cast<int64_t>(expected.size()));
  ASSERT_TRUE(writer.Finish().ok());
  EXPECT_TRUE(ReadWholeFile(path_).value() == expected);
  ASSERT_TRUE(writer.Open(path_, true).ok());
  ASSERT_TRUE(writer.Write("more").ok());
  ASSERT_TRUE(writer.Finish().ok());
  EXPECT_TRUE(ReadWholeFile(path_).value() == expected + "more");
  ASSERT_TRUE(writer.Open(path_).ok());  // the object can be used again; the file is cut
  ASSERT_TRUE(writer.Finish().ok());
  EXPECT_EQ(ReadWholeFile(path_).value(), "");
}

TEST_F(FileTest, ErrorsNameTheFileAndStay) {
  FileWriter writer;
  EXPECT_EQ(writer.Open(folder_ + "/none/x").code(), StatusCode::kIo);
  FileWriter full;
  ASSERT_TRUE(full.Open("/dev/full").ok());
  ASSERT_TRUE(full.Write("x").ok());
  const Status status = full.Flush();
  EXPECT_EQ(status.code(), StatusCode::kIo);
  EXPECT_NE(status.message().find("/dev/full"), std::string::npos) << status.message();
  EXPECT_EQ(full.Write("y").message(), status.message());
  EXPECT_EQ(full.Finish().message(), status.message());
  EXPECT_EQ(ReadWholeFile(path_).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(ReadWholeFile(folder_).status().code(), StatusCode::kIo);
}

TEST_F(FileTest, ReadsAtOffsetsAndSaysWhereAFileEnds) {
  ASSERT_TRUE(WriteFileAtomically(path_, "0123456789").ok());
  const FileReader reader = FileReader::Open(path_).value();
  EXPECT_EQ(reader.size(), 10);
  std::byte bytes[4];
  ASSERT_TRUE(reader.ReadAt(3, bytes).ok());
  EXPECT_EQ(static_cast<char>(bytes[0]), '3');
  const Status status = reader.ReadAt(8, bytes);
  EXPECT_EQ(status.code(), StatusCode::kDataLoss);
  EXPECT_NE(status.message().find(path_), std::string::npos) << status.message();
}

TEST_F(FileTest, AtomicWriteReplacesOrLeaves) {
  ASSERT_TRUE(WriteFileAtomically(path_, "old").ok());
  ASSERT_TRUE(WriteFileAtomically(path_, "new").ok());
  EXPECT_EQ(ReadWholeFile(path_).value(), "new");
  EXPECT_FALSE(WriteFileAtomically(folder_ + "/a", "x").ok());  // a folder is in its place
  EXPECT_TRUE(fs::is_directory(folder_ + "/a/b"));
  EXPECT_FALSE(fs::exists(folder_ + "/a.tmp"));
}

TEST_F(FileTest, FoldersAreMadeAndSynced) {
  EXPECT_TRUE(SyncFolder(folder_).ok());
  EXPECT_EQ(SyncFolder(folder_ + "/none").code(), StatusCode::kIo);
  ASSERT_TRUE(WriteFileAtomically(path_, "x").ok());
  EXPECT_EQ(MakeFolders(path_ + "/below").code(), StatusCode::kIo);
}

TEST_F(FileTest, DevicesAndPipesAreWrittenNeverReplaced) {
  EXPECT_TRUE(WriteFileAtomically("/dev/null", "x").ok());
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
  EXPECT_FALSE(WriteFileAtomically("/dev/full", "x").ok());
  EXPECT_TRUE(fs::is_character_file("/dev/full"));
}

TEST_F(FileTest, ALinkStaysALink) {
  ASSERT_TRUE(WriteFileAtomically(path_, "old").ok());
  fs::create_symlink(path_, folder_ + "/link");
  ASSERT_TRUE(WriteFileAtomically(folder_ + "/link", "new").ok());
  EXPECT_TRUE(fs::is_symlink(folder_ + "/link"));
  EXPECT_EQ(ReadWholeFile(path_).value(), "new");
}

TEST_F(FileTest, WhatIsDiscardedLeavesTheOldFile) {
  ASSERT_TRUE(WriteFileAtomically(path_, "old").ok());
  const WritePlace place(path_);
  EXPECT_FALSE(place.in_place());
  FileWriter writer;
  ASSERT_TRUE(writer.Open(place.beside).ok());
  ASSERT_TRUE(writer.Write("new").ok());
  ASSERT_TRUE(writer.Finish().ok());
  EXPECT_EQ(ReadWholeFile(path_).value(), "old");
  place.Discard();
  EXPECT_EQ(ReadWholeFile(path_).value(), "old");
  EXPECT_FALSE(fs::exists(place.beside));
}

}  // namespace
}  // namespace sluice
