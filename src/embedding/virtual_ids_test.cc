#include "embedding/virtual_ids.h"

#include <gtest/gtest.h>

#include <map>

#include "base/rng.h"

namespace sluice::embedding {
namespace {

data::Schema SchemaOf(const std::vector<std::string>& vocabularies) {
  data::Schema schema;
  for (size_t f = 0; f < vocabularies.size(); ++f)
    schema.fields.push_back({"f" + std::to_string(f), vocabularies[f], VocabularySalt(vocabularies[f]), true, false});
  return schema;
}

// The definition, written with ordered maps.
VirtualIds Naive(const data::Schema& schema, const data::Batch& batch) {
  std::vector<std::string> vocabularies;
  for (const auto& field : schema.fields)
    if (std::find(vocabularies.begin(), vocabularies.end(), field.vocabulary) == vocabularies.end())
      vocabularies.push_back(field.vocabulary);
  VirtualIds out;
  out.inverse.resize(schema.fields.size());
  for (const auto& vocabulary : vocabularies) {
    out.block_begin.push_back(static_cast<int32_t>(out.unique.size()));
    std::map<Key, int32_t> seen;
    for (size_t f = 0; f < schema.fields.size(); ++f) {
      if (schema.fields[f].vocabulary != vocabulary) continue;
      for (const Key key : batch.fields[f].keys) {
        const auto [at, added] = seen.emplace(key, static_cast<int32_t>(out.unique.size()));
        if (added) {
          out.unique.push_back(key);
          out.counts.push_back(0);
        }
        ++out.counts[static_cast<size_t>(at->second)];
        out.inverse[f].push_back(at->second);
      }
    }
  }
  out.block_begin.push_back(static_cast<int32_t>(out.unique.size()));
  return out;
}

void ExpectEqual(const VirtualIds& a, const VirtualIds& b) {
  EXPECT_EQ(a.unique, b.unique);
  EXPECT_EQ(a.counts, b.counts);
  EXPECT_EQ(a.block_begin, b.block_begin);
  EXPECT_EQ(a.inverse, b.inverse);
}

data::Batch RandomBatch(uint64_t seed, size_t fields, int64_t samples, uint64_t range) {
  data::Batch batch;
  batch.size = samples;
  batch.fields.resize(fields);
  const CounterRng rng(seed, 7);
  uint64_t i = 0;
  for (size_t f = 0; f < fields; ++f) {
    auto& column = batch.fields[f];
    const bool multi_hot = f % 2 == 1;
    if (multi_hot) column.offsets.push_back(0);
    for (int64_t s = 0; s < samples; ++s) {
      const int64_t n = multi_hot ? static_cast<int64_t>(rng.Below(i++, 5)) : 1;
      for (int64_t k = 0; k < n; ++k) {
        const uint64_t v = rng.Below(i++, range);
        column.keys.push_back(f % 3 == 0 ? v : f % 3 == 1 ? v << 48 : Mix64(v));
      }
      if (multi_hot) column.offsets.push_back(static_cast<int32_t>(column.keys.size()));
    }
  }
  return batch;
}

TEST(VirtualIdsTest, EqualsDefinitionOnRandomBatchesAtAnyNumberOfThreads) {
  const data::Schema schema = SchemaOf({"a", "b", "a", "c", "b", "d"});
  VirtualIdBuilder builder(schema);
  ASSERT_EQ(builder.num_vocabularies(), 4);
  ThreadPool two(2), four(4);
  VirtualIds ids;   // reused, as the trainer does
  for (uint64_t seed = 0; seed < 30; ++seed) {
    SCOPED_TRACE(seed);
    const data::Batch batch =
        RandomBatch(seed, schema.fields.size(), static_cast<int64_t>(CounterRng(seed, 1).Below(0, 3000)), 1 + seed * seed);
    const VirtualIds expected = Naive(schema, batch);
    for (ThreadPool* pool : {static_cast<ThreadPool*>(nullptr), &two, &four}) {
      builder.Build(batch, pool, &ids);
      ExpectEqual(ids, expected);
    }
  }
}

TEST(VirtualIdsTest, TakesEdgeKeysAsOrdinaryKeys) {
  const data::Schema schema = SchemaOf({"a"});
  data::Batch batch;
  batch.size = 8;
  batch.fields.resize(1);
  batch.fields[0].keys = {0, ~0ULL, 1ULL << 63, 0, 1ULL << 63, ~0ULL, 1, 0};
  VirtualIdBuilder builder(schema);
  VirtualIds ids;
  builder.Build(batch, nullptr, &ids);
  EXPECT_EQ(ids.unique, (std::vector<Key>{0, ~0ULL, 1ULL << 63, 1}));
  EXPECT_EQ(ids.counts, (std::vector<int32_t>{3, 2, 2, 1}));
  EXPECT_EQ(ids.inverse[0], (std::vector<int32_t>{0, 1, 2, 0, 2, 1, 3, 0}));
}

TEST(VirtualIdsTest, GivesNothingForAnEmptyBatch) {
  const data::Schema schema = SchemaOf({"a", "b"});
  data::Batch batch;
  batch.fields.resize(2);
  VirtualIdBuilder builder(schema);
  VirtualIds ids;
  builder.Build(batch, nullptr, &ids);
  EXPECT_EQ(ids.num_unique(), 0);
  EXPECT_EQ(ids.block_begin, (std::vector<int32_t>{0, 0, 0}));
}

TEST(VirtualIdsTest, HandlesVocabulariesLargerThanTheCache) {
  const data::Schema schema = SchemaOf({"a", "a"});
  const data::Batch batch = RandomBatch(3, 2, 200000, 1 << 20);
  VirtualIdBuilder builder(schema);
  VirtualIds ids;
  builder.Build(batch, nullptr, &ids);
  ExpectEqual(ids, Naive(schema, batch));
}

}  // namespace
}  // namespace sluice::embedding
