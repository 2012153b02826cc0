#pragma once

// The contract of embedding::Table as tests, run over every implementation: instantiate the suite with a type that has
//   using Scalar = float;  static std::unique_ptr<Table<Scalar>> Make(const TableConfig&, int64_t dim, uint64_t seed);
//   static uint64_t TableSeed(uint64_t seed);   what rows are functions of, for the reference

#include <gtest/gtest.h>

#include <thread>

#include "base/rng.h"
#include "embedding/config.h"
#include "embedding/memory_sections.h"
#include "embedding/table.h"
#include "embedding/table_reference.h"
#include "optim/config.h"

namespace sluice::embedding {

inline TableConfig SgdConfig(double learning_rate = 1.0) {
  TableConfig config;
  config.optimizer.name = "sgd";
  config.optimizer.learning_rate = learning_rate;
  return config;
}

// `n` distinct keys; edge keys first.
inline std::vector<Key> SomeKeys(uint64_t seed, int64_t n) {
  std::vector<Key> keys = {0, ~Key{0}, Key{1} << 63, 1, ~Key{0} >> 1};
  for (uint64_t i = 0; static_cast<int64_t>(keys.size()) < n; ++i) keys.push_back(MixPair(seed, i));
  keys.resize(static_cast<size_t>(n));
  return keys;
}

template <class Impl>
class TableContract : public testing::Test {
 protected:
  using Scalar = typename Impl::Scalar;

  static std::vector<KeyBlock> OneBlock(const std::vector<Key>& keys) {
    return {{0, static_cast<int32_t>(keys.size()), 77}};
  }
  static optim::Rule RuleOf(const TableConfig& config) { return optim::MakeRule(config.optimizer).value(); }

  static std::vector<Scalar> GatherAll(const Table<Scalar>& table, const Resolved& rows, const std::vector<Key>& keys,
                                  const std::vector<KeyBlock>& blocks) {
    std::vector<Scalar> out(keys.size() * static_cast<size_t>(table.dim()), Scalar(-1));
    table.Gather(rows, keys, blocks, {0, static_cast<int64_t>(keys.size())}, out.data());
    return out;
  }
  // One step in which every key has the gradient `grad` in every column.
  static void Train(Table<Scalar>* table, const std::vector<Key>& keys, int64_t step, Scalar grad, const optim::Rule& rule,
                    ThreadPool* pool = nullptr) {
    Resolved rows;
    const auto blocks = OneBlock(keys);
    table->Resolve(keys, {}, blocks, ResolveMode::kTrain, step, pool, &rows);
    const std::vector<Scalar> grads(keys.size() * static_cast<size_t>(table->dim()), grad);
    table->Apply(rows, keys, grads.data(), {0, static_cast<int64_t>(keys.size())}, rule);
    table->ApplyDefaults(rows, keys, blocks, grads.data(), rule);
    table->Release(rows);
  }
  static std::vector<Scalar> Lookup(Table<Scalar>* table, const std::vector<Key>& keys) {
    Resolved rows;
    const auto blocks = OneBlock(keys);
    table->Resolve(keys, {}, blocks, ResolveMode::kLookup, 0, nullptr, &rows);
    auto out = GatherAll(*table, rows, keys, blocks);
    table->Release(rows);
    return out;
  }

  static void ExpectEqual(const Table<Scalar>& table, const ReferenceTable<Scalar>& reference) {
    auto expected = std::vector<std::pair<Key, typename ReferenceTable<Scalar>::Row>>(reference.rows().begin(),
                                                                                 reference.rows().end());
    std::sort(expected.begin(), expected.end(), [](const auto& a, const auto& b) {
      return std::pair(ShardOf(a.first), a.first) < std::pair(ShardOf(b.first), b.first);
    });
    size_t i = 0;
    table.ForEachRow([&](const RowView<Scalar>& row) {
      ASSERT_LT(i, expected.size());
      const auto& [key, want] = expected[i++];
      ASSERT_EQ(row.key, key);
      ASSERT_EQ(row.count, want.count) << key;
      ASSERT_EQ(row.last_use, want.last_use) << key;
      for (int64_t c = 0; c < table.dim(); ++c) ASSERT_EQ(row.weights[c], want.weights[c]) << key;
      for (int64_t c = 0; c < table.num_slots(); ++c) ASSERT_EQ(row.slots[c], want.slots[c]) << key;
    });
    EXPECT_EQ(i, expected.size());
    const TableStats stats = table.stats();
    EXPECT_EQ(stats.rows, static_cast<int64_t>(expected.size()));
    EXPECT_EQ(stats.rejected, reference.rejected);
    EXPECT_EQ(stats.expired, reference.expired);
    EXPECT_EQ(stats.dropped_gradients, reference.dropped_gradients);
  }

