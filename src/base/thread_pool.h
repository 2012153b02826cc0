#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "base/chunks.h"

namespace sluice {

// A fixed set of worker threads that run one parallel region at a time; the caller takes part, so a pool of one thread
// starts none. Inside a pool thread OpenMP regions of libraries run on one thread.
// Threads      Run may be called from one thread at a time; it blocks until every task has ended.
// Errors       the first exception of a task is rethrown by Run after all tasks have ended.
class ThreadPool {
 public:
  // num_threads >= 1, the caller included; 0 means as many as the machine's processors that this process may use.
  explicit ThreadPool(int num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return num_threads_; }

  // body(thread) once on each thread, thread in [0, num_threads()).
  void Run(const std::function<void(int thread)>& body);

  // body(task, thread) for task in [0, num_tasks): tasks are handed out in order to whichever thread is free, so results
  // must not depend on which thread runs which task.
  void ForEach(int64_t num_tasks, const std::function<void(int64_t task, int thread)>& body);

  // body(range, thread): [0, size) cut into num_threads() consecutive parts, part t always on thread t.
  void ForParts(int64_t size, const std::function<void(Range range, int thread)>& body);

 private:
  void WorkerLoop(int thread);

  int num_threads_;
  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable start_;
  std::condition_variable done_;
  const std::function<void(int)>* body_ = nullptr;
  uint64_t generation_ = 0;
  int running_ = 0;
  bool stop_ = false;
  std::exception_ptr error_;
};

// Processors that this process may run on (affinity mask and cgroup quota), at least 1.
int NumUsableProcessors();

}  // namespace sluice
