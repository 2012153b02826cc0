#include "train/host_stage.h"

#include <exception>
#include <utility>

#include "train/stopwatch.h"

namespace sluice::train {

template <class T>
HostStage<T>::HostStage(data::BatchSource* source, TableSet<T>* tables, ThreadPool* pool, HostStageOptions options)
    : source_(source),
      tables_(tables),
      pool_(pool),
      options_(std::move(options)),
      free_(static_cast<size_t>(options_.queue_depth) + 3),
      ready_(static_cast<size_t>(options_.queue_depth)),
      step_(options_.last_step),
      epoch_(options_.last_epoch) {
  // In flight at most: queue_depth waiting, one with each of the two stages, and one read ahead of a rest.
  const int64_t num_sets = options_.overlap ? options_.queue_depth + 2 : 2;
  SLUICE_CHECK(num_sets <= embedding::kPinWindow, "{} batches in flight exceed the pin window", num_sets);
  for (int64_t i = 0; i < num_sets; ++i) {
    sets_.push_back(std::make_unique<WorkingSet>());
    free_.Push(sets_.back().get());
  }
  if (options_.overlap) thread_ = std::thread([this] { Loop(); });
}

template <class T>
HostStage<T>::~HostStage() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  continue_.notify_all();
  free_.Close();
  ready_.Close();
  if (thread_.joinable()) thread_.join();
}

template <class T>
Result<bool> HostStage<T>::Read(WorkingSet* set, ThreadPool* pool) {
  Stopwatch watch;
  SLUICE_ASSIGN_OR_RETURN(const bool more, source_->Next(&set->batch));
  if (!more) return false;
  set->position = source_->position();
  set->stats = source_->stats();
  set->times.read_s = watch.Lap();
  tables_->ids().Build(set->batch, pool, &set->ids);
  set->times.unique_s = watch.Lap();
  return true;
}

template <class T>
void HostStage<T>::Resolve(WorkingSet* set, ThreadPool* pool) {
  Stopwatch watch;
  // Here and not after the worker's step: what expires follows from counts and last uses, which Resolve alone changes, and
  // rows of the batches in flight lie within the pin window. So overlap changes nothing.
  if (options_.mode == embedding::ResolveMode::kTrain && tables_->expires() && step_ > 0) tables_->Expire(step_);
  tables_->Resolve(set, options_.mode, ++step_, pool);
  epoch_ = set->batch.epoch;
  set->times.resolve_s = watch.Lap();
}

template <class T>
void HostStage<T>::Loop() {
  Status status;
  try {
    status = Produce();
  } catch (const StatusError& error) {
    status = error.status();
  } catch (const std::exception& error) {
    status = Status(StatusCode::kResourceExhausted, error.what());
  }
  status_ = std::move(status);
  ready_.Close();
}

template <class T>
bool HostStage<T>::WaitForContinue() {
  std::unique_lock lock(mutex_);
  continue_.wait(lock, [&] { return stop_ || rests_over_ >= rests_announced_; });
  return !stop_;
}

template <class T>
Status HostStage<T>::Produce() {
  while (options_.max_steps == 0 || step_ < options_.max_steps) {
    const auto set = free_.Pop();
    if (!set) return Status::Ok();
    SLUICE_ASSIGN_OR_RETURN(const bool more, Read(*set, nullptr));
    if (!more) return Status::Ok();
    if (options_.rest_between_epochs && (*set)->batch.epoch != epoch_) {
      // A rest at the last step may still be going on; its end must not be taken for the end of this one.
      if (!WaitForContinue()) return Status::Ok();
      {
        std::lock_guard lock(mutex_);
        ++rests_announced_;
      }
      if (!ready_.Push({Event::kEpochEnd, nullptr})) return Status::Ok();
    }
    if (!WaitForContinue()) return Status::Ok();
    Resolve(*set, nullptr);
    const bool rest = rest_requested_.exchange(false, std::memory_order_relaxed) ||
                      (options_.rest_after && options_.rest_after(step_));
    if (rest) {
      std::lock_guard lock(mutex_);
      ++rests_announced_;
    }
    if (!ready_.Push({Event::kBatch, *set})) return Status::Ok();
    if (rest && !ready_.Push({Event::kRest, nullptr})) return Status::Ok();
  }
  return Status::Ok();
}

template <class T>
Result<typename HostStage<T>::Item> HostStage<T>::NextInline() {
  if (std::exchange(rest_due_, false)) return Item{Event::kRest, nullptr};
  if (read_ahead_ == nullptr) {
    if (options_.max_steps != 0 && step_ >= options_.max_steps) return Item{};
    WorkingSet* set = *free_.Pop();
    SLUICE_ASSIGN_OR_RETURN(const bool more, Read(set, pool_));
    if (!more) {
      free_.Push(set);
      return Item{};
    }
    read_ahead_ = set;
    if (options_.rest_between_epochs && set->batch.epoch != epoch_) {
      epoch_ = set->batch.epoch;
      return Item{Event::kEpochEnd, nullptr};
    }
  }
  WorkingSet* set = std::exchange(read_ahead_, nullptr);
  Resolve(set, pool_);
  rest_due_ = rest_requested_.exchange(false, std::memory_order_relaxed) ||
              (options_.rest_after && options_.rest_after(step_));
  return Item{Event::kBatch, set};
}

template <class T>
Result<typename HostStage<T>::Item> HostStage<T>::Next() {
  if (!options_.overlap) return NextInline();
  auto item = ready_.Pop();
  if (item) return *item;
  if (!status_.ok()) return status_;
  return Item{};
}

template <class T>
void HostStage<T>::Recycle(WorkingSet* set) {
  free_.Push(set);
}

template <class T>
void HostStage<T>::Continue() {
  if (!options_.overlap) return;
  {
    std::lock_guard lock(mutex_);
    ++rests_over_;
  }
  continue_.notify_all();
}

template class HostStage<float>;
template class HostStage<double>;

}  // namespace sluice::train