  // Random batches through table and reference, compared at every step.
  static void RunAgainstReference(const TableConfig& config, int threads, int64_t steps, uint64_t seed) {
    constexpr int64_t kDim = 5;
    SCOPED_TRACE(testing::Message() << "seed " << seed << ", " << threads << " threads");
    const auto table = Impl::Make(config, kDim, 42);
    const optim::Rule rule = RuleOf(config);
    ReferenceTable<Scalar> reference(config, kDim, Impl::TableSeed(42), rule);
    ThreadPool pool(threads);
    const CounterRng rng(seed, 1);
    uint64_t at = 0;
    Resolved rows;
    for (int64_t step = 1; step <= steps; ++step) {
      // Skewed keys, so that some are seen at every step and some once in hundreds.
      const auto wanted = static_cast<size_t>(step % 64 == 0 ? 6000 : 20 + rng.Below(at++, 100));
      std::vector<Key> keys;
      std::set<Key> seen;
      for (size_t tries = 0; tries < wanted; ++tries) {
        const double u = rng.Uniform(at++);
        const auto rank = static_cast<uint64_t>(u * u * u * 20000);
        const Key key = rank == 0 ? 0 : rank == 1 ? ~Key{0} : rank == 2 ? Key{1} << 63 : Mix64(rank);
        if (seen.insert(key).second) keys.push_back(key);
      }
      const auto n = static_cast<int32_t>(keys.size());
      std::vector<int32_t> counts;
      for (int32_t i = 0; i < n; ++i) counts.push_back(1 + static_cast<int32_t>(rng.Below(at++, 3)));
      const std::vector<KeyBlock> blocks = {{0, n / 3, 5}, {n / 3, n / 3, 6}, {n / 3, n, 7}};

      table->Resolve(keys, counts, blocks, ResolveMode::kTrain, step, &pool, &rows);
      const auto expected = reference.Resolve(keys, counts, blocks, step);
      std::vector<Scalar> got(keys.size() * kDim);
      pool.ForParts(n, [&](Range range, int) { table->Gather(rows, keys, blocks, range, got.data()); });
      ASSERT_EQ(got, reference.Gather(expected, keys)) << "step " << step;

      std::vector<Scalar> grads;
      for (size_t i = 0; i < keys.size() * kDim; ++i)
        grads.push_back(static_cast<Scalar>(static_cast<double>(rng.Below(at++, 65)) / 64 - 0.5));
      pool.ForParts(n, [&](Range range, int) { table->Apply(rows, keys, grads.data(), range, rule); });
      table->ApplyDefaults(rows, keys, blocks, grads.data(), rule);
      table->Release(rows);
      reference.Apply(expected, grads, step);
      table->Expire(step);
      reference.Expire(step);
      ASSERT_EQ(table->stats().rows, static_cast<int64_t>(reference.rows().size())) << "step " << step;
    }
    ExpectEqual(*table, reference);
  }
};
TYPED_TEST_SUITE_P(TableContract);

TYPED_TEST_P(TableContract, RowsAreFunctionsOfTheKeyAlone) {
  const auto keys = SomeKeys(1, 3000);
  auto reversed = keys;
  std::reverse(reversed.begin(), reversed.end());
  const auto a = TypeParam::Make(SgdConfig(), 6, 9);
  const auto b = TypeParam::Make(SgdConfig(), 6, 9);
  const auto other_seed = TypeParam::Make(SgdConfig(), 6, 10);
  const auto rule = this->RuleOf(SgdConfig());
  this->Train(a.get(), keys, 1, 0, rule);
  this->Train(b.get(), {reversed.begin(), reversed.begin() + 500}, 1, 0, rule);
  this->Train(b.get(), {reversed.begin() + 500, reversed.end()}, 1, 0, rule);
  this->Train(other_seed.get(), keys, 1, 0, rule);
  EXPECT_EQ(this->Lookup(a.get(), keys), this->Lookup(b.get(), keys));
  EXPECT_EQ(a->Digest(), b->Digest());
  EXPECT_NE(this->Lookup(a.get(), keys), this->Lookup(other_seed.get(), keys));
  EXPECT_EQ(a->stats().rows, 3000);
}

TYPED_TEST_P(TableContract, AppliesOneStepPerRow) {
  using T = typename TypeParam::Scalar;
  for (const int64_t dim : {1, 3, 8, 16, 17, 32, 33, 64, 128}) {
    TableConfig config = SgdConfig(0.5);
    config.init.kind = "zero";
    const auto table = TypeParam::Make(config, dim, 1);
    const auto keys = SomeKeys(2, 1000);
    this->Train(table.get(), keys, 1, T(2), this->RuleOf(config));
    this->Train(table.get(), {keys.begin(), keys.begin() + 10}, 2, T(4), this->RuleOf(config));
    const auto rows = this->Lookup(table.get(), keys);
    for (size_t i = 0; i < rows.size(); ++i)
      ASSERT_EQ(rows[i], static_cast<int64_t>(i) / dim < 10 ? T(-3) : T(-1)) << dim << " " << i;
  }
}

TYPED_TEST_P(TableContract, LookupChangesNothing) {
  const auto table = TypeParam::Make(SgdConfig(), 4, 1);
  const auto keys = SomeKeys(3, 500);
  this->Train(table.get(), {keys.begin(), keys.begin() + 250}, 1, 1, this->RuleOf(SgdConfig()));
  const uint64_t digest = table->Digest();
  this->Lookup(table.get(), keys);
  EXPECT_EQ(table->Digest(), digest);
  EXPECT_EQ(table->stats().rows, 250);
}

TYPED_TEST_P(TableContract, MissingKeysReadWhatWasChosen) {
  using T = typename TypeParam::Scalar;
  const std::vector<Key> known = {1, 2, 3}, unknown = {4, 5, 0};
  for (const std::string on_missing : {"default", "init", "zero"}) {
    TableConfig config = SgdConfig();
    config.on_missing = on_missing;
    const auto table = TypeParam::Make(config, 3, 1);
    const auto witness = TypeParam::Make(config, 3, 1);
    this->Train(table.get(), known, 1, 0, this->RuleOf(config));
    this->Train(witness.get(), unknown, 1, 0, this->RuleOf(config));
    const auto read = this->Lookup(table.get(), unknown);
    EXPECT_EQ(read, on_missing == "init" ? this->Lookup(witness.get(), unknown) : std::vector<T>(9, T(0))) << on_missing;
  }
}

TYPED_TEST_P(TableContract, DefaultRowLearnsFromTheKeysItStandsFor) {
  using T = typename TypeParam::Scalar;
  TableConfig config = SgdConfig(0.25);
  config.admission.kind = "count";
  config.admission.count = 100;
  const auto table = TypeParam::Make(config, 2, 1);
  const auto rule = this->RuleOf(config);
  const std::vector<Key> keys = {10, 11, 12, 13, 14};
  const std::vector<KeyBlock> blocks = {{0, 2, 100}, {2, 5, 200}};
  const std::vector<T> grads = {1, 2, 3, 4, 10, 20, 30, 40, 50, 60};
  Resolved rows;
  table->Resolve(keys, {}, blocks, ResolveMode::kTrain, 1, nullptr, &rows);
  EXPECT_EQ(rows.num_missing, 5);
  table->Apply(rows, keys, grads.data(), {0, 5}, rule);
  table->ApplyDefaults(rows, keys, blocks, grads.data(), rule);
  const auto read = this->GatherAll(*table, rows, keys, blocks);
  table->Release(rows);
  EXPECT_EQ(read, (std::vector<T>{-1, -1.5, -1, -1.5, -22.5, -30, -22.5, -30, -22.5, -30}));
  EXPECT_EQ(table->stats().rows, 2);
  EXPECT_EQ(table->stats().dropped_gradients, 0);
  EXPECT_EQ(table->stats().rejected, 5);
}

TYPED_TEST_P(TableContract, EqualsReferenceWithoutAdmissionOrExpiry) {
  TableConfig config;
  config.optimizer.name = "adagrad";
  for (const int threads : {1, 2, 4}) this->RunAgainstReference(config, threads, 130, 100 + threads);
}

TYPED_TEST_P(TableContract, EqualsReferenceWithAdmissionByCountAndExpiryByAge) {
  TableConfig config;
  config.optimizer.name = "adam";
  config.optimizer.lazy_decay = true;
  config.admission.kind = "count";
  config.admission.count = 4;
  config.expiry.max_age_steps = 30;
  for (const std::string on_missing : {"default", "init", "zero"}) {
    config.on_missing = on_missing;
    for (const int threads : {1, 2, 4})
      if (threads == 2 || on_missing == "default") this->RunAgainstReference(config, threads, 300, 200 + threads);
  }
}

TYPED_TEST_P(TableContract, EqualsReferenceWithAdmissionByChanceAndCapacity) {
  TableConfig config;
  config.optimizer.name = "rowwise_adagrad";
  config.admission.kind = "probability";
  config.admission.probability = 0.3;
  config.expiry.max_rows = 3 * kNumShards;
  for (const int threads : {1, 2, 4}) this->RunAgainstReference(config, threads, 300, 300 + threads);
  config.expiry.max_age_steps = 20;
  config.expiry.max_rows = 40 * kNumShards;   // enough for the slack that is given up beyond the limit
  this->RunAgainstReference(config, 2, 300, 400);
}

TYPED_TEST_P(TableContract, PinnedRowsAreKeptUntilReleased) {
  TableConfig config = SgdConfig();
  config.expiry.max_age_steps = 10;
  const auto table = TypeParam::Make(config, 4, 1);
  const auto keys = SomeKeys(4, 300);
  const auto blocks = this->OneBlock(keys);
  Resolved rows;
  table->Resolve(keys, {}, blocks, ResolveMode::kTrain, 1, nullptr, &rows);
  const auto before = this->GatherAll(*table, rows, keys, blocks);
  for (int64_t step = 2; step < 600; ++step) table->Expire(step);
  const auto others = SomeKeys(99, 3000);   // would take freed rows
  this->Train(table.get(), {others.begin() + 5, others.end()}, 600, 1, this->RuleOf(config));
  EXPECT_EQ(table->stats().expired, 0);
  EXPECT_EQ(this->GatherAll(*table, rows, keys, blocks), before);
  table->Release(rows);
  for (int64_t step = 601; step <= 600 + kExpiryPeriod; ++step) table->Expire(step);
  EXPECT_GE(table->stats().expired, 300);
  for (const Key key : keys) EXPECT_FALSE(table->FindRow(key, [](const auto&) {}));
}

TYPED_TEST_P(TableContract, UseOfARowAfterItsPinEndedIsCaught) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  TableConfig config = SgdConfig();
  config.expiry.max_age_steps = 10;
  const auto table = TypeParam::Make(config, 4, 1);
  const auto keys = SomeKeys(5, 300);
  const auto blocks = this->OneBlock(keys);
  Resolved rows;
  table->Resolve(keys, {}, blocks, ResolveMode::kTrain, 1, nullptr, &rows);
  table->Release(rows);
  for (int64_t step = 2; step < 300; ++step) table->Expire(step);
  EXPECT_EQ(table->stats().rows, 0);
  EXPECT_EXIT(this->GatherAll(*table, rows, keys, blocks), testing::ExitedWithCode(70), "without a pin");
  const std::vector<typename TypeParam::Scalar> grads(300 * 4);
  EXPECT_EXIT(table->Apply(rows, keys, grads.data(), {0, 300}, this->RuleOf(config)), testing::ExitedWithCode(70),
              "without a pin");
}

