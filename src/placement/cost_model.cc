#include "placement/cost_model.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/chunks.h"
#include "base/exact_sum.h"
#include "placement/ownership.h"

namespace sluice::placement {
namespace {

using comm::Traffic;

// Bytes of control in front of messages of keys (docs/algorithms/planner.md, formulas).
constexpr double kLengthBytes = 8, kCountBytes = 4, kRequestBytes = 12;

// Where bytes of a collective go, and how many messages a rank sends one after the other.
class Bill {
 public:
  explicit Bill(const PlanInput& input)
      : input_(input), ranks_(input.num_ranks), sent_(static_cast<size_t>(input.num_ranks), 0.0) {
    for (int r = 0; r < ranks_; ++r)
      samples_.push_back(static_cast<double>(SamplesOfRank(input.batch_size, r, ranks_).size()));
  }

  double samples(int rank) const { return samples_[static_cast<size_t>(rank)]; }
  const std::array<double, comm::kNumTraffics>& bytes() const { return bytes_; }
  double most_sent() const { return *std::max_element(sent_.begin(), sent_.end()); }
  double mean_sent() const { return std::accumulate(sent_.begin(), sent_.end(), 0.0) / ranks_; }
  double steps() const { return steps_; }

  void AllReduce(Traffic traffic, double size) {
    if (size <= 0) return;
    Spread(traffic, 2.0 * (ranks_ - 1) * size);
    steps_ += 2.0 * (ranks_ - 1);
  }
  // Each rank gets the part of its samples; `size` bytes a sample.
  void ReduceScatter(Traffic traffic, double size) {
    if (size <= 0) return;
    for (int r = 0; r < ranks_; ++r) Add(traffic, r, (static_cast<double>(input_.batch_size) - samples(r)) * size);
    steps_ += ranks_ - 1;
  }
  void AllGather(Traffic traffic, double size) {
    if (size <= 0) return;
    Spread(traffic, (ranks_ - 1.0) * static_cast<double>(input_.batch_size) * size);
    steps_ += ranks_ - 1;
  }
  // From one rank to all others the part of their samples.
  void Scatter(Traffic traffic, int from, double size) {
    Add(traffic, from, (static_cast<double>(input_.batch_size) - samples(from)) * size);
  }
  void Gather(Traffic traffic, int to, double size) {
    for (int r = 0; r < ranks_; ++r)
      if (r != to) Add(traffic, r, samples(r) * size);
  }
  // Evenly over ranks.
  void Spread(Traffic traffic, double total) {
    for (int r = 0; r < ranks_; ++r) Add(traffic, r, total / ranks_);
  }
  void AllToAllStep() { steps_ += 1; }  // pairwise messages are all posted at once

 private:
  void Add(Traffic traffic, int rank, double bytes) {
    bytes_[static_cast<size_t>(traffic)] += bytes;
    sent_[static_cast<size_t>(rank)] += bytes;
  }

