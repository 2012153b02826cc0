#include "service/packing.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/rng.h"

namespace sluice::service {
namespace {

std::vector<std::byte> Pack(const std::vector<float>& numbers) {
  std::vector<std::byte> out(static_cast<size_t>(PackedBound(static_cast<int64_t>(numbers.size()))));
  const int64_t bytes = PackFloats(numbers.data(), static_cast<int64_t>(numbers.size()), out.data());
  EXPECT_LE(bytes, static_cast<int64_t>(out.size()));
  out.resize(static_cast<size_t>(bytes));
  return out;
}

void ExpectSameBits(const std::vector<float>& numbers) {
  const auto packed = Pack(numbers);
  std::vector<float> back(numbers.size() + 1, 7.0f);
  ASSERT_EQ(UnpackFloats(packed, static_cast<int64_t>(numbers.size()), back.data()),
            static_cast<int64_t>(packed.size()));
  EXPECT_EQ(back.back(), 7.0f);
  if (numbers.empty()) return;  // no memory to compare
  EXPECT_EQ(std::memcmp(back.data(), numbers.data(), numbers.size() * sizeof(float)), 0) << numbers.size();
}

std::vector<float> Uniform(size_t n, float scale) {
  const CounterRng rng(3, n);
  std::vector<float> numbers(n);
  for (size_t i = 0; i < n; ++i) numbers[i] = scale * static_cast<float>(2 * rng.Uniform(i) - 1);
  return numbers;
}

TEST(PackingTest, EveryLengthComesBackWithTheSameBits) {
  for (size_t n = 0; n < 600; ++n) ExpectSameBits(Uniform(n, 0.1f));
}

// Any 32 bits: zeros of both signs, numbers without a leading 1, infinities, NaN with their payloads.
TEST(PackingTest, AnyBitsComeBack) {
  const CounterRng rng(5, 1);
  std::vector<float> numbers(5000);
  for (size_t i = 0; i < numbers.size(); ++i) {
    uint32_t bits = static_cast<uint32_t>(rng.Below(i, uint64_t{1} << 32));
    if (i % 3 == 1) bits &= 0x807fffffu;
    if (i % 3 == 2) bits |= 0x7f800000u;
    std::memcpy(&numbers[i], &bits, sizeof(bits));
  }
  ExpectSameBits(numbers);
  std::vector<float> some = {0.0f, -0.0f, std::numeric_limits<float>::denorm_min(), 1e-45f, 1e38f, -1e-38f};
  ExpectSameBits(some);
  for (const float x : some) ExpectSameBits(std::vector<float>(300, x));
}

TEST(PackingTest, WeightsTakeSevenEighths) {
  const size_t n = 100000;
  EXPECT_LT(static_cast<double>(Pack(Uniform(n, 0.07f)).size()), 3.52 * static_cast<double>(n));
  auto gradients = Uniform(n, 1e-3f);  // some of them nothing, scales apart by layer
  for (size_t i = 0; i < n; ++i) gradients[i] *= i % 5 == 0 ? 0.0f : i < n / 2 ? 1e-4f : 1.0f;
  EXPECT_LT(static_cast<double>(Pack(gradients).size()), 3.53 * static_cast<double>(n));
}

TEST(PackingTest, WhatIsNoPackingIsRefused) {
  const auto packed = Pack(Uniform(700, 1.0f));
  std::vector<float> out(700);
  for (size_t size = 0; size < packed.size(); ++size)
    EXPECT_EQ(UnpackFloats({packed.data(), size}, 700, out.data()), -1) << size;
  auto bad = packed;
  bad[1] = std::byte{5};  // escapes that no code asks for
  EXPECT_EQ(UnpackFloats(bad, 700, out.data()), -1);
  bad = packed;
  bad[0] = std::byte{0};  // a largest exponent less than the codes' distances
  EXPECT_EQ(UnpackFloats(bad, 700, out.data()), -1);
}

TEST(PackingTest, InstructionSetsAgree) {
  const auto numbers = Uniform(1000, 3.0f);
  const auto packed = Pack(numbers);
  std::vector<std::byte> plain(packed.size() + 4096);
  EXPECT_EQ(plain::PackKernel(numbers.data(), 1000, plain.data()), static_cast<int64_t>(packed.size()));
  EXPECT_EQ(std::memcmp(plain.data(), packed.data(), packed.size()), 0);
}

}  // namespace
}  // namespace sluice::service
