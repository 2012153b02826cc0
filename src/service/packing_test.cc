#include "service/packing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>
#include <string>
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
  bool finite = false;
  ASSERT_TRUE(UnpackFloats(packed, static_cast<int64_t>(numbers.size()), back.data(), &finite));
  EXPECT_EQ(finite, std::all_of(numbers.begin(), numbers.end(), [](float x) { return std::isfinite(x); }));
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
    EXPECT_FALSE(UnpackFloats(std::span(packed.data(), size), 700, out.data())) << size;
  auto bad = packed;
  bad[1] = std::byte{5};  // escapes that no code asks for
  EXPECT_FALSE(UnpackFloats(bad, 700, out.data()));
  bad = packed;
  bad[0] = std::byte{0};  // a largest exponent less than the codes' distances
  EXPECT_FALSE(UnpackFloats(bad, 700, out.data()));
  bad = packed;
  bad.push_back(std::byte{0});  // more than was packed
  EXPECT_FALSE(UnpackFloats(bad, 700, out.data()));
  EXPECT_FALSE(UnpackFloats(packed, 699, out.data()));
}

// However a message is cut into pieces.
TEST(PackingTest, PiecesReadAsOneRun) {
  auto numbers = Uniform(1300, 1.0f);
  for (size_t i = 0; i < numbers.size(); i += 7) numbers[i] *= 1e-12f;  // escapes
  const auto packed = Pack(numbers);
  const std::span<const std::byte> whole(packed);
  const auto expect_same = [&](const Pieces& pieces, const std::string& how) {
    std::vector<float> back(numbers.size());
    EXPECT_TRUE(UnpackFloats(pieces, static_cast<int64_t>(back.size()), back.data())) << how;
    EXPECT_EQ(back, numbers) << how;
  };
  for (size_t cut = 1; cut < packed.size(); cut += 3) {
    Pieces pieces(whole.first(cut));
    pieces.Add(whole.subspan(cut));
    expect_same(pieces, "cut at " + std::to_string(cut));
  }
  for (const size_t size : {1, 2, 3, 100, 899, 2000}) {
    Pieces pieces;
    for (size_t at = 0; at < packed.size(); at += size)
      pieces.Add(whole.subspan(at, std::min(size, packed.size() - at)));
    expect_same(pieces, "pieces of " + std::to_string(size));
    Pieces short_by_one;
    for (size_t at = 0; at + 1 < packed.size(); at += size)
      short_by_one.Add(whole.subspan(at, std::min(size, packed.size() - 1 - at)));
    std::vector<float> back(numbers.size());
    EXPECT_FALSE(UnpackFloats(short_by_one, static_cast<int64_t>(back.size()), back.data())) << size;
  }
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