TYPED_TEST_P(TableContract, LookupsKeepTheRowsThatTheyHold) {
  using T = typename TypeParam::Scalar;
  TableConfig config = SgdConfig();
  config.expiry.max_age_steps = 10;
  const auto table = TypeParam::Make(config, 4, 1);
  const auto keys = SomeKeys(6, 300);
  const auto blocks = this->OneBlock(keys);
  const auto rule = this->RuleOf(config);
  this->Train(table.get(), keys, 1, T(8), rule);
  Resolved rows;
  table->Resolve(keys, {}, blocks, ResolveMode::kLookup, 0, nullptr, &rows);
  const auto before = this->GatherAll(*table, rows, keys, blocks);
  for (int64_t step = 2; step < 300; ++step) table->Expire(step);
  EXPECT_EQ(table->stats().rows, 0);
  this->Train(table.get(), keys, 300, T(0), rule);   // the same keys anew, in other places
  EXPECT_EQ(this->GatherAll(*table, rows, keys, blocks), before);
  EXPECT_NE(this->Lookup(table.get(), keys), before);
  table->Release(rows);
}

TYPED_TEST_P(TableContract, RowsThatAreGivenUpAreUsedAgain) {
  TableConfig config = SgdConfig();
  config.expiry.max_age_steps = 10;
  const auto table = TypeParam::Make(config, 16, 1);
  const auto rule = this->RuleOf(config);
  int64_t memory = 0;
  for (int64_t round = 0; round < 6; ++round) {
    const int64_t step = 1 + round * 300;
    this->Train(table.get(), SomeKeys(static_cast<uint64_t>(round), 20000), step, 1, rule);
    for (int64_t s = step; s < step + 299; ++s) table->Expire(s);
    EXPECT_EQ(table->stats().rows, 0);
    if (round == 1) memory = table->stats().memory_bytes;
  }
  EXPECT_LT(table->stats().memory_bytes, memory * 5 / 4);   // without reuse: three times as much
}

