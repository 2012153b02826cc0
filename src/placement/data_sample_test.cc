#include "placement/data_sample.h"

#include <cmath>
#include <mutex>
#include <set>

#include <gtest/gtest.h>

#include "base/rng.h"
#include "comm/rank_threads.h"
#include "placement/batch_parts.h"
#include "placement/key_exchange.h"
#include "placement/key_requests.h"
#include "placement/ownership.h"

namespace sluice::placement {
namespace {

using comm::Traffic;

data::Schema TestSchema() {
  data::Schema schema;
  schema.labels = {"label"};
  for (const char* name : {"one_hot", "multi", "weighted"})
    schema.fields.push_back({.name = name, .vocabulary = name, .salt = VocabularySalt(name)});
  schema.fields[1].one_hot = false;
  schema.fields[2].one_hot = false;
  schema.fields[2].weighted = true;
  return schema;
}

data::Batch TestBatch(const data::Schema& schema, int64_t size, uint64_t seed) {
  data::Batch batch;
  batch.size = size;
  batch.fields.resize(schema.fields.size());
  for (size_t f = 0; f < schema.fields.size(); ++f) {
    auto& column = batch.fields[f];
    const CounterRng rng(seed, f);
    if (!schema.fields[f].one_hot) column.offsets.push_back(0);
    for (int64_t i = 0; i < size; ++i) {
      const uint64_t n =
          schema.fields[f].one_hot ? 1 : rng.Below(static_cast<uint64_t>(i), 5) + (i % 50 == 0 ? 300 : 0);
      for (uint64_t j = 0; j < n; ++j) {
        column.keys.push_back(rng.Bits(1000 * static_cast<uint64_t>(i) + j) % 700);
        if (schema.fields[f].weighted) column.weights.push_back(0.5f);
      }
      if (!schema.fields[f].one_hot) column.offsets.push_back(static_cast<int32_t>(column.keys.size()));
    }
  }
  return batch;
}

// Bytes of a kind that all ranks send while each runs `body(communicator, rank's part of the batch)`.
template <class Body>
double Measured(const data::Schema& schema, const data::Batch& batch, int ranks, const Body& body) {
  std::mutex mutex;
  double bytes = 0;
  comm::RunRankThreads(ranks, std::chrono::seconds(20), [&](comm::Communicator& comm) {
    data::Batch part;
    SliceBatch(batch, schema, SamplesOfRank(batch.size, comm.rank(), ranks), true, &part);
    const Status status = body(comm, part);
    EXPECT_TRUE(status.ok()) << status.message();
    std::lock_guard lock(mutex);
    bytes += static_cast<double>(comm.ledger().totals().sent_bytes[static_cast<size_t>(Traffic::kInputKeys)]);
  });
  return bytes;
}

class DataSampleTest : public testing::TestWithParam<int> {};

TEST_P(DataSampleTest, KeyBytesAreWhatTheExchangeSends) {
  const int ranks = GetParam();
  const data::Schema schema = TestSchema();
  const data::Batch batch = TestBatch(schema, 203, 3);
  DataSample sample(schema, ranks, {0, 0, 0});
  sample.Add(batch);
  DataSample bags(schema, ranks, {1, 1, 1});
  bags.Add(batch);
  const double lengths = 8.0 * ranks * (ranks - 1);
  for (int turn = 0; turn < 6; ++turn) {
    const int field = turn % 3;
    const bool whole_bags = turn >= 3;
    for (const int owner : {-1, 0, ranks - 1}) {
      const double measured = Measured(schema, batch, ranks, [&](comm::Communicator& comm, const data::Batch& part) {
        KeyExchange exchange(schema, {{.field = field, .owner = owner, .whole_bags = whole_bags && owner < 0}}, &comm);
        data::Batch owned;
        std::vector<std::vector<int32_t>> present;
        return exchange.Run(part, batch.size, &owned, &present);
      });
      const auto vocabulary = (whole_bags ? bags : sample).Vocabularies(0)[static_cast<size_t>(field)];
      const double predicted =
          owner < 0 ? vocabulary.remote_key_bytes : vocabulary.home_key_bytes[static_cast<size_t>(owner)];
      EXPECT_EQ(measured, lengths + predicted) << "field " << field << " to " << owner;
    }
  }
}

TEST_P(DataSampleTest, RequestsAreWhatTheFormulaSays) {
  const int ranks = GetParam();
  const data::Schema schema = TestSchema();
  const data::Batch batch = TestBatch(schema, 203, 3);
  DataSample sample(schema, ranks, {0, 0, 0});
  sample.Add(batch);
  const double measured = Measured(schema, batch, ranks, [&](comm::Communicator& comm, const data::Batch& part) {
    embedding::VirtualIdBuilder builder(schema);
    embedding::VirtualIds mine;
    builder.Build(part, nullptr, &mine);
    const Strategy strategy = Uniform(Placement::kRowsA2a, 3);
    const Ownership ownership(strategy, comm.rank(), ranks);
    KeyRequests requests(strategy, ownership, &comm);
    AskedKeys asked;
    RowRoutes routes;
    return requests.Run(mine, &asked, &routes);
  });
  PlanInput input;
  input.num_ranks = ranks;
  input.batch_size = batch.size;
  input.vocabularies = sample.Vocabularies(0);
  EXPECT_EQ(measured, CostOf(input, Uniform(Placement::kRowsA2a, 3)).bytes[static_cast<size_t>(Traffic::kInputKeys)]);
}

INSTANTIATE_TEST_SUITE_P(Ranks, DataSampleTest, testing::Values(2, 3, 5, 8));

TEST(DataSampleStatisticsTest, CountsAreThoseOfSets) {
  const data::Schema schema = TestSchema();
  const data::Batch a = TestBatch(schema, 96, 1), b = TestBatch(schema, 96, 2);
  DataSample sample(schema, 4, {0, 0, 0});
  sample.Add(a);
  sample.Add(b);
  const auto vocabularies = sample.Vocabularies(0);
  for (size_t f = 0; f < 3; ++f) {
    std::set<Key> all;
    double unique = 0, of_ranks = 0, remote = 0;
    for (const data::Batch* batch : {&a, &b}) {
      const auto& column = batch->fields[f];
      unique += static_cast<double>(std::set<Key>(column.keys.begin(), column.keys.end()).size());
      all.insert(column.keys.begin(), column.keys.end());
      for (int r = 0; r < 4; ++r) {
        const Range samples = SamplesOfRank(96, r, 4);
        const std::set<Key> mine(column.keys.begin() + column.begin(samples.begin),
                                 column.keys.begin() + column.begin(samples.end));
        of_ranks += static_cast<double>(mine.size());
        for (const Key key : mine) remote += RankOfKey(key, 4) != r;
      }
    }
    EXPECT_EQ(vocabularies[f].keys, static_cast<double>(a.fields[f].nnz() + b.fields[f].nnz()) / 2);
    EXPECT_EQ(vocabularies[f].unique, unique / 2);
    EXPECT_EQ(vocabularies[f].unique_of_ranks, of_ranks / 2);
    EXPECT_EQ(vocabularies[f].remote_unique, remote / 2);
    EXPECT_EQ(vocabularies[f].rows, static_cast<double>(all.size()));
  }
}

// A vocabulary of 5,000 keys drawn evenly: the estimate from a tenth of the data must not lie below what the data has,
// and not beyond what growth without end would give.
TEST(DataSampleStatisticsTest, RowsAreExtrapolatedByTheirGrowth) {
  data::Schema schema;
  schema.labels = {"label"};
  schema.fields = {{.name = "f", .vocabulary = "f", .salt = 1}};
  DataSample sample(schema, 2, {0});
  const CounterRng rng(5, 5);
  for (int batch = 0; batch < 4; ++batch) {
    data::Batch one;
    one.size = 1000;
    one.fields.resize(1);
    for (uint64_t i = 0; i < 1000; ++i)
      one.fields[0].keys.push_back(rng.Below(static_cast<uint64_t>(batch) * 1000 + i, 5000));
    sample.Add(one);
  }
  const double seen = sample.Vocabularies(0)[0].rows;
  EXPECT_NEAR(seen, 5000 * (1 - std::exp(-0.8)), 100);
  const double all = sample.Vocabularies(40000)[0].rows;
  EXPECT_GT(all, 5000);
  EXPECT_LT(all, seen * 10);
  EXPECT_EQ(sample.Vocabularies(4000)[0].rows, seen);
}

TEST(MeasureLinkTest, GivesEveryRankTheSameNumbers) {
  std::vector<Machine> machines(3);
  comm::RunRankThreads(3, std::chrono::seconds(20), [&](comm::Communicator& comm) {
    EXPECT_TRUE(MeasureLink(&comm, &machines[static_cast<size_t>(comm.rank())]).ok());
  });
  for (const Machine& machine : machines) {
    EXPECT_TRUE(machine.knows_link());
    EXPECT_GT(machine.latency_s, 0);
    EXPECT_EQ(machine.bandwidth_bytes_per_s, machines[0].bandwidth_bytes_per_s);
    EXPECT_EQ(machine.latency_s, machines[0].latency_s);
  }
}

}  // namespace
}  // namespace sluice::placement
