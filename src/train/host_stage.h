#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/status.h"
#include "base/thread_pool.h"
#include "data/source.h"
#include "embedding/table.h"
#include "train/bounded_queue.h"
#include "train/leased_source.h"
#include "train/rank_keys.h"
#include "train/remote_step.h"
#include "train/table_set.h"
#include "train/working_set.h"

namespace sluice::train {

template <class T>
struct HostStageOptions {
  embedding::ResolveMode mode = embedding::ResolveMode::kTrain;
  bool overlap = true;
  int64_t queue_depth = 2;
  int64_t last_step = 0;   // step before the first batch
  int64_t last_epoch = 0;  // epoch of the last batch before the first
  int64_t max_steps = 0;   // stop after this step; 0: at the end of the source
  // True where the worker needs everything at rest after this step (an evaluation, a checkpoint): the rows of
  // the next batch are then resolved only after Continue. May be null.
  std::function<bool(int64_t step)> rest_after;
  bool rest_between_epochs = false;
  const RankContext* ranks = nullptr;  // null: one process
  RemoteStep<T>* remote = nullptr;     // where rows live on parameter servers; they are asked for in place of resolved
  LeasedSource* leases = nullptr;      // with it, in training: the source
  bool needs_labels = false;           // with several ranks: of the global batch, on every rank
};

// Stages 1 and 2: reads batches, makes their keys unique and resolves their rows, ahead of the worker by at most
// queue_depth batches. Reading and resolving run side by side, each a batch or two ahead of the next.
// Source: ScaleFreeCTR (host manager); docs/architecture.md.
// Semantics    the rows of a batch are resolved in the order of steps, and never before a rest that lies between; so
//              the sequence of table operations, and with it every result, is that of a run without overlap.
// Threads      Next, Recycle, Continue and RequestRest from the worker's thread. With overlap two threads of its own:
//              one reads and makes unique, one resolves. Stages on the same tables may run at the same time where the
//              tables allow it.
// Errors       those of the source and the tables, from Next, after every batch before the failure.
template <class T>
class HostStage {
 public:
  enum class Event { kBatch, kRest, kEpochEnd, kEnd };
  struct Item {
    Event event = Event::kEnd;
    WorkingSet* set = nullptr;  // kBatch only
  };

  // `pool` serves stages without overlap, on the thread that calls Next.
  HostStage(data::BatchSource* source, TableSet<T>* tables, ThreadPool* pool, HostStageOptions<T> options);
  ~HostStage();
  // Ends the threads; batches that Next handed out stay.
  void Stop();

  Result<Item> Next();
  // Hands a batch's objects back for reuse. REQUIRES: its rows are released.
  void Recycle(WorkingSet* set);
  // After kRest or kEpochEnd: the worker has done what it needed the rest for.
  void Continue();
  // Asks for a kRest as soon as possible, at a step of the stage's choice.
  // With several ranks: at the step `at`, the same for all, beyond those that may be under way (kRestAhead).
  static constexpr int64_t kRestAhead = embedding::kPinWindow;
  void RequestRestAt(int64_t at) { rest_at_.store(at, std::memory_order_relaxed); }
  void RequestRest() { rest_requested_.store(true, std::memory_order_relaxed); }

 private:
  // What is done for one batch, in two halves with a rest possibly between them.
  Result<bool> Read(WorkingSet* set, ThreadPool* pool);
  void Resolve(WorkingSet* set, ThreadPool* pool);
  Result<Item> NextInline();
  void Start(Status* status, std::thread* thread, Status (HostStage::*body)(), std::function<void()> close);
  Status ProduceRead();
  Status ProduceResolved();
  bool WaitForContinue();
  bool TakeRest();  // whether a rest follows the step just resolved

  data::BatchSource* source_;
  TableSet<T>* tables_;
  ThreadPool* pool_;
  HostStageOptions<T> options_;
  std::vector<std::unique_ptr<WorkingSet>> sets_;
  embedding::VirtualIdBuilder ids_;
  BoundedQueue<WorkingSet*> free_;
  BoundedQueue<WorkingSet*> read_;
  BoundedQueue<Item> ready_;
  Status read_status_, status_;  // written before read_ and ready_ are closed, read after
  std::atomic<bool> rest_requested_{false};
  std::atomic<int64_t> rest_at_{0};
  std::unique_ptr<RankKeys> rank_keys_;  // null: one process
  int64_t step_ = 0, epoch_ = 0;

  std::mutex mutex_;
  std::condition_variable continue_;
  int64_t rests_announced_ = 0, rests_over_ = 0;
  bool stop_ = false;

  // Without overlap: what NextInline does next.
  WorkingSet* read_ahead_ = nullptr;
  bool rest_due_ = false;
  std::thread reader_, resolver_;
};

}  // namespace sluice::train
