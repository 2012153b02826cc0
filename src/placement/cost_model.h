#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "comm/ledger.h"
#include "placement/machine.h"
#include "placement/strategy.h"

namespace sluice::placement {

// Partial columns that fields of several vocabularies add to: a linear head, a factorisation machine.
struct SharedColumns {
  std::string name;
  int64_t sum_columns = 0;
};

// What is known of one vocabulary: of its data, averages over the batches sampled; of the model, what reads its rows.
struct VocabularyCost {
  std::vector<std::string> fields;
  // ---- data, of one global batch
  double keys = 0;                     // occurrences
  double unique = 0;                   // unique keys of the batch
  double unique_of_ranks = 0;          // unique keys of each rank's samples, summed over ranks
  double remote_unique = 0;            // of those, keys that another rank owns
  double largest_owned_share = 0;      // of `unique`, of the rank that owns most of them: skew
  double remote_key_bytes = 0;         // message bytes where every key goes to the owner of its shard (KeyExchange)
  std::vector<double> home_key_bytes;  // [rank]: where all go to this rank
  double rows = 0;                     // rows of the whole run, estimated
  std::string no_home;                 // why no rank may hold it whole; empty: one may
  // ---- model
  int64_t sum_columns = 0, max_columns = 0;  // partial columns of its fields alone
  std::vector<int> shared;                   // indices of the SharedColumns that its fields add to
  // Dense parameters that owners of its rows multiply with what they pooled, and those of them whose gradient need not
  // be summed where one rank holds the vocabulary whole.
  int64_t layer_params = 0, home_params = 0;
  int64_t row_scalars = 0;  // weights of its rows, over all tables: what travels
  int64_t row_bytes = 0;    // memory of its rows, over all tables: weights, slots, metadata
};

// What the cost of a step follows from (docs/algorithms/planner.md).
struct PlanInput {
  int num_ranks = 2;
  int64_t batch_size = 0;  // global
  std::vector<VocabularyCost> vocabularies;
  std::vector<SharedColumns> shared;
  int64_t dense_params = 0;
  int64_t dense_slots = 0;            // optimizer scalars of the dense net
  int64_t batch_sums = 0;             // doubles summed over ranks per step (BatchNorm, forward and backward)
  bool clips_rows = false;            // clipping by the norm of rows and dense parameters together
  bool clips_dense = false;           // or of dense parameters alone
  int64_t gathered_labels = 0;        // labels whose logits every rank gets (progressive evaluation)
  int64_t gathered_sample_bytes = 0;  // then with sharded input: labels, weights and groups of a sample
  bool sample_weights = false;
  double flops_per_sample = 0;  // of the dense net
  bool deterministic = false;   // sums travel in 64-bit fixed point, losses by logical chunk
  int64_t scalar_bytes = 4;     // in memory
  // A number of each kind on the wire; sums of partials on their way forward, row gradients on theirs back.
  int64_t partial_bytes = 4, forward_sum_bytes = 4;
  int64_t row_bytes = 4, row_gradient_bytes = 4;
  int64_t dense_bytes = 4;
  double memory_per_rank = 0;  // bytes; 0: no bound
  double largest_home = 0;     // bytes of rows of one vocabulary; 0: no bound
  Machine machine;
};

// Seconds of one step, part by part; the parts of the slowest rank, one after the other.
struct StepTime {
  double keys_s = 0;  // parsing, virtual ids, pooling
  double rows_s = 0;  // finding, gathering and updating rows
  double dense_s = 0;
  double link_s = 0;    // bytes over the link, and the latency of every step of a collective
  double copies_s = 0;  // bytes packed, summed, unpacked
  double total_s() const { return keys_s + rows_s + dense_s + link_s + copies_s; }
};

struct StepCost {
  std::array<double, comm::kNumTraffics> bytes{};  // payload of a step by kind, summed over ranks
  StepTime time;                                   // zeros without a machine; of the slowest rank
  double mean_s = 0;                               // the same parts of an average rank
  std::vector<double> memory;                      // [rank] bytes: rows, dense parameters, buffers of partials and rows

  double total_bytes() const;
  double largest_memory() const;
};

// What one step costs. Exact for a batch like those sampled: payload is what the ledger counts.
// REQUIRES: a settled strategy of input.vocabularies.size() vocabularies.
StepCost CostOf(const PlanInput& input, const Strategy& strategy);

// Bytes that each rank holds; a vocabulary of kFieldA2a without a home counts with what every rank holds of it.
std::vector<double> MemoryOf(const PlanInput& input, const Strategy& strategy);
// What its home holds of it besides.
double HomeMemory(const PlanInput& input, const VocabularyCost& vocabulary);

// Columns that are reduced by sum among those that somebody computes for others' samples.
int64_t SharedColumnsPaid(const PlanInput& input, const Strategy& strategy);

}  // namespace sluice::placement
