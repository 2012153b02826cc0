#pragma once

#include <cstdint>
#include <vector>

#include "base/chunks.h"
#include "embedding/table.h"
#include "placement/strategy.h"

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

// Which rank holds a row: the home of its vocabulary where that has one, else the owner of its shard. Every row lives
// on one rank.
class Ownership {
 public:
  Ownership(const Strategy& strategy, int rank, int num_ranks)
      : home_(strategy.home), rank_of_shard_(embedding::kNumShards), rank_(rank), size_(num_ranks) {
    for (int s = 0; s < embedding::kNumShards; ++s) rank_of_shard_[static_cast<size_t>(s)] = RankOfShard(s, num_ranks);
    for (const int home : home_) {
      whole_shards_ = whole_shards_ && home < 0;
      is_home_ = is_home_ || home == rank;
    }
  }

  int rank() const { return rank_; }
  int size() const { return size_; }
  bool whole_shards() const { return whole_shards_; }  // no vocabulary has a home
  bool is_home() const { return is_home_; }            // some vocabulary has it here
  // -1: each row of the vocabulary lives with the owner of its shard.
  int home(int vocabulary) const { return home_[static_cast<size_t>(vocabulary)]; }
  int OfShard(int shard) const { return rank_of_shard_[static_cast<size_t>(shard)]; }
  int Of(int vocabulary, int shard) const { return home(vocabulary) >= 0 ? home(vocabulary) : OfShard(shard); }
  int OfKey(int vocabulary, Key key) const { return Of(vocabulary, embedding::ShardOf(key)); }

 private:
  std::vector<int> home_;
  std::vector<int32_t> rank_of_shard_;
  int rank_, size_;
  bool whole_shards_ = true, is_home_ = false;
};

}  // namespace sluice::placement