TYPED_TEST_P(TableContract, CheckpointRestoresEverything) {
  TableConfig config;
  config.optimizer.name = "adagrad";
  config.admission.kind = "count";
  config.admission.count = 2;
  const auto rule = this->RuleOf(config);
  const auto a = TypeParam::Make(config, 5, 1);
  const auto b = TypeParam::Make(config, 5, 1);
  const auto keys = SomeKeys(7, 4000);
  this->Train(a.get(), {keys.begin(), keys.begin() + 3000}, 1, 1, rule);   // candidates, and default rows
  this->Train(a.get(), {keys.begin(), keys.begin() + 2000}, 2, 2, rule);   // admitted
  MemorySections file;
  ASSERT_TRUE(a->Save(&file, "tables/t").ok());
  this->Train(b.get(), SomeKeys(8, 100), 1, 1, rule);   // to be replaced
  const Status status = b->Load(file, "tables/t");
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(a->Digest(), b->Digest());
  EXPECT_EQ(a->stats().rows, b->stats().rows);
  EXPECT_EQ(a->stats().rejected, b->stats().rejected);
  for (auto* table : {a.get(), b.get()}) this->Train(table, keys, 3, 3, rule);
  EXPECT_EQ(a->Digest(), b->Digest());
  EXPECT_EQ(a->stats().rows, 3001);   // candidates were restored: keys of step 1 were admitted at their second sighting
  MemorySections again_a, again_b;
  ASSERT_TRUE(a->Save(&again_a, "t").ok());
  ASSERT_TRUE(b->Save(&again_b, "t").ok());
  EXPECT_EQ(again_a.sections, again_b.sections);
}

