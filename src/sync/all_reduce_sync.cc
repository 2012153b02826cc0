#include "sync/all_reduce_sync.h"

#include <algorithm>

#include "base/check.h"

namespace sluice::sync {

template <class T>
AllReduceSync<T>::AllReduceSync(comm::Communicator* comm, int64_t size, const AllReduceOptions& options)
    : comm_(comm), options_(options), size_(size) {
  const int64_t multiple = comm->size();
  const int64_t values = std::max<int64_t>(1, options.bucket_bytes / static_cast<int64_t>(sizeof(T)));
  const int64_t length = (values + multiple - 1) / multiple * multiple;
  for (int64_t end = size; end > 0; end -= length) buckets_.push_back({std::max<int64_t>(0, end - length), end});
  for (const Range& bucket : buckets_) missing_.push_back(bucket.size());
}

template <class T>
AllReduceSync<T>::~AllReduceSync() {
  for (const comm::Handle& handle : under_way_) handle.wait();
}

template <class T>
Status AllReduceSync<T>::Reduce(std::span<T> gradients, const Range& bucket) {
  return comm_->AllReduce<T>(gradients.subspan(static_cast<size_t>(bucket.begin), static_cast<size_t>(bucket.size())),
                             comm::ReduceOp::kSum, comm::Traffic::kDenseGradients, options_.wire);
}

template <class T>
void AllReduceSync<T>::GradientsFinal(std::span<T> gradients, Range part) {
  if (!options_.overlap || comm_->size() == 1) return;
  SLUICE_CHECK(static_cast<int64_t>(gradients.size()) == size_, "{} gradients, not {}", gradients.size(), size_);
  std::lock_guard lock(mutex_);
  for (size_t b = 0; b < buckets_.size(); ++b) {
    const int64_t covered = std::min(part.end, buckets_[b].end) - std::max(part.begin, buckets_[b].begin);
    if (covered > 0) missing_[b] -= covered;
    SLUICE_CHECK(missing_[b] >= 0, "gradients [{}, {}) were reported twice", part.begin, part.end);
  }
  while (under_way_.size() < buckets_.size() && missing_[under_way_.size()] == 0) {
    const Range bucket = buckets_[under_way_.size()];
    under_way_.push_back(comm_->Start([this, gradients, bucket] { return Reduce(gradients, bucket); }));
  }
}

template <class T>
Status AllReduceSync<T>::BeforeUpdate(std::span<T> gradients) {
  SLUICE_CHECK(static_cast<int64_t>(gradients.size()) == size_, "{} gradients, not {}", gradients.size(), size_);
  std::lock_guard lock(mutex_);
  // What was not reported is reduced here: a thread that has to wait anyway. Buckets under way come first.
  Status status;
  for (size_t b = under_way_.size(); b < buckets_.size() && status.ok(); ++b) status = Reduce(gradients, buckets_[b]);
  for (const comm::Handle& handle : under_way_) {
    const Status started = comm::Communicator::Wait(handle);
    if (status.ok()) status = started;
  }
  under_way_.clear();
  for (size_t b = 0; b < buckets_.size(); ++b) missing_[b] = buckets_[b].size();
  return status;
}

template class AllReduceSync<float>;
template class AllReduceSync<double>;

}  // namespace sluice::sync
