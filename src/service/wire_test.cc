#include "service/wire.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>

#include "base/rng.h"

namespace sluice::service {
namespace {

KeyList SomeList(uint64_t seed, int n, int vocabularies) {
  KeyList list;
  for (int v = 0; v < vocabularies; ++v) {
    const int64_t begin = list.size();
    for (int i = 0; i < n; ++i) {
      list.keys.push_back(MixPair(seed + static_cast<uint64_t>(v), static_cast<uint64_t>(i)));
      list.counts.push_back(i % 7 == 0 ? 100000 + i : i % 300);
    }
    if (list.size() > begin) list.blocks.push_back({v, {begin, list.size()}});
  }
  return list;
}

void ExpectEqual(const KeyList& a, const KeyList& b) {
  EXPECT_EQ(a.keys, b.keys);
  EXPECT_EQ(a.counts, b.counts);
  ASSERT_EQ(a.blocks.size(), b.blocks.size());
  for (size_t i = 0; i < a.blocks.size(); ++i) {
    EXPECT_EQ(a.blocks[i].vocabulary, b.blocks[i].vocabulary);
    EXPECT_EQ(a.blocks[i].keys.begin, b.blocks[i].keys.begin);
    EXPECT_EQ(a.blocks[i].keys.end, b.blocks[i].keys.end);
  }
}

constexpr KeyLimits kLimits{10000, 5, {0, embedding::kNumShards}};

TEST(WireTest, KeysComeBackAndTravelAsHandlesTheSecondTime) {
  HandleMap map(1000);
  KeyDictionary dictionary(1000);
  const KeyList list = SomeList(1, 150, 5);
  KeyList got;
  const Bytes first = EncodeKeys(list, &map);
  ASSERT_TRUE(ParseKeys(first.span(), kLimits, &dictionary, &got).ok());
  ExpectEqual(list, got);
  const Bytes second = EncodeKeys(list, &map);
  EXPECT_EQ(first.size() - second.size(), 750u * 8);
  ASSERT_TRUE(ParseKeys(second.span(), kLimits, &dictionary, &got).ok());
  ExpectEqual(list, got);
}

TEST(WireTest, KeysBeyondTheDictionaryTravelWhole) {
  HandleMap map(100);
  KeyDictionary dictionary(100);
  KeyList got;
  for (uint64_t seed = 1; seed < 4; ++seed) {
    const KeyList list = SomeList(seed, 40, 3);
    ASSERT_TRUE(ParseKeys(EncodeKeys(list, &map).span(), kLimits, &dictionary, &got).ok());
    ExpectEqual(list, got);
  }
  EXPECT_EQ(dictionary.size(), 100);
  const KeyList list = SomeList(9, 10, 2);
  ASSERT_TRUE(ParseKeys(EncodeKeys(list, nullptr).span(), kLimits, &dictionary, &got).ok());
  ExpectEqual(list, got);
}

TEST(WireTest, KeysOfAnotherServerAndTooManyAreRefused) {
  KeyDictionary dictionary(100);
  KeyList got;
  const Bytes section = EncodeKeys(SomeList(1, 50, 2), nullptr);
  KeyLimits limits = kLimits;
  limits.shards = {0, 512};
  EXPECT_EQ(ParseKeys(section.span(), limits, &dictionary, &got).code(), StatusCode::kInvalidArgument);
  limits = kLimits;
  limits.max_keys = 99;
  EXPECT_EQ(ParseKeys(section.span(), limits, &dictionary, &got).code(), StatusCode::kResourceExhausted);
}

// Every single byte of a good section changed, and every length cut: refused or read, never a crash, and never a key of
// another server.
TEST(WireTest, DamagedKeysAreReadOrRefused) {
  HandleMap map(50);
  const KeyList list = SomeList(3, 20, 3);
  const Bytes section = EncodeKeys(list, &map);
  std::vector<std::byte> bytes(section.span().begin(), section.span().end());
  int refused = 0;
  for (size_t i = 0; i < bytes.size(); ++i) {
    for (const int change : {1, 0x80, 0xff}) {
      auto damaged = bytes;
      damaged[i] ^= static_cast<std::byte>(change);
      KeyDictionary dictionary(1000);
      KeyList got;
      refused += !ParseKeys(damaged, kLimits, &dictionary, &got).ok();
    }
    KeyDictionary dictionary(1000);
    KeyList got;
    EXPECT_FALSE(ParseKeys(std::span(bytes).first(i), kLimits, &dictionary, &got).ok()) << i;
  }
  EXPECT_GT(refused, 100);
}

TEST(WireTest, RequestsStateTheirLengths) {
  std::vector<std::byte> message(sizeof(RequestHeader) + 24);
  RequestHeader header;
  header.flags = kPush;
  header.sequence = 1;
  header.push_clock = 1;
  header.row_gradient_bytes = 16;
  header.dense_gradient_bytes = 8;
  std::memcpy(message.data(), &header, sizeof(header));
  const auto request = ParseRequest(message);
  ASSERT_TRUE(request.ok()) << request.status().message();
  EXPECT_EQ(request.value().row_gradients.size(), 16u);
  for (const auto& spoil : std::vector<std::function<void(RequestHeader*)>>{
           [](RequestHeader* h) { h->magic = 0; }, [](RequestHeader* h) { h->flags |= 1u << 20; },
           [](RequestHeader* h) { h->flags = 0; }, [](RequestHeader* h) { h->sequence = 0; },
           [](RequestHeader* h) { h->row_gradient_bytes = 17; },
           [](RequestHeader* h) { h->row_gradient_bytes = UINT64_MAX; },
           [](RequestHeader* h) { h->row_gradient_bytes = UINT64_MAX - 7; }, [](RequestHeader* h) { h->weight = NAN; },
           [](RequestHeader* h) { h->weight = -1; }, [](RequestHeader* h) { h->push_clock = 0; },
           [](RequestHeader* h) { h->push_clock = int64_t{1} << 32; }, [](RequestHeader* h) { h->samples = -1; },
           [](RequestHeader* h) { h->next_lease_samples = 1; }, [](RequestHeader* h) { h->next_lease = 2; },
           [](RequestHeader* h) { h->lease = 1, h->next_lease = 2, h->next_lease_samples = -1; },
           [](RequestHeader* h) { h->lease = 1, h->next_lease = 2, h->next_lease_samples = 1; },
           [](RequestHeader* h) { h->flags |= kDenseGradientsBf16 | kDenseGradientsPacked; }}) {
    RequestHeader bad = header;
    spoil(&bad);
    std::memcpy(message.data(), &bad, sizeof(bad));
    EXPECT_EQ(ParseRequest(message).status().code(), StatusCode::kInvalidArgument);
  }
}

template <class T>
void ExpectNumbersComeBack(bool bf16) {
  std::vector<T> values, back(1201);
  for (int i = 0; i < 1201; ++i) values.push_back(static_cast<T>(i) * T(0.0625));
  std::vector<std::byte> wire(1 + values.size() * sizeof(T));
  EncodeNumbers(values.data(), 1201, bf16, wire.data() + 1);  // not aligned
  DecodeNumbers(wire.data() + 1, 1201, bf16, back.data());
  for (int i = 0; i < 1201; ++i)
    EXPECT_NEAR(static_cast<double>(back[static_cast<size_t>(i)]), static_cast<double>(values[static_cast<size_t>(i)]),
                bf16 ? static_cast<double>(values[static_cast<size_t>(i)]) / 256 : 0);
}

TEST(WireTest, NumbersComeBack) {
  ExpectNumbersComeBack<float>(false);
  ExpectNumbersComeBack<float>(true);
  ExpectNumbersComeBack<double>(false);
  ExpectNumbersComeBack<double>(true);
}

TEST(WireTest, NumbersThatAreNotFiniteAreSeen) {
  for (const float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(), NAN}) {
    std::vector<float> values(100, 3e38f);
    EXPECT_TRUE(WireFinite(std::as_bytes(std::span(values)), false, 4));
    values[73] = bad;
    EXPECT_FALSE(WireFinite(std::as_bytes(std::span(values)), false, 4));
    std::vector<double> doubles(values.begin(), values.end());
    EXPECT_FALSE(WireFinite(std::as_bytes(std::span(doubles)), false, 8));
    std::vector<std::byte> halves(200);
    EncodeNumbers(values.data(), 100, true, halves.data());
    EXPECT_FALSE(WireFinite(halves, true, 4));
  }
}

}  // namespace
}  // namespace sluice::service
