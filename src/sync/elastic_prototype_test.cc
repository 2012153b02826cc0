// The contract serves synchronisers that no step waits for: elastic averaging by a thread of its own, while workers
// train. Source: Zhang et al., Deep learning with Elastic Averaging SGD, 2015; ShadowSync (Zheng et al., 2020), EASGD.
// A prototype: it shows that flat spans suffice, not how fast such a synchroniser can be.
#include <atomic>
#include <chrono>
#include <cmath>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "base/rng.h"
#include "comm/rank_threads.h"
#include "sync/dense_sync.h"

namespace sluice::sync {
namespace {

using comm::Communicator;

float Load(float& x) { return std::atomic_ref<float>(x).load(std::memory_order_relaxed); }
void Add(float& x, float y) {
  std::atomic_ref<float> ref(x);
  float old = ref.load(std::memory_order_relaxed);
  while (!ref.compare_exchange_weak(old, old + y, std::memory_order_relaxed)) {
  }
}

// Merges parameters with the other replicas' again and again: every replica moves by `alpha` towards their mean.
// Workers write the same span meanwhile, without locks, as Hogwild does.
class ElasticSync final : public DenseSync<float> {
 public:
  ElasticSync(Communicator* comm, std::span<float> params, float alpha)
      : comm_(comm), params_(params), alpha_(alpha), thread_([this] { Loop(); }) {}
  ~ElasticSync() override { thread_.join(); }  // when every rank has asked for the end

  void GradientsFinal(std::span<float>, Range) override {}
  Status BeforeUpdate(std::span<float>) override {
    return failed_.load(std::memory_order_acquire) ? status_ : Status::Ok();
  }
  // The last merge lies behind it where true is returned on all ranks.
  void Stop() { stop_.store(true, std::memory_order_relaxed); }
  int64_t merges() const { return merges_.load(std::memory_order_relaxed); }

 private:
  void Loop() {
    std::vector<float> mean(params_.size() + 1);
    bool end = false;
    while (!end) {
      for (size_t i = 0; i < params_.size(); ++i) mean[i] = Load(params_[i]);
      mean.back() = stop_.load(std::memory_order_relaxed) ? 1.0f : 0.0f;  // all stop after the same merge
      status_ = comm_->AllReduce<float>(mean, comm::ReduceOp::kSum, comm::Traffic::kDenseGradients);
      if (!status_.ok()) {
        failed_.store(true, std::memory_order_release);
        return;
      }
      const auto n = static_cast<float>(comm_->size());
      end = mean.back() == n;
      for (size_t i = 0; i < params_.size(); ++i) Add(params_[i], alpha_ * (mean[i] / n - Load(params_[i])));
      merges_.fetch_add(1, std::memory_order_relaxed);
    }
  }

  Communicator* comm_;
  std::span<float> params_;
  float alpha_;
  std::atomic<bool> stop_{false}, failed_{false};
  std::atomic<int64_t> merges_{0};
  Status status_;  // of the thread; read after failed_
  std::thread thread_;
};

// A worker's gradient of a quadratic bowl around `target`, of which this rank's samples see only every other dimension
// (those of its parity): alone it learns half of the target.
TEST(ElasticPrototypeTest, AThreadMergesReplicasWhileWorkersTrain) {
  constexpr int kDim = 64, kWorkers = 2;
  const auto target = [](int i) { return static_cast<float>(i % 7) - 3.0f; };
  double errors[2] = {}, apart[2] = {};
  int64_t merges[2] = {};
  std::vector<float> replicas[2] = {std::vector<float>(kDim), std::vector<float>(kDim)};
  comm::RunRankThreads(2, std::chrono::milliseconds(30000), [&](Communicator& comm) {
    auto& params = replicas[comm.rank()];
    {
      ElasticSync sync(&comm, params, 0.5f);
      std::atomic<bool> done{false};
      const auto work = [&](int worker) {
        std::vector<float> gradients(kDim);
        const CounterRng noise(7, static_cast<uint64_t>(comm.rank() * kWorkers + worker));
        for (uint64_t step = 0; !done.load(std::memory_order_relaxed); ++step) {
          for (int i = 0; i < kDim; ++i) {
            const bool seen = i % 2 == comm.rank();
            const double blur = 0.1 * (noise.Uniform(step * kDim + static_cast<uint64_t>(i)) - 0.5);
            gradients[static_cast<size_t>(i)] =
                seen ? Load(params[static_cast<size_t>(i)]) - target(i) + static_cast<float>(blur) : 0.0f;
          }
          sync.GradientsFinal(gradients, {0, kDim});
          ASSERT_TRUE(sync.BeforeUpdate(gradients).ok());
          for (int i = 0; i < kDim; ++i)
            if (gradients[static_cast<size_t>(i)] != 0)
              Add(params[static_cast<size_t>(i)], -0.01f * gradients[static_cast<size_t>(i)]);
        }
      };
      std::vector<std::thread> workers;
      for (int w = 0; w < kWorkers; ++w) workers.emplace_back(work, w);
      // Both replicas train for as many merges; time bounds it where the machine is busy.
      const auto deadline = comm::Clock::now() + std::chrono::seconds(20);
      while (sync.merges() < 3000 && comm::Clock::now() < deadline)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      done = true;
      for (auto& worker : workers) worker.join();
      sync.Stop();
      merges[comm.rank()] = sync.merges();
    }
    for (int i = 0; i < kDim; ++i)
      errors[comm.rank()] = std::max(errors[comm.rank()], std::abs(double{params[static_cast<size_t>(i)]} - target(i)));
  });
  for (int i = 0; i < kDim; ++i)
    apart[0] =
        std::max(apart[0], std::abs(double{replicas[0][static_cast<size_t>(i)]} - replicas[1][static_cast<size_t>(i)]));
  EXPECT_GT(merges[0], 10);
  EXPECT_LT(errors[0], 0.3) << "rank 0 learned what only rank 1's samples show";
  EXPECT_LT(errors[1], 0.3);
  EXPECT_LT(apart[0], 0.1);
}

}  // namespace
}  // namespace sluice::sync
