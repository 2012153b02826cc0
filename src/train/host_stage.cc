#include "train/host_stage.h"

#include <exception>
#include <utility>

#include "train/stopwatch.h"

namespace sluice::train {
namespace {

// Batches that are read and wait for their rows: enough that neither half waits for the other's slower batches.
constexpr int64_t kReadAhead = 2;

}  // namespace

template <class T>
HostStage<T>::HostStage(data::BatchSource* source, TableSet<T>* tables, ThreadPool* pool, HostStageOptions<T> options)
    : source_(source),
      tables_(tables),
      pool_(pool),
      options_(std::move(options)),
      ids_(tables->ids()),
      free_(static_cast<size_t>(options_.queue_depth + kReadAhead) + 4),
      read_(kReadAhead),
      ready_(static_cast<size_t>(options_.queue_depth)),
      step_(options_.last_step),
      epoch_(options_.last_epoch) {
  // Resolved at most: queue_depth waiting, one with the resolver and one with the worker. Read at most: kReadAhead
  // waiting and one with the reader.
  const int64_t resolved_sets = options_.queue_depth + 2;
  const int64_t num_sets = options_.overlap ? resolved_sets + kReadAhead + 1 : 2;
  SLUICE_CHECK(resolved_sets <= embedding::kPinWindow, "{} batches in flight exceed the pin window", resolved_sets);
  for (int64_t i = 0; i < num_sets; ++i) {
    sets_.push_back(std::make_unique<WorkingSet>());
    free_.Push(sets_.back().get());
  }
  if (options_.ranks != nullptr)
    rank_keys_ = std::make_unique<RankKeys>(source->schema(), *options_.ranks, options_.needs_labels);
  if (!options_.overlap) return;
  Start(&read_status_, &reader_, &HostStage::ProduceRead, [this] { read_.Close(); });
  Start(&status_, &resolver_, &HostStage::ProduceResolved, [this] { ready_.Close(); });
}

template <class T>
HostStage<T>::~HostStage() {
  Stop();
}

template <class T>
void HostStage<T>::Stop() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  continue_.notify_all();
  free_.Close();
  read_.Close();
  ready_.Close();
  if (reader_.joinable()) reader_.join();
  if (resolver_.joinable()) resolver_.join();
}

template <class T>
Result<bool> HostStage<T>::Read(WorkingSet* set, ThreadPool* pool) {
  Stopwatch watch;
  SLUICE_ASSIGN_OR_RETURN(const bool more, source_->Next(&set->batch));
  if (!more) return false;
  set->position = source_->position();
  set->stats = source_->stats();
  if (options_.leases != nullptr) set->leases = options_.leases->leases();
  set->times.read_s = watch.Lap();
  if (rank_keys_ != nullptr)
    rank_keys_->Prepare(set);
  else
    ids_.Build(set->batch, pool, &set->ids);
  set->times.unique_s = watch.Lap();
  return true;
}

template <class T>
void HostStage<T>::Resolve(WorkingSet* set, ThreadPool* pool) {
  Stopwatch watch;
  if (rank_keys_ != nullptr) rank_keys_->Exchange(set);
  if (options_.remote != nullptr) {
    set->step = ++step_;
    tables_->SetRuns(set);
    options_.remote->Request(set, options_.mode);
    epoch_ = set->batch.epoch;
    set->times.resolve_s = watch.Lap();
    return;
  }
  // Here and not after the worker's step: what expires follows from counts and last uses, which Resolve alone changes,
  // and rows of the batches in flight lie within the pin window. So overlap changes nothing.
  if (options_.mode == embedding::ResolveMode::kTrain && tables_->expires() && step_ > 0) tables_->Expire(step_);
  tables_->Resolve(set, options_.mode, ++step_, pool);
  epoch_ = set->batch.epoch;
  set->times.resolve_s = watch.Lap();
}

// Runs `body` on a thread; what went wrong is in *status before `close`.
template <class T>
void HostStage<T>::Start(Status* status, std::thread* thread, Status (HostStage::*body)(),
                         std::function<void()> close) {
  *thread = std::thread([this, status, body, close = std::move(close)] {
    try {
      *status = (this->*body)();
    } catch (const StatusError& error) {
      *status = error.status();
    } catch (const std::exception& error) {
      *status = Status(StatusCode::kResourceExhausted, error.what());
    }
    close();
  });
}

template <class T>
bool HostStage<T>::WaitForContinue() {
  std::unique_lock lock(mutex_);
  continue_.wait(lock, [&] { return stop_ || rests_over_ >= rests_announced_; });
  return !stop_;
}

template <class T>
bool HostStage<T>::TakeRest() {
  return rest_requested_.exchange(false, std::memory_order_relaxed) ||
         rest_at_.load(std::memory_order_relaxed) == step_ || (options_.rest_after && options_.rest_after(step_));
}

template <class T>
Status HostStage<T>::ProduceRead() {
  for (int64_t step = options_.last_step; options_.max_steps == 0 || step < options_.max_steps; ++step) {
    const auto set = free_.Pop();
    if (!set) return Status::Ok();
    SLUICE_ASSIGN_OR_RETURN(const bool more, Read(*set, nullptr));
    if (!more || !read_.Push(*set)) return Status::Ok();
  }
  return Status::Ok();
}

template <class T>
Status HostStage<T>::ProduceResolved() {
  while (const auto set = read_.Pop()) {
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
    const bool rest = TakeRest();
    if (rest) {
      std::lock_guard lock(mutex_);
      ++rests_announced_;
    }
    if (!ready_.Push({Event::kBatch, *set})) return Status::Ok();
    if (rest && !ready_.Push({Event::kRest, nullptr})) return Status::Ok();
  }
  return read_status_;
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
  rest_due_ = TakeRest();
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
