#include "embedding/make_table.h"
#include "embedding/table_contract.h"

namespace sluice::embedding {
namespace {

template <class T>
struct LocalTable {
  using Scalar = T;
  static std::unique_ptr<Table<T>> Make(const TableConfig& config, int64_t dim, uint64_t seed) {
    return MakeTable<T>("t", dim, config, seed).value();
  }
  static uint64_t TableSeed(uint64_t seed) { return MixPair(seed, HashBytes("t")); }
};

using LocalTables = testing::Types<LocalTable<float>, LocalTable<double>>;
INSTANTIATE_TYPED_TEST_SUITE_P(Local, TableContract, LocalTables);

TEST(MakeTableTest, NamesTheTableAndTheSetting) {
  const auto expect = [](TableConfig config, int64_t dim, const std::string& words) {
    const auto table = MakeTable<float>("ads", dim, config, 1);
    ASSERT_FALSE(table.ok());
    EXPECT_EQ(table.status().code(), StatusCode::kInvalidArgument);
    EXPECT_NE(table.status().message().find("tables.ads"), std::string::npos) << table.status().message();
    EXPECT_NE(table.status().message().find(words), std::string::npos) << table.status().message();
  };
  TableConfig config;
  expect(config, 0, "columns");
  config.on_missing = "guess";
  expect(config, 4, "on_missing");
  config = {};
  config.admission.kind = "some";
  expect(config, 4, "admission.kind");
  config = {};
  config.init.kind = "ones";
  expect(config, 4, "init.kind");
}

TEST(MakeTableTest, ColumnsTakeTheirOwnInitialWeights) {
  TableConfig config;
  config.init = {"normal", 1.0};
  const auto table = MakeTable<float>("t", 4, config, 1, {{0, 1, InitKind::kZero, 0}}).value();
  Resolved rows;
  const std::vector<Key> keys = {5};
  const std::vector<KeyBlock> blocks = {{0, 1, 1}};
  table->Resolve(keys, {}, blocks, ResolveMode::kTrain, 1, nullptr, &rows);
  float weights[4];
  table->Gather(rows, keys, blocks, {0, 1}, weights);
  table->Release(rows);
  EXPECT_EQ(weights[0], 0);
  EXPECT_NE(weights[1], 0);
}

// Making a table and its first row must not cost what its capacity would.
TEST(MakeTableTest, TakesLittleMemoryAtFirst) {
  TableConfig config;
  config.expiry.max_rows = 4'000'000'000;
  const auto table = MakeTable<float>("t", 128, config, 1).value();
  Resolved rows;
  const std::vector<Key> keys = {5};
  table->Resolve(keys, {}, {}, ResolveMode::kTrain, 1, nullptr, &rows);
  table->Release(rows);
  EXPECT_LT(table->stats().memory_bytes, 1 << 20);
}

}  // namespace
}  // namespace sluice::embedding
