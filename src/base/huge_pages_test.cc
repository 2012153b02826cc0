#include "base/huge_pages.h"

#include <sys/mman.h>
#include <sys/prctl.h>

#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

namespace sluice {
namespace {

// Bytes of huge pages that back [begin, ...), as the kernel tells; -1 where it does not.
int64_t HugeBytesAt(const void* begin) {
  std::ifstream maps("/proc/self/smaps");
  const auto start = reinterpret_cast<uintptr_t>(begin);
  bool inside = false;
  for (std::string line; std::getline(maps, line);) {
    uintptr_t from = 0, to = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &from, &to) == 2) inside = from <= start && start < to;
    if (inside && line.starts_with("AnonHugePages:")) return std::stoll(line.substr(14)) << 10;
  }
  return -1;
}

class HugePagesTest : public testing::Test {
 protected:
  static constexpr size_t kBytes = 4 * kHugePageBytes;
  void SetUp() override {
    map_ = ::mmap(nullptr, kBytes + kHugePageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(map_, MAP_FAILED);
    const auto at = reinterpret_cast<uintptr_t>(map_);
    data_ = reinterpret_cast<char*>((at + kHugePageBytes - 1) / kHugePageBytes * kHugePageBytes);
  }
  void TearDown() override {
    ::munmap(map_, kBytes + kHugePageBytes);
    ::prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
  }
  void Touch() const {
    for (size_t i = 0; i < kBytes; i += 4096) data_[i] = 1;
  }

  void* map_ = nullptr;
  char* data_ = nullptr;
};

TEST_F(HugePagesTest, AreRefusedWhateverIsAdvised) {
  ASSERT_EQ(::prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), 0);
  RefuseHugePages();
  EXPECT_EQ(::prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), 1);
  AdviseHugePages(data_, kBytes);
  Touch();
  EXPECT_LE(HugeBytesAt(data_), 0);
}

TEST_F(HugePagesTest, AreTakenWhereAdvised) {
  std::ifstream setting("/sys/kernel/mm/transparent_hugepage/enabled");
  std::string modes;
  std::getline(setting, modes);
  if (modes.find("[never]") != std::string::npos || modes.empty()) GTEST_SKIP() << "this kernel gives no huge pages";
  AdviseHugePages(data_, kBytes);
  Touch();
  const int64_t bytes = HugeBytesAt(data_);
  if (bytes == 0) GTEST_SKIP() << "no huge page is free";
  EXPECT_GE(bytes, static_cast<int64_t>(kHugePageBytes));
}

}  // namespace
}  // namespace sluice
