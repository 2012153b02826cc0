#include "service/pieces.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/rng.h"
#include "service/wire.h"

namespace sluice::service {
namespace {

std::vector<std::byte> Counted(size_t n) {
  std::vector<std::byte> bytes(n);
  for (size_t i = 0; i < n; ++i) bytes[i] = static_cast<std::byte>(i * 7 + i / 256);
  return bytes;
}

// `whole` cut at random, some pieces of a byte or none.
Pieces Cut(std::span<const std::byte> whole, uint64_t seed) {
  const CounterRng rng(9, seed);
  Pieces pieces;
  for (uint64_t i = 0; !whole.empty(); ++i) {
    const size_t size = std::min<size_t>(whole.size(), rng.Below(i, i % 3 == 0 ? 2 : 200));
    pieces.Add(whole.first(size));
    whole = whole.subspan(size);
  }
  return pieces;
}

std::vector<std::byte> Copy(const Pieces& pieces) {
  AlignedBuffer<std::byte> copy;
  const auto whole = pieces.Whole(&copy);
  return {whole.begin(), whole.end()};
}

TEST(PiecesTest, PartsOfPiecesArePartsOfTheWhole) {
  const auto bytes = Counted(3000);
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const Pieces pieces = Cut(bytes, seed);
    ASSERT_EQ(pieces.size(), bytes.size());
    EXPECT_EQ(Copy(pieces), bytes);
    for (const size_t begin : {0, 1, 777, 2999, 3000})
      for (const size_t size : {size_t{0}, size_t{1}, (3000 - begin) / 2, 3000 - begin}) {
        if (begin + size > 3000) continue;
        const auto at = bytes.begin() + static_cast<int64_t>(begin);
        EXPECT_EQ(Copy(pieces.Part(begin, size)), std::vector<std::byte>(at, at + static_cast<int64_t>(size)));
      }
  }
}

TEST(PiecesTest, AReaderGoesThroughAllBytes) {
  const auto bytes = Counted(3000);
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const Pieces pieces = Cut(bytes, seed);
    PieceReader reader(pieces);
    const CounterRng rng(4, seed);
    std::vector<std::byte> read;
    std::byte scratch[100];
    for (uint64_t i = 0; read.size() < bytes.size(); ++i) {
      const size_t size = std::min<size_t>(bytes.size() - read.size(), rng.Below(i, 100));
      const std::byte* const at = reader.Next(size, scratch);
      read.insert(read.end(), at, at + size);
    }
    EXPECT_EQ(read, bytes);
  }
}

TEST(PiecesTest, NumbersAreReadAcrossTheEndsOfPieces) {
  std::vector<float> numbers(2000), back(2000);
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<float>(i) - 1000.0f;
  for (const bool bf16 : {false, true}) {
    std::vector<std::byte> wire(static_cast<size_t>(WireBytes(2000, bf16, sizeof(float))));
    std::vector<float> expected(2000);
    EncodeNumbers(numbers.data(), 2000, bf16, wire.data());
    DecodeNumbers(wire.data(), 2000, bf16, expected.data());
    for (uint64_t seed = 0; seed < 10; ++seed) {
      DecodeNumbers(Cut(wire, seed), 2000, bf16, back.data());
      EXPECT_EQ(back, expected);
      EXPECT_TRUE(WireFinite(Cut(wire, seed), bf16, sizeof(float)));
    }
    for (const size_t bad : {size_t{0}, size_t{1023}, size_t{1024}, size_t{1999}}) {
      auto spoiled = numbers;
      spoiled[bad] = std::numeric_limits<float>::infinity();
      EncodeNumbers(spoiled.data(), 2000, bf16, wire.data());
      EXPECT_FALSE(WireFinite(Cut(wire, bad), bf16, sizeof(float))) << bad;
    }
  }
}

TEST(PiecesTest, MessagesAreParsedInPieces) {
  RequestHeader header;
  header.flags = kPush;
  header.sequence = 1;
  header.push_clock = 1;
  header.samples = 10;
  header.lease = 4;
  header.next_lease = 5;
  header.next_lease_samples = 3;
  header.row_gradient_bytes = 100;
  header.dense_gradient_bytes = 50;
  auto message = Counted(sizeof(header) + 150);
  std::memcpy(message.data(), &header, sizeof(header));
  for (uint64_t seed = 0; seed < 10; ++seed) {
    const auto request = ParseRequest(Cut(message, seed));
    ASSERT_TRUE(request.ok()) << request.status().message();
    EXPECT_EQ(request.value().header.next_lease_samples, 3);
    const auto dense = message.begin() + static_cast<int64_t>(sizeof(header)) + 100;
    EXPECT_EQ(Copy(request.value().dense_gradients), std::vector<std::byte>(dense, dense + 50));
  }
}

}  // namespace
}  // namespace sluice::service
