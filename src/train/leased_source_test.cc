#include "train/leased_source.h"

#include <algorithm>
#include <deque>
#include <map>
#include <set>
#include <thread>

#include "train/train_test_util.h"

namespace sluice::train {
namespace {

using service::Lease;
using service::LeaseReply;
using service::LeaseState;

std::string TextOf(const data::Batch& batch, int64_t i) {
  std::string text = fmt::format("{}", batch.labels[static_cast<size_t>(i)]);
  for (const auto& field : batch.fields)
    for (int64_t k = field.begin(i); k < field.end(i); ++k)
      text += fmt::format(" {:x}", field.keys[static_cast<size_t>(k)]);
  return text;
}

// Lends what a test has put into `leases`, in order.
struct Lender {
  std::deque<LeaseReply> leases;
  std::vector<int64_t> finished;
  size_t most_held = 0;

  LeaseCalls calls() {
    return {[this](std::span<const int64_t> held) -> Result<LeaseReply> {
              most_held = std::max(most_held, held.size());
              if (leases.empty()) return LeaseReply{};
              const LeaseReply reply = leases.front();
              leases.pop_front();
              return reply;
            },
            [this](const Lease& lease) {
              finished.push_back(lease.id);
              return Status::Ok();
            }};
  }
  void Lend(int64_t ranges, int64_t epoch, int64_t range, int64_t done = 0) {
    leases.push_back({LeaseState::kGranted, {epoch * ranges + range, epoch, range, done}});
  }
};

class LeasedSourceTest : public TrainTest {
 protected:
  static RunConfig ServiceConfig(const std::string& preset, int64_t workers) {
    RunConfig config = Config();
    config.strategy.preset = preset;
    config.strategy.workers = workers;
    config.train.batch_size = 100;
    config.data.block_bytes = 4096;
    return config;
  }
  std::unique_ptr<LeasedSource> Open(const RunConfig& config) {
    auto features = data::FitFeatures(config.data, config.features, false);
    EXPECT_TRUE(features.ok()) << features.status().message();
    features_ = std::move(features).value();
    auto source = LeasedSource::Make(config, features_);
    EXPECT_TRUE(source.ok()) << source.status().message();
    return std::move(source).value();
  }
  // All samples, with each lease finished after its last batch; and how many were said to be of each lease.
  std::vector<std::string> Drain(LeasedSource* source, std::map<int64_t, int64_t>* by_lease = nullptr) {
    std::vector<std::string> samples;
    data::Batch batch;
    for (;;) {
      const auto more = source->Next(&batch);
      EXPECT_TRUE(more.ok()) << more.status().message();
      if (!more.ok() || !more.value()) return samples;
      for (int64_t i = 0; i < batch.size; ++i) samples.push_back(TextOf(batch, i));
      sizes_.push_back(batch.size);
      int64_t leased = 0;
      for (const LeasedPart& part : source->leases()) {
        leased += part.samples;
        if (by_lease != nullptr) (*by_lease)[part.lease.id] += part.samples;
        if (part.ends) {
          EXPECT_TRUE(source->Finish(part.lease).ok());
        }
      }
      EXPECT_EQ(leased, batch.size);
      EXPECT_LE(source->leases().size(), size_t{service::kMaxLeaseShares});
    }
  }
  std::vector<std::string> Whole(const RunConfig& config, int64_t batch_size) {
    auto source = data::OpenSource(
        config.data, features_,
        {.batch_size = batch_size, .epochs = config.train.epochs, .seed = static_cast<uint64_t>(config.seed)});
    EXPECT_TRUE(source.ok()) << source.status().message();
    std::vector<std::string> samples;
    data::Batch batch;
    while (source.value()->Next(&batch).value())
      for (int64_t i = 0; i < batch.size; ++i) samples.push_back(TextOf(batch, i));
    return samples;
  }

