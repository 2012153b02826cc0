#pragma once

#include "base/chunks.h"
#include "embedding/table.h"

namespace sluice::placement {

// Which rank owns a virtual shard: consecutive shards, as evenly as they divide.
constexpr int RankOfShard(int shard, int num_ranks) {
  // The rank r with PartRange(kNumShards, r, num_ranks) around `shard`.
  int rank = static_cast<int>((static_cast<int64_t>(shard) * num_ranks) / embedding::kNumShards);
  while (shard >= PartRange(embedding::kNumShards, rank, num_ranks).end) ++rank;
  while (shard < PartRange(embedding::kNumShards, rank, num_ranks).begin) --rank;
  return rank;
}
inline int RankOfKey(Key key, int num_ranks) { return RankOfShard(embedding::ShardOf(key), num_ranks); }

// The samples of a global batch that a rank computes: whole logical chunks.
constexpr Range SamplesOfRank(int64_t global_batch, int rank, int num_ranks) {
  return ChunksOfPart(global_batch, rank, num_ranks);
}

}  // namespace sluice::placement
