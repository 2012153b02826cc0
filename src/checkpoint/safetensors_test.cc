#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "base/file.h"
#include "checkpoint/safetensors_reader.h"
#include "checkpoint/safetensors_writer.h"

namespace sluice::checkpoint {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

template <class T>
std::vector<T> Values(const SafetensorsReader& reader, const std::string& tensor) {
  const std::vector<std::byte> bytes = reader.Read(tensor).value();
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!bytes.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

class SafetensorsTest : public ::testing::Test {
 protected:
  void SetUp() override { path_ = ::testing::TempDir() + "sluice_" + std::to_string(::getpid()) + ".safetensors"; }
  void TearDown() override { fs::remove(path_); }
  std::string path_;
};

TEST_F(SafetensorsTest, TensorsAreFilledInAnyInterleaving) {
  constexpr int64_t kRows = 50000, kDim = 3;
  auto writer = SafetensorsWriter::Create(path_,
                                          {{"dense.bias", DType::kF32, {1}},
                                           {"table.C1.weights", DType::kF32, {kRows, kDim}},
                                           {"table.C1.keys", DType::kU64, {kRows}},
                                           {"empty", DType::kF64, {0, 4}},
                                           {"scalar", DType::kI64, {}}},
                                          {{"format", "sluice"}})
                    .value();
  EXPECT_FALSE(fs::exists(path_));
  std::vector<uint64_t> keys;
  std::vector<float> weights;
  for (int64_t row = 0; row < kRows; ++row) {
    keys.push_back(0xffff000000000000ULL + static_cast<uint64_t>(row));
    const float values[kDim] = {static_cast<float>(row), 0.5f, -static_cast<float>(row)};
    weights.insert(weights.end(), values, values + kDim);
    ASSERT_TRUE(writer->Append(2, std::span<const uint64_t>(&keys.back(), 1)).ok());
    ASSERT_TRUE(writer->Append(1, std::span<const float>(values)).ok());
  }
  const float bias = 0.25f;
  const int64_t scalar = -7;
  ASSERT_TRUE(writer->Append(0, std::span(&bias, 1)).ok());
  ASSERT_TRUE(writer->Append(4, std::span(&scalar, 1)).ok());
  ASSERT_TRUE(writer->Finish().ok());

  const SafetensorsReader reader = SafetensorsReader::Open(path_).value();
  EXPECT_EQ(reader.header().tensors.size(), 5u);
  EXPECT_EQ(reader.header().metadata.at("format"), "sluice");
  EXPECT_EQ(reader.header().tensors.at("table.C1.weights").info.shape, (std::vector<int64_t>{kRows, kDim}));
  EXPECT_EQ(Values<uint64_t>(reader, "table.C1.keys"), keys);
  EXPECT_EQ(Values<float>(reader, "table.C1.weights"), weights);
  EXPECT_EQ(Values<float>(reader, "dense.bias"), std::vector<float>{0.25f});
  EXPECT_EQ(Values<int64_t>(reader, "scalar"), std::vector<int64_t>{-7});
  EXPECT_EQ(Values<double>(reader, "empty").size(), 0u);
  EXPECT_EQ(reader.Read("other").status().code(), StatusCode::kNotFound);
  for (const auto& [name, tensor] : reader.header().tensors)
    EXPECT_EQ(tensor.begin % SizeOf(tensor.info.dtype), 0) << name;
  EXPECT_FALSE(fs::exists(path_ + ".tmp"));
}

TEST_F(SafetensorsTest, UnfinishedFileLeavesTheOldOne) {
  ASSERT_TRUE(WriteFileAtomically(path_, "old").ok());
  {
    auto writer = SafetensorsWriter::Create(path_, {{"a", DType::kF32, {10}}}).value();
    const float value = 1;
    ASSERT_TRUE(writer->Append(0, std::span(&value, 1)).ok());
  }
  EXPECT_EQ(ReadWholeFile(path_).value(), "old");
  EXPECT_FALSE(fs::exists(path_ + ".tmp"));
}

TEST_F(SafetensorsTest, BadRequestsAreErrors) {
  EXPECT_EQ(SafetensorsWriter::Create(path_, {{"a", DType::kF32, {1}}, {"a", DType::kF32, {1}}}).status().code(),
            StatusCode::kInvalidArgument);
  const Status status = SafetensorsWriter::Create("/proc/nowhere/x.safetensors", {}).status();
  EXPECT_EQ(status.code(), StatusCode::kIo);
  EXPECT_THAT(status.message(), HasSubstr("/proc/nowhere/x.safetensors"));
}

TEST_F(SafetensorsTest, DamagedHeadersAreNamed) {
  const auto wrong = [](const char* json, int64_t data_size) {
    const auto header = ParseSafetensorsHeader(json, data_size, "f");
    return header.ok() ? std::string("ok") : header.status().message();
  };
  EXPECT_EQ(wrong(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8), "ok");
  EXPECT_THAT(wrong("[]", 0), HasSubstr("not a JSON object"));
  EXPECT_THAT(wrong("{", 0), HasSubstr("not a JSON object"));
  EXPECT_THAT(wrong(R"({"a":1})", 0), HasSubstr("tensor a"));
  EXPECT_THAT(wrong(R"({"a":{"dtype":"F8","shape":[2],"data_offsets":[0,8]}})", 8), HasSubstr("element type"));
  EXPECT_THAT(wrong(R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 8), HasSubstr("shape"));
  EXPECT_THAT(wrong(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8), HasSubstr("does not fit"));
  EXPECT_THAT(wrong(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 7), HasSubstr("outside"));
  EXPECT_THAT(wrong(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8), HasSubstr("outside"));
  EXPECT_THAT(wrong(R"({"a":{"dtype":"F64","shape":[4611686018427387904,8],"data_offsets":[0,0]}})", 8),
              HasSubstr("does not fit"));
  EXPECT_THAT(wrong(R"({"__metadata__":{"x":1}})", 0), HasSubstr("metadata `x`"));
}

TEST_F(SafetensorsTest, CutFilesAreDamaged) {
  auto writer = SafetensorsWriter::Create(path_, {{"a", DType::kF32, {2}}}).value();
  const float values[2] = {1, 2};
  ASSERT_TRUE(writer->Append(0, std::span<const float>(values)).ok());
  ASSERT_TRUE(writer->Finish().ok());
  for (auto size = static_cast<int64_t>(fs::file_size(path_)) - 1; size >= 0; --size) {
    fs::resize_file(path_, static_cast<uintmax_t>(size));
    EXPECT_EQ(SafetensorsReader::Open(path_).status().code(), StatusCode::kDataLoss) << size;
  }
}

}  // namespace
}  // namespace sluice::checkpoint