TYPED_TEST_P(TableContract, DigestSeesWeightsSlotsAndMetadata) {
  using T = typename TypeParam::Scalar;
  TableConfig config;
  config.optimizer.name = "adagrad";
  const auto rule = this->RuleOf(config);
  const std::vector<Key> keys = {1, 2, 3};
  std::set<uint64_t> digests;
  const auto add = [&](T grad, int64_t step, bool twice) {
    const auto table = TypeParam::Make(config, 2, 1);
    this->Train(table.get(), keys, step, grad, rule);
    if (twice) this->Train(table.get(), keys, step, T(0), rule);
    digests.insert(table->Digest());
  };
  add(0, 1, false);
  add(1, 1, false);
  add(-1, 1, false);   // another weight, the same slot
  add(0, 2, false);    // last use
  add(0, 1, true);     // count
  EXPECT_EQ(digests.size(), 5u);
}

TYPED_TEST_P(TableContract, LoadNamesWhatDiffersAndLeavesTheTableEmpty) {
  TableConfig config;
  config.optimizer.name = "adagrad";
  const auto table = TypeParam::Make(config, 5, 1);
  this->Train(table.get(), SomeKeys(9, 2000), 1, 1, this->RuleOf(config));
  MemorySections file;
  ASSERT_TRUE(table->Save(&file, "t").ok());

  const auto expect_failure = [&](const SectionReader& reader, const TableConfig& settings, int64_t dim,
                                  const std::string& words, StatusCode code) {
    const auto other = TypeParam::Make(settings, dim, 1);
    this->Train(other.get(), {1, 2}, 1, 0, this->RuleOf(settings));
    const Status status = other->Load(reader, "t");
    EXPECT_EQ(status.code(), code) << status.message();
    EXPECT_NE(status.message().find(words), std::string::npos) << status.message();
    EXPECT_EQ(other->stats().rows, 0);
  };
  expect_failure(file, config, 6, "5 columns", StatusCode::kInvalidArgument);
  TableConfig other_rule = config;
  other_rule.optimizer.name = "ftrl";
  expect_failure(file, other_rule, 5, "adagrad", StatusCode::kInvalidArgument);
  TableConfig other_admission = config;
  other_admission.admission.kind = "count";
  expect_failure(file, other_admission, 5, "admission", StatusCode::kInvalidArgument);
  expect_failure(MemorySections(), config, 5, "t/table", StatusCode::kNotFound);

  MemorySections cut = file;
  cut.sections["t/shard/0003"].resize(cut.sections["t/shard/0003"].size() - 1);
  expect_failure(cut, config, 5, "t/shard/0003", StatusCode::kDataLoss);
  MemorySections lost = file;
  lost.sections.erase("t/shard/0007");
  expect_failure(lost, config, 5, "rows", StatusCode::kDataLoss);
  MemorySections swapped = file;
  std::swap(swapped.sections["t/shard/0001"], swapped.sections["t/shard/0002"]);
  expect_failure(swapped, config, 5, "out of place", StatusCode::kDataLoss);
  MemorySections version = file;
  version.sections["t/table"][8] = std::byte{9};
  expect_failure(version, config, 5, "version 9", StatusCode::kDataLoss);
}

