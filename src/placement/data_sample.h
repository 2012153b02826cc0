#pragma once

#include <cstdint>
#include <unordered_set>
#include <vector>

#include "base/hash.h"
#include "data/batch.h"
#include "data/schema.h"
#include "embedding/virtual_ids.h"
#include "placement/cost_model.h"

namespace sluice::placement {

// Statistics of a user's data, of a few of its global batches: what a plan knows of each vocabulary.
// Threads      one call at a time.
// Cost         a hash-table insertion per key and rank; the distinct keys of all batches are kept.
class DataSample {
 public:
  // `whole_bags` [field]: with sharded input owners learn of the keys of others in a sample (KeyExchange).
  DataSample(const data::Schema& schema, int num_ranks, std::vector<uint8_t> whole_bags);

  void Add(const data::Batch& batch);

  int64_t batches() const { return batches_; }
  int64_t samples() const { return samples_; }
  // The data's half of each vocabulary's cost. `total_samples` of the whole data: rows are extrapolated to it by the
  // growth over the second half of the sample (Heaps' law); 0: not known, rows are those seen.
  std::vector<VocabularyCost> Vocabularies(int64_t total_samples) const;

 private:
  struct Distinct {
    std::unordered_set<Key> keys;
    std::vector<int64_t> after;  // [batch]: distinct keys so far
  };

  void CountKeyBytes(const data::Batch& batch, int vocabulary, VocabularyCost* sums) const;

  const data::Schema schema_;
  int num_ranks_;
  std::vector<uint8_t> whole_bags_;
  embedding::VirtualIdBuilder builder_;
  std::vector<VocabularyCost> sums_;  // over batches
  std::vector<Distinct> distinct_;
  int64_t batches_ = 0, samples_ = 0;
};

}  // namespace sluice::placement
