#include <gtest/gtest.h>

#include "base/rng.h"
#include "embedding/make_table.h"
#include "optim/config.h"

namespace sluice::embedding {
namespace {

// 20 million rows grown from nothing: each is held once, with the weights that its own updates gave it.
TEST(TableGrowthSlowTest, HoldsEveryRowOfTwentyMillion) {
  constexpr int64_t kRows = 20'000'000, kBatch = 65536, kDim = 4;
  TableConfig config;
  config.optimizer.name = "sgd";
  config.optimizer.learning_rate = 1.0;
  config.init.kind = "zero";
  const auto rule = optim::MakeRule(config.optimizer).value();
  const auto table = MakeTable<float>("t", kDim, config, 1).value();
  ThreadPool pool(2);
  Resolved rows;
  std::vector<Key> keys;
  std::vector<float> values;
  const auto set_batch = [&](int64_t begin) {
    keys.clear();
    values.clear();
    for (int64_t i = begin; i < std::min(begin + kBatch, kRows); ++i) {
      keys.push_back(MixPair(3, static_cast<uint64_t>(i)));
      for (int64_t c = 0; c < kDim; ++c) values.push_back(static_cast<float>((i >> (8 * c)) & 0xff));
    }
    return Range{0, static_cast<int64_t>(keys.size())};
  };
  const auto blocks = [&] { return std::vector<KeyBlock>{{0, static_cast<int32_t>(keys.size()), 1}}; };
  int64_t step = 0;
  for (int64_t begin = 0; begin < kRows; begin += kBatch) {
    const Range range = set_batch(begin);
    table->Resolve(keys, {}, blocks(), ResolveMode::kTrain, ++step, &pool, &rows);
    ASSERT_EQ(rows.num_missing, 0);
    table->Apply(rows, keys, values.data(), range, rule);
    table->Release(rows);
  }
  EXPECT_EQ(table->stats().rows, kRows);
  EXPECT_EQ(table->stats().inserted, kRows);
  std::vector<float> read(kBatch * kDim);
  for (int64_t begin = 0; begin < kRows; begin += kBatch) {
    const Range range = set_batch(begin);
    table->Resolve(keys, {}, blocks(), ResolveMode::kLookup, step, &pool, &rows);
    ASSERT_EQ(rows.num_missing, 0);
    table->Gather(rows, keys, blocks(), range, read.data());
    for (size_t i = 0; i < values.size(); ++i) ASSERT_EQ(read[i], -values[i]) << begin << " " << i;
    table->Release(rows);
  }
  int64_t visited = 0;
  table->ForEachRow([&](const RowView<float>& row) { visited += row.count == 1; });
  EXPECT_EQ(visited, kRows);
  EXPECT_LT(static_cast<double>(table->stats().memory_bytes), 1.45 * static_cast<double>(kRows * table->stats().row_bytes));
}

}  // namespace
}  // namespace sluice::embedding