TYPED_TEST_P(TableContract, SaveReportsAFullDisk) {
  const auto table = TypeParam::Make(SgdConfig(), 5, 1);
  this->Train(table.get(), SomeKeys(9, 2000), 1, 1, this->RuleOf(SgdConfig()));
  MemorySections file;
  file.room_bytes = 10000;
  EXPECT_EQ(table->Save(&file, "t").code(), StatusCode::kIo);
}

TYPED_TEST_P(TableContract, WarmStartMapsColumns) {
  using T = typename TypeParam::Scalar;
  TableConfig config;
  config.optimizer.name = "adagrad";
  const auto rule = this->RuleOf(config);
  const auto old = TypeParam::Make(config, 3, 1);
  const std::vector<Key> keys = {1, 2, 0};
  this->Train(old.get(), keys, 5, T(2), rule);
  MemorySections file;
  ASSERT_TRUE(old->Save(&file, "t").ok());
  const auto old_weights = this->Lookup(old.get(), keys);

  LoadOptions options;
  options.warm_start = true;
  EXPECT_EQ(TypeParam::Make(config, 4, 2)->Load(file, "t", options).code(), StatusCode::kInvalidArgument);
  options.columns = {{1, 0, 2}};   // drops column 0; columns 2 and 3 are new
  for (const bool keep_slots : {true, false}) {
    options.keep_slots = options.keep_counts = keep_slots;
    const auto table = TypeParam::Make(config, 4, 2);
    const auto fresh = TypeParam::Make(config, 4, 2);
    this->Train(fresh.get(), keys, 1, 0, rule);
    ASSERT_TRUE(table->Load(file, "t", options).ok());
    const auto weights = this->Lookup(table.get(), keys), initial = this->Lookup(fresh.get(), keys);
    for (size_t i = 0; i < keys.size(); ++i) {
      EXPECT_EQ(weights[i * 4 + 0], old_weights[i * 3 + 1]);
      EXPECT_EQ(weights[i * 4 + 1], old_weights[i * 3 + 2]);
      EXPECT_EQ(weights[i * 4 + 2], initial[i * 4 + 2]);
      EXPECT_EQ(weights[i * 4 + 3], initial[i * 4 + 3]);
      EXPECT_TRUE(table->FindRow(keys[i], [&](const RowView<T>& row) {
        EXPECT_EQ(row.count, keep_slots ? 1u : 0u);
        EXPECT_EQ(row.last_use, 0u);
        EXPECT_EQ(std::vector<T>(row.slots, row.slots + 4),
                  keep_slots ? (std::vector<T>{4, 4, 0, 0}) : (std::vector<T>{0, 0, 0, 0}));
      }));
    }
  }
}