  const PlanInput& input_;
  int ranks_;
  std::vector<double> samples_, sent_;
  std::array<double, comm::kNumTraffics> bytes_{};
  double steps_ = 0;
};

bool OwnerComputes(const Strategy& strategy, size_t v) { return strategy.of_vocabulary[v] != Placement::kRowsA2a; }

void AddPartials(const PlanInput& input, const Strategy& strategy, Bill* bill) {
  const double size = static_cast<double>(input.partial_bytes), forward = static_cast<double>(input.forward_sum_bytes);
  int64_t sums = SharedColumnsPaid(input, strategy), maxima = 0;
  bool fields = false;
  for (size_t v = 0; v < input.vocabularies.size(); ++v) {
    const VocabularyCost& vocabulary = input.vocabularies[v];
    if (strategy.of_vocabulary[v] == Placement::kFieldA2a) {
      const double summed = static_cast<double>(vocabulary.sum_columns),
                   largest = static_cast<double>(vocabulary.max_columns);
      bill->Scatter(Traffic::kPartials, strategy.home[v], summed * forward + largest * size);
      bill->Gather(Traffic::kPartials, strategy.home[v], (summed + largest) * size);
      fields = fields || summed + largest > 0;
    } else if (OwnerComputes(strategy, v)) {
      sums += vocabulary.sum_columns;
      maxima += vocabulary.max_columns;
    }
  }
  if (strategy.replicated) {
    const double samples = static_cast<double>(input.batch_size);
    bill->AllReduce(Traffic::kPartials, samples * static_cast<double>(sums) * forward);
    bill->AllReduce(Traffic::kPartials, samples * static_cast<double>(maxima) * size);
    return;
  }
  bill->ReduceScatter(Traffic::kPartials, static_cast<double>(sums) * forward);
  bill->AllGather(Traffic::kPartials, static_cast<double>(sums) * size);
  bill->AllReduce(Traffic::kPartials, static_cast<double>(input.batch_size * maxima) * size);
  bill->AllGather(Traffic::kPartials, static_cast<double>(maxima) * size);
  if (fields) {
    bill->AllToAllStep();
    bill->AllToAllStep();
  }
}

void AddKeysAndRows(const PlanInput& input, const Strategy& strategy, Bill* bill) {
  const double pairs = static_cast<double>(input.num_ranks) * (input.num_ranks - 1);
  if (strategy.uses(Placement::kRowsA2a)) {
    double remote = 0, scalars = 0, travelling = 0;
    for (size_t v = 0; v < input.vocabularies.size(); ++v) {
      if (OwnerComputes(strategy, v)) continue;
      ++travelling;
      remote += input.vocabularies[v].remote_unique;
      scalars += input.vocabularies[v].remote_unique * static_cast<double>(input.vocabularies[v].row_scalars);
    }
    bill->Spread(Traffic::kInputKeys, pairs * (kLengthBytes + kCountBytes * travelling) + kRequestBytes * remote);
    bill->Spread(Traffic::kRows, scalars * static_cast<double>(input.row_bytes));
    bill->Spread(Traffic::kRowGradients, scalars * static_cast<double>(input.row_gradient_bytes));
    for (int i = 0; i < 4; ++i) bill->AllToAllStep();  // lengths, keys, rows, gradients
  }
  if (strategy.sharded_input && strategy.owner_computes()) {
    double bytes = pairs * kLengthBytes;
    for (size_t v = 0; v < input.vocabularies.size(); ++v) {
      const VocabularyCost& vocabulary = input.vocabularies[v];
      if (strategy.of_vocabulary[v] == Placement::kFieldA2a)
        bytes += vocabulary.home_key_bytes[static_cast<size_t>(strategy.home[v])];
      else if (OwnerComputes(strategy, v))
        bytes += vocabulary.remote_key_bytes;
    }
    bill->Spread(Traffic::kInputKeys, bytes);
    bill->AllToAllStep();
    bill->AllToAllStep();
  }
}

// Sums of all ranks for a few numbers, as the ledger counts them.
void AddDenseAndStatistics(const PlanInput& input, const Strategy& strategy, Bill* bill) {
  constexpr double kDouble = 8;
  // A wish, the loss and its weight, or those of each logical chunk.
  const double losses = input.deterministic ? 2.0 * kNumChunks : 2.0;
  bill->AllReduce(Traffic::kStatistics, kDouble * (strategy.replicated ? 1 : 1 + losses));
  if (input.clips_rows) bill->AllReduce(Traffic::kStatistics, kDouble * (input.deterministic ? ExactSum::kWords : 1));
  int64_t apart = 0, layers = 0;  // dense parameters that one rank has
  for (size_t v = 0; v < input.vocabularies.size(); ++v) {
    layers += input.vocabularies[v].layer_params;
    if (strategy.home[v] >= 0) apart += input.vocabularies[v].home_params;
  }
  if (apart > 0 && (input.clips_rows || input.clips_dense)) bill->AllReduce(Traffic::kStatistics, kDouble);
  const int64_t summed = (strategy.replicated ? layers : input.dense_params) - apart;
  bill->AllReduce(Traffic::kDenseGradients, static_cast<double>(summed * input.dense_bytes));
  if (strategy.replicated) return;
  bill->AllReduce(Traffic::kStatistics, kDouble * static_cast<double>(input.batch_sums));
  bill->AllGather(Traffic::kStatistics, static_cast<double>(input.gathered_labels * input.scalar_bytes));
  if (!strategy.sharded_input) return;
  // Labels, weights and groups of the others' samples, which this rank does not read.
  bill->AllGather(Traffic::kStatistics, static_cast<double>(input.gathered_sample_bytes));
  if (input.sample_weights) bill->AllReduce(Traffic::kStatistics, kDouble);
}

// Seconds that the slowest rank computes; added to *mean_s, those of an average one.
void AddCompute(const PlanInput& input, const Strategy& strategy, const Bill& bill, StepTime* time, double* mean_s) {
  const Machine& machine = input.machine;
  std::vector<double> keys_s(static_cast<size_t>(input.num_ranks), 0.0), rows_s(keys_s);
  const double ranks = input.num_ranks;
  const double scalar = static_cast<double>(input.scalar_bytes);
  for (size_t v = 0; v < input.vocabularies.size(); ++v) {
    const VocabularyCost& vocabulary = input.vocabularies[v];
    const double width = static_cast<double>(vocabulary.row_scalars) * scalar;
    // An occurrence is pooled and its gradient added; a row is gathered and updated, its slots too.
    const double pool_s = 2 * width * machine.byte_s;
    const double row_s = machine.row_s + (width + static_cast<double>(vocabulary.row_bytes)) * machine.byte_s;
    const Placement placement = strategy.of_vocabulary[v];
    for (int r = 0; r < input.num_ranks; ++r) {
      const auto rank = static_cast<size_t>(r);
      const bool home = placement == Placement::kFieldA2a && strategy.home[v] == r;
      double share = placement == Placement::kFieldA2a ? (home ? 1.0 : 0.0) : 1 / ranks;
      // Parsed where read: replicated input is read whole by every rank.
      const double own = bill.samples(r) / static_cast<double>(std::max<int64_t>(1, input.batch_size));
      keys_s[rank] +=
          vocabulary.keys * (strategy.sharded_input || (!strategy.owner_computes()) ? own : 1.0) * machine.read_s;
      keys_s[rank] += vocabulary.keys * (placement == Placement::kRowsA2a ? own : share) * (machine.id_s + pool_s);
      // Owners of shards look at every key of the batch; a home takes a field whole.
      if (placement == Placement::kDes || placement == Placement::kDesRs)
        keys_s[rank] += vocabulary.keys * (strategy.sharded_input ? own : 1.0) * machine.pass_s;
      if (placement != Placement::kFieldA2a) share = std::max(share, vocabulary.largest_owned_share);
      rows_s[rank] += vocabulary.unique * share * row_s;
      // Rows pulled are written into a matrix of their own, their gradients summed again at the owner.
      if (placement == Placement::kRowsA2a)
        rows_s[rank] += vocabulary.unique_of_ranks / ranks * (machine.id_s + 2 * width * machine.byte_s);
    }
  }
  size_t slowest = 0;
  for (size_t r = 1; r < keys_s.size(); ++r)
    if (keys_s[r] + rows_s[r] > keys_s[slowest] + rows_s[slowest]) slowest = r;
  time->keys_s = keys_s[slowest];
  time->rows_s = rows_s[slowest];
  double most_samples = 0;
  for (int r = 0; r < input.num_ranks; ++r) most_samples = std::max(most_samples, bill.samples(r));
  const double samples = strategy.replicated ? static_cast<double>(input.batch_size) : most_samples;
  if (machine.flops_per_s > 0) time->dense_s = samples * input.flops_per_sample / machine.flops_per_s;
  *mean_s +=
      time->dense_s +
      (std::accumulate(keys_s.begin(), keys_s.end(), 0.0) + std::accumulate(rows_s.begin(), rows_s.end(), 0.0)) / ranks;
}

}  // namespace

double StepCost::total_bytes() const { return std::accumulate(bytes.begin(), bytes.end(), 0.0); }

double StepCost::largest_memory() const { return memory.empty() ? 0 : *std::max_element(memory.begin(), memory.end()); }

double HomeMemory(const PlanInput& input, const VocabularyCost& vocabulary) {
  const double scalar = static_cast<double>(input.scalar_bytes);
  return vocabulary.rows * static_cast<double>(vocabulary.row_bytes) +
         2 * vocabulary.unique * static_cast<double>(vocabulary.row_scalars) * scalar +
         2 * static_cast<double>(input.batch_size * (vocabulary.sum_columns + vocabulary.max_columns)) * scalar;
}

std::vector<double> MemoryOf(const PlanInput& input, const Strategy& strategy) {
  const double scalar = static_cast<double>(input.scalar_bytes), ranks = input.num_ranks;
  const double samples = static_cast<double>(input.batch_size), own = samples / ranks;
  // Values, gradient and slots of the dense net; partials of the whole batch and their gradients; rows of a batch and
  // their gradients, where they lie and where they are read.
  const double everywhere = static_cast<double>(2 * input.dense_params + input.dense_slots) * scalar +
                            2 * samples * static_cast<double>(SharedColumnsPaid(input, strategy)) * scalar;
  std::vector<double> memory(static_cast<size_t>(input.num_ranks), everywhere);
  for (size_t v = 0; v < input.vocabularies.size(); ++v) {
    const VocabularyCost& vocabulary = input.vocabularies[v];
    const double width = static_cast<double>(vocabulary.row_scalars) * scalar;
    const double columns = static_cast<double>(vocabulary.sum_columns + vocabulary.max_columns) * scalar;
    const double table = vocabulary.rows * static_cast<double>(vocabulary.row_bytes) + 2 * vocabulary.unique * width;
    double each = 0;
    switch (strategy.of_vocabulary[v]) {
      case Placement::kFieldA2a:
        each = 2 * own * columns;
        break;
      case Placement::kRowsA2a:
        each = table / ranks + 2 * vocabulary.unique_of_ranks / ranks * width;
        break;
      case Placement::kDes:
      case Placement::kDesRs:
        each = table / ranks + 2 * (samples + own) * columns;
        break;
    }
    for (double& bytes : memory) bytes += each;
    if (strategy.of_vocabulary[v] == Placement::kFieldA2a && strategy.home[v] >= 0)
      memory[static_cast<size_t>(strategy.home[v])] += HomeMemory(input, vocabulary);
  }
  return memory;
}

int64_t SharedColumnsPaid(const PlanInput& input, const Strategy& strategy) {
  std::vector<bool> paid(input.shared.size(), false);
  for (size_t v = 0; v < input.vocabularies.size(); ++v)
    if (OwnerComputes(strategy, v))
      for (const int s : input.vocabularies[v].shared) paid[static_cast<size_t>(s)] = true;
  int64_t columns = 0;
  for (size_t s = 0; s < paid.size(); ++s)
    if (paid[s]) columns += input.shared[s].sum_columns;
  return columns;
}

StepCost CostOf(const PlanInput& input, const Strategy& strategy) {
  Bill bill(input);
  AddPartials(input, strategy, &bill);
  AddKeysAndRows(input, strategy, &bill);
  AddDenseAndStatistics(input, strategy, &bill);
  StepCost cost;
  cost.bytes = bill.bytes();
  cost.memory = MemoryOf(input, strategy);
  if (input.machine.knows_link()) {
    const double link = 1 / input.machine.bandwidth_bytes_per_s, copy = 2 * input.machine.byte_s;  // packed, unpacked
    const double latency_s = bill.steps() * input.machine.latency_s;
    cost.time.link_s = bill.most_sent() * link + latency_s;
    cost.time.copies_s = bill.most_sent() * copy;
    cost.mean_s = bill.mean_sent() * (link + copy) + latency_s;
    AddCompute(input, strategy, bill, &cost.time, &cost.mean_s);
  }
  return cost;
}

}  // namespace sluice::placement
