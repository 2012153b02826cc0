#include "service/initial_rows.h"

#include <cstring>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "base/rng.h"

namespace sluice::service {
namespace {

using embedding::RowInit;

constexpr int64_t kDims[] = {1, 5, 8};

ModelLayout Layout() {
  ModelLayout layout;
  layout.salts = {1, 2, 3};
  layout.tables = {{"wide", kDims[0], {0, 1, 2}}, {"deep", kDims[1], {1}}, {"other", kDims[2], {0, 2}}};
  return layout;
}

std::vector<RowInit> Inits(uint64_t seed) {
  return {RowInit::Make({.kind = "zero"}, kDims[0], {}, seed).value(),
          RowInit::Make({.kind = "uniform", .scale = 0.5}, kDims[1], {}, seed + 1).value(),
          RowInit::Make({.kind = "normal", .scale = 2}, kDims[2], {{0, 1, embedding::InitKind::kZero, 0}}, seed + 2)
              .value()};
}

// Keys 0, 1, ... in blocks of `sizes`; every key with index % 3 != 0 was named for the first time.
KeyList Keys(const std::vector<int64_t>& sizes) {
  KeyList keys;
  for (size_t v = 0; v < sizes.size(); ++v) {
    const int64_t begin = keys.size();
    for (int64_t i = 0; i < sizes[v]; ++i) {
      if (keys.size() % 3 != 0) keys.first_named.push_back(static_cast<int32_t>(keys.size()));
      keys.keys.push_back(static_cast<Key>(keys.size()));
    }
    if (sizes[v] > 0) keys.blocks.push_back({static_cast<int32_t>(v), {begin, keys.size()}});
  }
  keys.counts.assign(keys.keys.size(), 1);
  return keys;
}

// Rows of which every other one, by a coin, is as it was made; what is sent of them is told row by row, apart from the
// code under test.
template <class T>
void ExpectWhatIsLeftOut(const std::vector<int64_t>& sizes, bool bf16) {
  const ModelLayout layout = Layout();
  const RowOrder order(layout);
  const KeyList keys = Keys(sizes);
  const auto inits = Inits(40);
  const InitialRows<T> initial(inits);
  const CounterRng rng(5, 6);
  const std::set<int32_t> named(keys.first_named.begin(), keys.first_named.end());

  std::vector<std::byte> all, kept;
  std::vector<bool> left_out;
  for (size_t t = 0; t < layout.tables.size(); ++t)
    for (const auto& block : keys.blocks)
      for (const int v : layout.tables[t].vocabularies)
        for (int64_t i = block.keys.begin; v == block.vocabulary && i < block.keys.end; ++i) {
          std::vector<T> row(static_cast<size_t>(kDims[t]));
          inits[t].Fill(static_cast<Key>(i), row.data());
          const bool trained = rng.Below(left_out.size(), 2) == 1;
          if (trained) row.back() += T(1);
          std::vector<std::byte> sent(static_cast<size_t>(WireBytes(kDims[t], bf16, sizeof(T))));
          EncodeNumbers(row.data(), kDims[t], bf16, sent.data());
          all.insert(all.end(), sent.begin(), sent.end());
          left_out.push_back(!trained && named.contains(static_cast<int32_t>(i)));
          if (!left_out.back()) kept.insert(kept.end(), sent.begin(), sent.end());
        }
  const auto num_rows = static_cast<int64_t>(left_out.size());
  ASSERT_EQ(order.Rows(keys), num_rows);

  Bytes message(all.size() + static_cast<size_t>(InitialRows<T>::MarkBytes(num_rows)));
  if (!all.empty()) std::memcpy(message.data(), all.data(), all.size());
  initial.LeaveOut(order, keys, bf16, &message);

  // In two pieces, as it may arrive.
  Pieces arrived;
  const size_t cut = message.size() > 3 ? message.size() - 2 : 0;
  arrived.Add(message.span().first(cut));
  arrived.Add(message.span().subspan(cut));
  RowMarks marks;
  ASSERT_TRUE(marks.Take(num_rows, &arrived));
  ASSERT_EQ(arrived.size(), kept.size());
  for (int64_t row = 0; row < num_rows; ++row) EXPECT_EQ(marks.Has(row), left_out[static_cast<size_t>(row)]) << row;
  AlignedBuffer<std::byte> copy;
  const auto rows = arrived.Whole(&copy);
  EXPECT_TRUE(std::equal(rows.begin(), rows.end(), kept.begin(), kept.end()));
}

TEST(InitialRowsTest, RowsThatAreAsTheyWereMadeAreLeftOutAndMarked) {
  for (const auto& sizes : std::vector<std::vector<int64_t>>{{40, 7, 90}, {0, 1, 0}, {0, 0, 3}, {0, 0, 0}, {8, 8, 8}}) {
    SCOPED_TRACE(testing::Message() << sizes[0] << " " << sizes[1] << " " << sizes[2]);
    ExpectWhatIsLeftOut<float>(sizes, false);
    ExpectWhatIsLeftOut<float>(sizes, true);
    ExpectWhatIsLeftOut<double>(sizes, false);
    ExpectWhatIsLeftOut<double>(sizes, true);
  }
}

// In bf16 a client makes the row that would have come, which is not the one that the server keeps.
TEST(InitialRowsTest, AClientMakesWhatWouldHaveCome) {
  const auto inits = Inits(9);
  const InitialRows<float> initial(inits);
  for (Key key = 0; key < 50; ++key) {
    std::vector<float> exact(kDims[2]), made(kDims[2]), came(kDims[2]);
    std::vector<std::byte> wire(static_cast<size_t>(kDims[2]) * 2);
    inits[2].Fill(key, exact.data());
    initial.Fill(2, key, kDims[2], false, made.data());
    EXPECT_EQ(made, exact);
    EncodeNumbers(exact.data(), kDims[2], true, wire.data());
    DecodeNumbers(wire.data(), kDims[2], true, came.data());
    initial.Fill(2, key, kDims[2], true, made.data());
    EXPECT_EQ(made, came);
    EXPECT_NE(made, exact);
  }
}

TEST(InitialRowsTest, FingerprintsTellInitialRowsApart) {
  EXPECT_EQ(InitialRows<float>().fingerprint(), 0u);
  const uint64_t one = InitialRows<float>(Inits(1)).fingerprint();
  EXPECT_EQ(one, InitialRows<double>(Inits(1)).fingerprint());
  EXPECT_NE(one, InitialRows<float>(Inits(2)).fingerprint());
  auto scaled = Inits(1);
  scaled[1] = RowInit::Make({.kind = "uniform", .scale = 0.25}, kDims[1], {}, 2).value();
  EXPECT_NE(one, InitialRows<float>(scaled).fingerprint());
  // As a server tells it and a client makes it.
  auto told = Inits(1);
  for (size_t t = 0; t < told.size(); ++t)
    told[t] = RowInit::Make({}, kDims[t], told[t].columns(), told[t].seed()).value();
  EXPECT_EQ(one, InitialRows<float>(told).fingerprint());
}

TEST(InitialRowsTest, MarksThatAreCutShortAreNoted) {
  const std::vector<std::byte> one(1);
  Pieces rows(one);
  RowMarks marks;
  EXPECT_FALSE(marks.Take(9, &rows));
  EXPECT_FALSE(marks.Has(0));
}

}  // namespace
}  // namespace sluice::service