TYPED_TEST_P(TableContract, DifferentBatchesMayOverlap) {
  using T = typename TypeParam::Scalar;
  constexpr int kThreads = 4;
  constexpr int64_t kSteps = 20, kOwn = 2000;
  TableConfig config = SgdConfig();
  config.init.kind = "zero";
  const auto table = TypeParam::Make(config, 8, 1);
  const auto rule = this->RuleOf(config);
  const auto shared = SomeKeys(1000, 3000);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t)
    threads.emplace_back([&, t] {
      std::vector<Key> own;
      for (uint64_t i = 0; i < kOwn; ++i) own.push_back(MixPair(static_cast<uint64_t>(t), i));
      Resolved own_rows, shared_rows;
      const auto own_blocks = this->OneBlock(own), shared_blocks = this->OneBlock(shared);
      std::vector<T> weights(own.size() * 8);
      const std::vector<T> grads(own.size() * 8, T(1));
      for (int64_t step = 1; step <= kSteps; ++step) {
        table->Resolve(shared, {}, shared_blocks, ResolveMode::kTrain, step, nullptr, &shared_rows);
        table->Resolve(own, {}, own_blocks, ResolveMode::kTrain, step, nullptr, &own_rows);
        table->Gather(own_rows, own, own_blocks, {0, kOwn}, weights.data());
        for (const T w : weights) ASSERT_EQ(w, static_cast<T>(1 - step));
        table->Apply(own_rows, own, grads.data(), {0, kOwn}, rule);
        table->Release(own_rows);
        table->Release(shared_rows);
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(table->stats().rows, 3000 + kThreads * kOwn);
  for (const Key key : shared)
    EXPECT_TRUE(table->FindRow(key, [&](const RowView<T>& row) { EXPECT_EQ(row.count, kThreads * kSteps); }));
}

REGISTER_TYPED_TEST_SUITE_P(TableContract, RowsAreFunctionsOfTheKeyAlone, AppliesOneStepPerRow, LookupChangesNothing,
                            MissingKeysReadWhatWasChosen, DefaultRowLearnsFromTheKeysItStandsFor,
                            EqualsReferenceWithoutAdmissionOrExpiry,
                            EqualsReferenceWithAdmissionByCountAndExpiryByAge,
                            EqualsReferenceWithAdmissionByChanceAndCapacity, PinnedRowsAreKeptUntilReleased,
                            UseOfARowAfterItsPinEndedIsCaught, LookupsKeepTheRowsThatTheyHold,
                            RowsThatAreGivenUpAreUsedAgain, CheckpointRestoresEverything,
                            DigestSeesWeightsSlotsAndMetadata, LoadNamesWhatDiffersAndLeavesTheTableEmpty,
                            SaveReportsAFullDisk, WarmStartMapsColumns, DifferentBatchesMayOverlap);

}  // namespace sluice::embedding
