#include "base/output_file.h"

#include <filesystem>

#include <gtest/gtest.h>
#include <unistd.h>

namespace sluice {
namespace {

namespace fs = std::filesystem;

class OutputFileTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(MakeFolders(folder_).ok()); }
  void TearDown() override { fs::remove_all(folder_); }
  ptrdiff_t FilesInFolder() const { return std::distance(fs::directory_iterator(folder_), fs::directory_iterator()); }

  const std::string folder_ = testing::TempDir() + "output_file_test." + std::to_string(::getpid());
  const std::string path_ = folder_ + "/out";
};

TEST_F(OutputFileTest, ComesIntoBeingWhenItIsFinished) {
  OutputFile file;
  ASSERT_TRUE(file.Open(path_).ok());
  ASSERT_TRUE(file.Write("a line\n").ok());
  EXPECT_FALSE(fs::exists(path_));
  ASSERT_TRUE(file.Finish().ok());
  EXPECT_EQ(ReadWholeFile(path_).value(), "a line\n");
  EXPECT_EQ(FilesInFolder(), 1);
}

TEST_F(OutputFileTest, WhatIsNotFinishedLeavesNoTrace) {
  ASSERT_TRUE(WriteFileAtomically(path_, "old").ok());
  {
    OutputFile file;
    ASSERT_TRUE(file.Open(path_).ok());
    ASSERT_TRUE(file.Write("new").ok());
  }
  EXPECT_EQ(ReadWholeFile(path_).value(), "old");
  EXPECT_EQ(FilesInFolder(), 1);
}

TEST_F(OutputFileTest, AFolderIsRefusedByName) {
  OutputFile file;
  const Status status = file.Open(folder_);
  EXPECT_EQ(status.code(), StatusCode::kIo);
  EXPECT_NE(status.message().find(folder_), std::string::npos);
}

}  // namespace
}  // namespace sluice