  data::FittedFeatures features_;
  std::vector<int64_t> sizes_;
};

TEST_F(LeasedSourceTest, OneWorkerOfASynchronousRunReadsWhatOneProcessReads) {
  RunConfig config = ServiceConfig("ps-sync", 1);
  config.train.epochs = 3;
  config.data.shuffle_window = 700;
  auto source = Open(config);
  ASSERT_EQ(source->plan().ranges, 1);
  Lender lender;
  for (int64_t epoch = 0; epoch < 3; ++epoch) lender.Lend(1, epoch, 0);
  source->set_calls(lender.calls());
  const auto samples = Drain(source.get());
  EXPECT_EQ(samples, Whole(config, 100));
  EXPECT_EQ(lender.finished, (std::vector<int64_t>{0, 1, 2}));
}

TEST_F(LeasedSourceTest, WorkersOfASynchronousRunDivideEveryJoinedBatch) {
  RunConfig config = ServiceConfig("ps-sync", 3);
  config.train.epochs = 2;
  std::vector<std::vector<std::string>> parts;
  std::vector<std::vector<int64_t>> sizes;
  for (int64_t w = 0; w < 3; ++w) {
    auto source = Open(config);
    Lender lender;
    for (int64_t epoch = 0; epoch < 2; ++epoch) lender.Lend(3, epoch, w);
    source->set_calls(lender.calls());
    sizes_.clear();
    parts.push_back(Drain(source.get()));
    sizes.push_back(sizes_);
  }
  ASSERT_EQ(sizes[0].size(), sizes[1].size());
  std::vector<std::string> joined;
  std::vector<size_t> used(3);
  for (size_t clock = 0; clock < sizes[0].size(); ++clock)
    for (size_t w = 0; w < 3; ++w)
      for (int64_t i = 0; i < sizes[w][clock]; ++i) joined.push_back(parts[w][used[w]++]);
  EXPECT_EQ(joined, Whole(config, 300));
}

TEST_F(LeasedSourceTest, StretchesInAnyOrderHoldEverySampleOnce) {
  const RunConfig config = ServiceConfig("ps-async", 2);
  auto source = Open(config);
  const int64_t ranges = source->plan().ranges;
  ASSERT_GT(ranges, 4);
  std::vector<int64_t> order(static_cast<size_t>(ranges));
  for (int64_t r = 0; r < ranges; ++r) order[static_cast<size_t>(r)] = (r * 7 + 3) % ranges;
  ASSERT_EQ(std::set<int64_t>(order.begin(), order.end()).size(), order.size());
  Lender lender;
  for (const int64_t r : order) lender.Lend(ranges, 0, r);
  source->set_calls(lender.calls());
  auto samples = Drain(source.get());
  auto expected = Whole(config, 100);
  EXPECT_EQ(source->stats().samples, static_cast<int64_t>(expected.size()));
  std::sort(samples.begin(), samples.end());
  std::sort(expected.begin(), expected.end());
  EXPECT_EQ(samples, expected);
  EXPECT_EQ(lender.finished.size(), order.size());
}

TEST_F(LeasedSourceTest, WhatAnotherWorkerHasPushedIsLeftOut) {
  const RunConfig config = ServiceConfig("ps-async", 1);
  auto source = Open(config);
  const int64_t ranges = source->plan().ranges;
  Lender whole, rest;
  whole.Lend(ranges, 0, 1);
  source->set_calls(whole.calls());
  const auto all = Drain(source.get());
  ASSERT_GT(all.size(), 130u);
  for (const size_t done : {size_t{100}, size_t{130}, all.size()}) {
    auto after = Open(config);
    rest.Lend(ranges, 0, 1, static_cast<int64_t>(done));
    after->set_calls(rest.calls());
    EXPECT_EQ(Drain(after.get()), std::vector<std::string>(all.begin() + static_cast<int64_t>(done), all.end()));
  }
  EXPECT_EQ(rest.finished.size(), 3u);  // the last one had nothing left
}

// Each stretch read alone, one after another, is what batches across their ends hold.
TEST_F(LeasedSourceTest, BatchesAreFilledAcrossTheEndsOfStretches) {
  const RunConfig config = ServiceConfig("ps-async", 2);
  auto source = Open(config);
  const int64_t ranges = source->plan().ranges;
  std::vector<std::string> expected;
  std::map<int64_t, int64_t> sizes_of;
  for (int64_t r = 0; r < ranges; ++r) {
    auto alone = Open(config);
    Lender one;
    one.Lend(ranges, 0, r);
    alone->set_calls(one.calls());
    const auto samples = Drain(alone.get());
    expected.insert(expected.end(), samples.begin(), samples.end());
    if (!samples.empty()) sizes_of[r] = static_cast<int64_t>(samples.size());
  }
  Lender lender;
  for (int64_t r = 0; r < ranges; ++r) lender.Lend(ranges, 0, r);
  source->set_calls(lender.calls());
  sizes_.clear();
  std::map<int64_t, int64_t> by_lease;
  EXPECT_EQ(Drain(source.get(), &by_lease), expected);
  EXPECT_EQ(by_lease, sizes_of);
  ASSERT_GT(sizes_.size(), 3u);
  sizes_.pop_back();
  EXPECT_EQ(sizes_, std::vector<int64_t>(sizes_.size(), 100));
  EXPECT_EQ(lender.most_held, 1u);
}

TEST_F(LeasedSourceTest, ABatchIsShortWhereNothingIsToBeHadAtOnce) {
  const RunConfig config = ServiceConfig("ps-async", 2);
  auto source = Open(config);
  const int64_t ranges = source->plan().ranges;
  Lender lender;
  lender.Lend(ranges, 0, 0);
  lender.leases.push_back({LeaseState::kWait, {}});
  lender.Lend(ranges, 0, 1);
  source->set_calls(lender.calls());
  data::Batch batch;
  do ASSERT_TRUE(source->Next(&batch).value());
  while (!source->leases().back().ends);
  EXPECT_LT(batch.size, 100);
  EXPECT_EQ(source->leases().size(), 1u);
  ASSERT_TRUE(source->Next(&batch).value());  // beside the one before, which is not pushed yet
  EXPECT_EQ(source->leases()[0].lease.id, 1);
  EXPECT_EQ(lender.most_held, 1u);
}

TEST_F(LeasedSourceTest, ANextShareWaitsForTheEndOfTheOneBefore) {
  RunConfig config = ServiceConfig("ps-sync", 1);
  config.train.epochs = 2;
  auto source = Open(config);
  Lender lender;
  lender.Lend(1, 0, 0);
  lender.Lend(1, 1, 0);
  source->set_calls(lender.calls());
  data::Batch batch;
  do ASSERT_TRUE(source->Next(&batch).value());
  while (!source->leases()[0].ends);
  std::atomic<bool> returned{false};
  std::thread reader([&] {
    EXPECT_TRUE(source->Next(&batch).value());
    returned = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_FALSE(returned.load());
  EXPECT_TRUE(source->Finish({0, 0, 0, 0}).ok());
  reader.join();
  EXPECT_EQ(source->leases()[0].lease.id, 1);
}

TEST_F(LeasedSourceTest, StopEndsAWaitForInput) {
  auto source = Open(ServiceConfig("ps-async", 1));
  source->set_calls({[](std::span<const int64_t>) -> Result<LeaseReply> {
                       return LeaseReply{LeaseState::kWait, {}};
                     },
                     {}});
  std::thread reader([&] {
    data::Batch batch;
    EXPECT_FALSE(source->Next(&batch).value());
  });
  source->Stop();
  reader.join();
}

}  // namespace
}  // namespace sluice::train
