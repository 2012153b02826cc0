#pragma once

#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

#include "comm/communicator.h"
#include "sync/dense_sync.h"

namespace sluice::sync {

struct AllReduceOptions {
  int64_t bucket_bytes = 512 << 10;       // of values; > 0
  bool overlap = true;                    // buckets leave while backward goes on; else all in BeforeUpdate
  comm::Wire wire = comm::Wire::kNative;  // kBf16 for float only
};

// Synchronous data parallelism: every rank applies the sum of all ranks' gradients. The span is cut into buckets, from
// its end to its begin, as backward finishes the last layers first; a bucket leaves on the communicator's progress
// thread once every part of it, and every bucket before it, is final. docs/algorithms/dense-sync.md.
// Semantics    every rank ends with the same bits. The result is the same with and without overlap: buckets do not
//              depend on the order of reports.
// Distributed  rings over `comm`, which nothing else uses meanwhile: 2 (N - 1) S bytes in all per step, 2 (N - 1) steps
//              per bucket. Buckets but the last are multiples of N values, so a rank's share is within N values of
//              1 / N.
template <class T>
class AllReduceSync final : public DenseSync<T> {
 public:
  // `size` values; `comm` outlives this.
  AllReduceSync(comm::Communicator* comm, int64_t size, const AllReduceOptions& options);
  // Waits for buckets under way, at most until they time out.
  ~AllReduceSync() override;

  void GradientsFinal(std::span<T> gradients, Range part) override;
  Status BeforeUpdate(std::span<T> gradients) override;

  const std::vector<Range>& buckets() const { return buckets_; }  // in the order in which they leave

 private:
  Status Reduce(std::span<T> gradients, const Range& bucket);

  comm::Communicator* comm_;
  AllReduceOptions options_;
  int64_t size_;
  std::vector<Range> buckets_;

  std::mutex mutex_;                     // guards what follows
  std::vector<int64_t> missing_;         // values of each bucket that were not reported in this step
  std::vector<comm::Handle> under_way_;  // of buckets [0, under_way_.size())
};

}  // namespace sluice::sync
