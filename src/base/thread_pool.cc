#include "base/thread_pool.h"

#include <dlfcn.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <fstream>
#include <string>

#include "base/check.h"

namespace sluice {
namespace {

// Libraries may bring OpenMP with them; it is looked up at run time so that nothing here links to it.
void UseOneOpenMpThread() {
  using SetNumThreads = void (*)(int);
  static const auto set =
      reinterpret_cast<SetNumThreads>(::dlsym(RTLD_DEFAULT, "omp_set_num_threads"));
  if (set != nullptr) set(1);
}

// Processors granted by a cgroup v2 quota, or a large number where there is none.
int CgroupProcessors() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (!(file >> quota >> period) || quota == "max" || period <= 0) return 1 << 20;
  return std::max(1, static_cast<int>(std::ceil(std::stod(quota) / period)));
}

}  // namespace

int NumUsableProcessors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  int allowed = 1;
  if (::sched_getaffinity(0, sizeof(set), &set) == 0) allowed = CPU_COUNT(&set);
  return std::max(1, std::min(allowed, CgroupProcessors()));
}

ThreadPool::ThreadPool(int num_threads)
    : num_threads_(num_threads > 0 ? num_threads : NumUsableProcessors()) {
  for (int t = 1; t < num_threads_; ++t) workers_.emplace_back([this, t] { WorkerLoop(t); });
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  start_.notify_all();
  for (auto& worker : workers_) worker.join();
}

void ThreadPool::WorkerLoop(int thread) {
  UseOneOpenMpThread();
  uint64_t seen = 0;
  while (true) {
    const std::function<void(int)>* body;
    {
      std::unique_lock lock(mutex_);
      start_.wait(lock, [&] { return stop_ || generation_ != seen; });
      if (stop_) return;
      seen = generation_;
      body = body_;
    }
    std::exception_ptr error;
    try {
      (*body)(thread);
    } catch (...) {
      error = std::current_exception();
    }
    std::lock_guard lock(mutex_);
    if (error && !error_) error_ = error;
    if (--running_ == 0) done_.notify_one();
  }
}

void ThreadPool::Run(const std::function<void(int)>& body) {
  UseOneOpenMpThread();
  if (num_threads_ == 1) {
    body(0);
    return;
  }
  {
    std::lock_guard lock(mutex_);
    SLUICE_CHECK(running_ == 0, "ThreadPool::Run called while a region runs");
    body_ = &body;
    running_ = num_threads_ - 1;
    error_ = nullptr;
    ++generation_;
  }
  start_.notify_all();
  std::exception_ptr error;
  try {
    body(0);
  } catch (...) {
    error = std::current_exception();
  }
  std::unique_lock lock(mutex_);
  done_.wait(lock, [&] { return running_ == 0; });
  if (!error) error = error_;
  error_ = nullptr;
  lock.unlock();
  if (error) std::rethrow_exception(error);
}

void ThreadPool::ForEach(int64_t num_tasks, const std::function<void(int64_t, int)>& body) {
  if (num_tasks <= 0) return;
  std::atomic<int64_t> next{0};
  Run([&](int thread) {
    for (int64_t task; (task = next.fetch_add(1, std::memory_order_relaxed)) < num_tasks;) body(task, thread);
  });
}

void ThreadPool::ForParts(int64_t size, const std::function<void(Range, int)>& body) {
  Run([&](int thread) {
    const Range range = PartRange(size, thread, num_threads_);
    if (!range.empty()) body(range, thread);
  });
}

}  // namespace sluice
