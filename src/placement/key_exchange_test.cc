#include "placement/key_exchange.h"

#include <atomic>
#include <map>
#include <set>

#include <gtest/gtest.h>

#include "base/rng.h"
#include "comm/rank_threads.h"
#include "placement/ownership.h"

namespace sluice::placement {
namespace {

constexpr int64_t kBatch = 101;  // no number of ranks divides it

data::Schema TestSchema() {
  data::Schema schema;
  schema.labels = {"label"};
  for (const char* name : {"one_hot", "multi", "weighted", "not_routed"})
    schema.fields.push_back({.name = name, .vocabulary = name, .salt = VocabularySalt(name)});
  schema.fields[1].one_hot = false;
  schema.fields[2].one_hot = false;
  schema.fields[2].weighted = true;
  return schema;
}

// Samples [range) of the global batch: a function of the sample's index alone.
data::Batch MakeBatch(const data::Schema& schema, Range range) {
  data::Batch batch;
  batch.size = range.size();
  batch.first_sample = 1000 + range.begin;
  batch.fields.resize(schema.fields.size());
  for (size_t f = 0; f < schema.fields.size(); ++f) {
    auto& column = batch.fields[f];
    const CounterRng rng(7, f);
    if (!schema.fields[f].one_hot) column.offsets.push_back(0);
    for (int64_t i = range.begin; i < range.end; ++i) {
      const uint64_t n = schema.fields[f].one_hot ? 1 : rng.Below(i, 400) % 5 + (i % 50 == 0 ? 300 : 0);
      for (uint64_t j = 0; j < n; ++j) {
        column.keys.push_back(rng.Bits(1000 * i + j) % 500);
        if (schema.fields[f].weighted) column.weights.push_back(static_cast<float>(rng.Uniform(1000 * i + j)));
      }
      if (!schema.fields[f].one_hot) column.offsets.push_back(static_cast<int32_t>(column.keys.size()));
    }
  }
  return batch;
}

class KeyExchangeTest : public testing::TestWithParam<int> {};

TEST_P(KeyExchangeTest, EveryKeyReachesItsOwnerOnceInSampleOrder) {
  const int ranks = GetParam();
  const data::Schema schema = TestSchema();
  const data::Batch whole = MakeBatch(schema, {0, kBatch});
  const std::vector<FieldRoute> routes = {{.field = 0}, {.field = 1, .owner = ranks - 1}, {.field = 2}};
  comm::RunRankThreads(ranks, std::chrono::seconds(20), [&](comm::Communicator& comm) {
    KeyExchange exchange(schema, routes, &comm);
    for (int round = 0; round < 2; ++round) {
      data::Batch owned;
      std::vector<std::vector<int32_t>> present;
      const data::Batch local = MakeBatch(schema, SamplesOfRank(kBatch, comm.rank(), ranks));
      const Status status = exchange.Run(local, kBatch, &owned, &present);
      ASSERT_TRUE(status.ok()) << status.message();
      ASSERT_EQ(owned.size, kBatch);
      EXPECT_EQ(owned.first_sample, 1000);
      for (int f = 0; f < 4; ++f) {
        const auto& want = whole.fields[f];
        const auto& got = owned.fields[f];
        ASSERT_EQ(got.offsets.size(), static_cast<size_t>(kBatch) + 1);
        int64_t at = 0;
        for (int64_t i = 0; i < kBatch; ++i) {
          for (int64_t j = want.begin(i); j < want.end(i); ++j) {
            const int owner = f == 3 ? -1 : f == 1 ? ranks - 1 : RankOfKey(want.keys[j], ranks);
            if (owner != comm.rank()) continue;
            ASSERT_LT(at, got.nnz());
            EXPECT_EQ(got.keys[at], want.keys[j]);
            if (f == 2) {
              EXPECT_EQ(got.weights[at], want.weights[j]);
            }
            ++at;
          }
          EXPECT_EQ(got.end(i), at) << "field " << f << " sample " << i;
        }
        EXPECT_EQ(got.nnz(), at);
      }
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Ranks, KeyExchangeTest, testing::Values(1, 2, 3, 4, 8));

// Every rank that owns a key of a sample knows how many keys the sample has, and the weights of all of them.
TEST_P(KeyExchangeTest, WholeBagsHoldTheKeysOfOthersToo) {
  const int ranks = GetParam();
  const data::Schema schema = TestSchema();
  const data::Batch whole = MakeBatch(schema, {0, kBatch});
  comm::RunRankThreads(ranks, std::chrono::seconds(20), [&](comm::Communicator& comm) {
    KeyExchange exchange(schema, {{.field = 1, .whole_bags = true}, {.field = 2, .whole_bags = true}}, &comm);
    data::Batch owned;
    std::vector<std::vector<int32_t>> present;
    const data::Batch local = MakeBatch(schema, SamplesOfRank(kBatch, comm.rank(), ranks));
    const Status status = exchange.Run(local, kBatch, &owned, &present);
    ASSERT_TRUE(status.ok()) << status.message();
    for (const int f : {1, 2}) {
      const auto& want = whole.fields[f];
      const auto& got = owned.fields[f];
      size_t seen = 0;
      for (int64_t i = 0; i < kBatch; ++i) {
        std::vector<Key> mine;
        std::multiset<float> weights, got_weights;
        for (int64_t j = want.begin(i); j < want.end(i); ++j) {
          if (RankOfKey(want.keys[j], ranks) == comm.rank()) mine.push_back(want.keys[j]);
          if (f == 2) weights.insert(want.weights[j]);
        }
        ASSERT_EQ(got.end(i) - got.begin(i), mine.empty() ? 0 : want.end(i) - want.begin(i)) << i;
        for (const Key key : mine) {
          ASSERT_LT(seen, present[f].size());
          EXPECT_EQ(got.keys[static_cast<size_t>(present[f][seen++])], key);
        }
        for (int64_t j = got.begin(i); j < got.end(i) && f == 2; ++j) got_weights.insert(got.weights[j]);
        if (!mine.empty()) {
          EXPECT_EQ(got_weights, weights);
        }
      }
      EXPECT_EQ(seen, present[f].size());
    }
  });
}

// Rank 1 sends what it should not.
TEST(KeyExchangeTest, RefusesDamagedMessages) {
  const data::Schema schema = TestSchema();
  const auto message = [](std::initializer_list<int> bytes, size_t zeros) {
    std::vector<std::byte> out;
    for (const int byte : bytes) out.push_back(static_cast<std::byte>(byte));
    out.resize(out.size() + zeros);
    return out;
  };
  struct Case {
    FieldRoute route;
    std::vector<std::byte> sent;  // about rank 1's two samples
    const char* words;
  };
  const std::vector<Case> cases = {
      {{.field = 0, .owner = 0}, message({3}, 2 * 8 + 1), ""},
      {{.field = 0, .owner = 0}, message({1}, 1 * 8 + 1), "3 keys of field one_hot came for 4 samples"},
      {{.field = 0, .owner = 0}, message({3}, 1 * 8 + 1), "sent for field one_hot are damaged"},
      {{.field = 0, .owner = 0}, message({3}, 2 * 8 + 2), "bytes left over"},
      {{.field = 1}, message({1, 0}, 8 + 1), ""},
      {{.field = 1}, message({1}, 0), "sent for field multi are damaged"},
      {{.field = 1}, message({0x80, 0x80, 0x80, 0x80, 0x80, 1, 1}, 30), "sent for field multi are damaged"},
      {{.field = 1, .whole_bags = true}, message({1, 2, 1, 0}, 2 * 8 + 1), ""},
      {{.field = 1, .whole_bags = true},
       message({1, 0xff, 0xff, 0xff, 0x7f, 0}, 9),
       "sent for field multi are damaged"},
  };
  for (const Case& c : cases) {
    comm::RunRankThreads(2, std::chrono::seconds(20), [&](comm::Communicator& comm) {
      if (comm.rank() == 1) {
        const std::vector<int64_t> lengths = {static_cast<int64_t>(c.sent.size()), 0};
        auto mine = comm.ExchangeCounts(lengths, comm::Traffic::kInputKeys);
        ASSERT_TRUE(mine.ok());
        std::vector<std::byte> in(static_cast<size_t>((*mine)[0]));
        ASSERT_TRUE(comm.AllToAll({c.sent, {}}, {in, {}}, comm::Traffic::kInputKeys).ok());
        return;
      }
      KeyExchange exchange(schema, {c.route}, &comm);
      data::Batch owned;
      std::vector<std::vector<int32_t>> present;
      const Status status = exchange.Run(MakeBatch(schema, SamplesOfRank(4, 0, 2)), 4, &owned, &present);
      EXPECT_EQ(status.ok(), c.words[0] == '\0') << status.message();
      if (!status.ok()) {
        EXPECT_EQ(status.code(), StatusCode::kDataLoss);
      }
      EXPECT_NE(status.message().find(c.words), std::string::npos) << status.message();
    });
  }
}

TEST(KeyExchangeBytesTest, PayloadIsTheFormula) {
  const data::Schema schema = TestSchema();
  std::atomic<int64_t> sent{0}, expected{0};
  constexpr int kRanks = 3;
  comm::RunRankThreads(kRanks, std::chrono::seconds(20), [&](comm::Communicator& comm) {
    KeyExchange exchange(schema, {{.field = 0}}, &comm);
    const data::Batch local = MakeBatch(schema, SamplesOfRank(kBatch, comm.rank(), kRanks));
    data::Batch owned;
    std::vector<std::vector<int32_t>> present;
    ASSERT_TRUE(exchange.Run(local, kBatch, &owned, &present).ok());
    int64_t foreign = 0;
    for (const Key key : local.fields[0].keys) foreign += RankOfKey(key, kRanks) != comm.rank();
    // To each other rank: the length, a bit per sample, the keys and the byte that says "no weights".
    expected += (kRanks - 1) * (8 + (local.size + 7) / 8 + 1) + 8 * foreign;
    sent += comm.ledger().totals().sent_bytes[static_cast<int>(comm::Traffic::kInputKeys)];
  });
  EXPECT_EQ(sent.load(), expected.load());
}

TEST(OwnershipTest, RanksOwnWholeShardsAndWholeChunks) {
  for (int ranks : {1, 2, 3, 4, 6, 7, 8, 24}) {
    for (int shard = 0; shard < embedding::kNumShards; ++shard) {
      const Range shards = PartRange(embedding::kNumShards, RankOfShard(shard, ranks), ranks);
      EXPECT_LE(shards.begin, shard);
      EXPECT_GT(shards.end, shard);
    }
    for (int64_t batch : {0, 1, 5, 101, 4096}) {
      int64_t next = 0;
      for (int r = 0; r < ranks; ++r) {
        EXPECT_EQ(SamplesOfRank(batch, r, ranks).begin, next);
        next = SamplesOfRank(batch, r, ranks).end;
      }
      EXPECT_EQ(next, batch);
    }
  }
}

}  // namespace
}  // namespace sluice::placement
