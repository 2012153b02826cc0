// Servers and clients under load, with everything at once that a run may bring: requests in flight, connections that
// end within a message, clients that vanish, checkpoints, readers, the coordinator's calls, inspection. What is counted
// in the end is exact; and the thread sanitizer watches all of it.

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "service/testing.h"
#include "service/testing_relay.h"

namespace sluice::service {
namespace {

using embedding::ResolveMode;

constexpr int kServers = 2, kWorkers = 4, kHot = 20, kOwn = 10;
constexpr double kRate = 0.5;
constexpr size_t kDeep = 1;       // the table whose rows are looked at: of vocabularies 0 and 1
constexpr double kEnough_s = 60;  // what the companions of the workers have to do takes a second or two
constexpr int64_t kMinPushes = 30;

// A clock that was begun when it was made.
class Deadline {
 public:
  bool over() const { return SecondsSince(begin_) > kEnough_s; }

 private:
  const Clock::time_point begin_ = Clock::now();
};

// The weights that a row of vocabulary 0 is born with: they depend on key and seed alone.
std::vector<double> NewRow(Key key) {
  TestModel<double> model;
  auto& table = *model.tables[kDeep];
  const std::vector<embedding::KeyBlock> blocks = {{0, 1, 1}};
  const int32_t count = 1;
  embedding::Resolved rows;
  table.Resolve({&key, 1}, {&count, 1}, blocks, ResolveMode::kTrain, 1, nullptr, &rows);
  std::vector<double> weights(static_cast<size_t>(table.dim()));
  table.Gather(rows, {&key, 1}, blocks, {0, 1}, weights.data());
  table.Release(rows);
  return weights;
}

// How many steps of gradient 1 the row has taken since it was new. Fails where its parts tell of different ones.
double Steps(const double* row, const std::vector<double>& fresh) {
  const double steps = (fresh[0] - row[0]) / kRate;
  for (size_t d = 0; d < fresh.size(); ++d) EXPECT_NEAR((fresh[d] - row[d]) / kRate, steps, 1e-6) << "torn: part " << d;
  return steps;
}

std::vector<Key> KeysOfWorker(int worker) { return TestKeys(100 + static_cast<uint64_t>(worker), kOwn)[0]; }

// Two servers, each behind a relay, that write checkpoints into memory.
class Service {
 public:
  // `writing`: what a server does beside writing its part.
  explicit Service(
      int64_t staleness, double cut_timeout_s = 1, const std::function<void(int server)>& writing = [](int) {})
      : staleness_(staleness) {
    servers_.resize(kServers);
    std::vector<std::string> direct(kServers);
    for (int s = kServers - 1; s >= 0; --s) {  // the first one talks to the others
      const auto at = static_cast<size_t>(s);
      EngineOptions engine = TestEngine(staleness, kWorkers);
      engine.server = s;
      engine.servers = kServers;
      engine.config.max_lost_pushes = -1;  // vanishing is what clients are here for
      ServerOptions options;
      options.servers = direct;
      options.cut_timeout_s = cut_timeout_s;
      CheckpointHooks hooks;
      hooks.create = [this](int64_t) {
        std::lock_guard lock(mutex_);
        written_.clear();
        return Result<std::string>("cut");
      };
      hooks.write = [this, s, writing](const std::string&, int64_t, const ServiceState& state,
                                       const std::vector<CheckpointHooks::Part>&) {
        CheckWhole(s, state.step);
        writing(s);
        std::lock_guard lock(mutex_);
        for (const auto& client : state.clients) written_[client.id].push_back(client.applied);
        return Result<CheckpointHooks::Part>(CheckpointHooks::Part{});
      };
      hooks.commit = [this](const std::vector<CheckpointHooks::Part>&) {
        std::lock_guard lock(mutex_);
        for (const auto& [client, applied] : written_)  // one that joins or leaves may be on one server alone
          if (applied.size() == kServers) {
            EXPECT_EQ(applied[0], applied[1]) << "a cut holds pushes on one server only";
          }
        ++cuts_;
        return Result<std::string>("cut");
      };
      auto started = ParameterServer::Start(models_[at].MakeBackendOf(s, kServers), models_[at].layout,
                                            std::move(engine), {}, options, std::move(hooks));
      EXPECT_TRUE(started.ok()) << started.status().message();
      servers_[at] = std::move(started).value();
      counters_[at] = &servers_[at]->engine().counters();
      direct[at] = servers_[at]->address();
    }
    for (const auto& server : servers_) {
      relays_.push_back(std::make_unique<Relay>(server->address()));
      addresses_.push_back(relays_.back()->address());
    }
  }

  const ModelLayout& layout() const { return models_[0].layout; }
  ParameterServer& server(int s) { return *servers_[static_cast<size_t>(s)]; }
  Relay& relay(int64_t s) { return *relays_[static_cast<size_t>(s)]; }
  const std::vector<std::string>& addresses() const { return addresses_; }
  int64_t cuts() const { return cuts_.load(); }

  std::unique_ptr<ParameterClient<double>> Client(const std::string& name, bool worker = true) {
    ClientOptions options = TestClient(addresses_, name);
    options.worker = worker;
    auto client = ParameterClient<double>::Connect(options, layout());
    EXPECT_TRUE(client.ok()) << client.status().message();
    return std::move(client).value();
  }

  // Steps of gradient 1 that a server has taken. REQUIRES: it is at rest, after this many steps of its own counting.
  int64_t StepsOf(int s, int64_t step) { return staleness_ == 0 ? step : counters_[s].load()->pushes.load(); }
  // Whether all that is in every batch has taken every step. REQUIRES: as StepsOf.
  void CheckWhole(int s, int64_t step) {
    const auto& model = models_[static_cast<size_t>(s)];
    const auto steps = static_cast<double>(StepsOf(s, step));
    const Range mine = SpanOfServer(TestModel<double>::kParams, s, kServers);
    for (int64_t i = mine.begin; i < mine.end; ++i)
      EXPECT_NEAR(model.values[static_cast<size_t>(i)], 1 - kRate * steps, 1e-6) << "server " << s << ", scalar " << i;
    const auto keys = TestKeys(1, kHot);
    for (const Key key : keys[0])
      model.tables[kDeep]->FindRow(key, [&](const embedding::RowView<double>& row) {
        EXPECT_NEAR(Steps(row.weights, NewRow(key)), steps, 1e-6) << "server " << s << ", key " << key;
      });
  }
  // Steps of a row, on whichever server holds it; -1: none. REQUIRES: nobody has pushed since servers were at rest.
  double StepsOfRow(Key key) {
    double steps = -1;
    for (const auto& model : models_)
      model.tables[kDeep]->FindRow(
          key, [&](const embedding::RowView<double>& row) { steps = Steps(row.weights, NewRow(key)); });
    return steps;
  }
  void AtRest(const std::function<void(int s, const ServiceState&)>& body) {
    for (int s = 0; s < kServers; ++s)
      EXPECT_TRUE(server(s)
                      .engine()
                      .AtRest(0,
                              [&](const ServiceState& state) {
                                body(s, state);
                                return Status::Ok();
                              })
                      .ok());
  }

 private:
  const int64_t staleness_;
  TestModel<double> models_[kServers];
  std::mutex mutex_;
  std::map<uint64_t, std::vector<uint64_t>> written_;  // pushes by client, server after server
  std::atomic<int64_t> cuts_{0};
  std::atomic<Counters*> counters_[kServers] = {};  // as the servers' own threads find them
  std::vector<std::unique_ptr<ParameterServer>> servers_;
  std::vector<std::unique_ptr<Relay>> relays_;
  std::vector<std::string> addresses_;
};

TestBatch<double> BatchOf(const Service& service, int worker, int64_t salt) {
  auto keys = TestKeys(1, kHot);
  if (worker >= 0) {
    const auto own = KeysOfWorker(worker);
    keys[0].insert(keys[0].end(), own.begin(), own.end());
  }
  for (int i = 0; i < 5; ++i) keys[2].push_back(static_cast<Key>(salt * 5 + i) << 8);  // new ones, and some come back
  return TestBatch<double>(service.layout(), keys);
}

// A worker with several batches in flight, until `enough`. How many it pushed.
int64_t Work(Service* service, int worker, const std::atomic<bool>& enough, ClientStats* stats) {
  constexpr int64_t kAhead = 3, kRing = kAhead + 1;
  const auto client = service->Client("worker-" + std::to_string(worker));
  const int64_t start = client->info().last_clock;
  std::vector<TestBatch<double>> ring;
  for (int64_t k = 0; k < kRing; ++k) ring.push_back(BatchOf(*service, worker, worker * kRing + k));
  std::vector<Pending> pulls(static_cast<size_t>(kRing));
  const auto slot = [](int64_t clock) { return static_cast<size_t>(clock % kRing); };
  const Deadline deadline;
  int64_t last = 0, pushed = 0;  // the last batch that was pulled, and pushed
  const auto more = [&] { return last < kMinPushes || (!enough && !deadline.over()); };
  for (; last < kAhead; ++last) pulls[slot(last + 1)] = client->Pull(ring[slot(last + 1)].pull(start + last + 1));
  while (pushed < last) {
    const int64_t clock = pushed + 1;
    const Status pulled = pulls[slot(clock)].Wait();
    EXPECT_TRUE(pulled.ok()) << pulled.message();
    if (!pulled.ok()) break;
    Steps(&ring[slot(clock)].rows[kDeep][0], NewRow(ring[slot(clock)].ids.unique[0]));
    const bool both = worker % 2 == 1, pull = more();
    if (pull && !both) pulls[slot(last + 1)] = client->Pull(ring[slot(last + 1)].pull(start + last + 1));
    if (pull && both)  // answered after this push
      pulls[slot(last + 1)] =
          client->PushPull(ring[slot(clock)].push(start + clock), ring[slot(last + 1)].pull(start + last + 1));
    else
      client->Push(ring[slot(clock)].push(start + clock));
    last += pull;
    pushed = clock;
  }
  const Status flushed = client->Flush();
  EXPECT_TRUE(flushed.ok()) << flushed.message();
  EXPECT_TRUE(client->Leave().ok());
  *stats = client->stats();
  EXPECT_EQ(stats->pushes, pushed);
  return pushed;
}

// Comes, sends, and is gone in the middle of it; comes again.
void Visit(Service* service, const std::atomic<bool>& done, std::atomic<int64_t>* visits) {
  while (!done) {
    std::vector<TestBatch<double>> batches;
    for (int k = 0; k < 3; ++k) batches.push_back(BatchOf(*service, -1, 1000 + k));
    const auto client = service->Client("visitor");
    const int64_t start = client->info().last_clock;
    Pending first = client->Pull(batches[0].pull(start + 1));
    client->Pull(batches[1].pull(start + 2));
    if (first.Wait().ok()) client->PushPull(batches[0].push(start + 1), batches[2].pull(start + 3));
    ++*visits;
  }
}

// Looks up, asks what there is to ask, and sees whole rows only.
void Look(Service* service, const std::atomic<bool>& done, std::atomic<int64_t>* looks) {
  const auto client = service->Client("reader", false);
  TestBatch<double> batch(service->layout(), TestKeys(1, kHot));
  const auto fresh = NewRow(batch.ids.unique[0]);
  ServiceConfig config;
  config.connect_timeout_s = 20;
  while (!done) {
    const Status status = client->Pull(batch.pull(0, ResolveMode::kLookup)).Wait();
    ASSERT_TRUE(status.ok()) << status.message();
    const double* const row = &batch.rows[kDeep][0];
    if (std::any_of(row, row + fresh.size(), [](double x) { return x != 0; })) Steps(row, fresh);
    for (int s = 0; s < kServers; ++s) {
      const auto page = InspectServer(service->server(s).address(), config, *looks % 2 == 0);
      EXPECT_TRUE(page.ok()) << page.status().message();
    }
    EXPECT_GT(client->stats().pulls, 0);
    ++*looks;
  }
}

// A worker's companion: leases, and the client's counters, from a thread of their own.
void BorrowInput(ParameterClient<double>* client, const std::atomic<bool>& done, std::atomic<int64_t>* leases) {
  ASSERT_TRUE(client->OfferInput({1000000, 1, 5}).ok());
  while (!done) {
    auto lease = client->AcquireLease({});
    ASSERT_TRUE(lease.ok()) << lease.status().message();
    ASSERT_EQ(lease->state, LeaseState::kGranted);
    const Status finished = client->FinishLease(lease->lease);
    ASSERT_TRUE(finished.ok()) << finished.message();
    EXPECT_GE(client->stats().bytes_sent, 0);
    ++*leases;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

class LoadTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!ServiceBuilt()) GTEST_SKIP() << "a build without gRPC";
  }
};
class LoadWithStalenessTest : public LoadTest, public testing::WithParamInterface<int64_t> {};

TEST_P(LoadWithStalenessTest, EverythingAtOnceAndEachPushIsAppliedOnce) {
  const int64_t staleness = GetParam();
  Service service(staleness);
  std::atomic<bool> enough{false}, done{false};
  std::atomic<int64_t> visits{0}, looks{0};
  int64_t pushed[kWorkers] = {};
  ClientStats stats[kWorkers];
  std::vector<std::thread> workers, others;
  for (int w = 0; w < kWorkers; ++w) workers.emplace_back([&, w] { pushed[w] = Work(&service, w, enough, &stats[w]); });
  others.emplace_back([&] { Look(&service, done, &looks); });
  if (staleness < 0) others.emplace_back([&] { Visit(&service, done, &visits); });  // nobody waits for its clock
  others.emplace_back([&] {
    while (!done) {
      const auto path = service.server(0).Checkpoint();
      if (!path.ok()) {
        EXPECT_EQ(path.status().code(), StatusCode::kUnavailable) << path.status().message();
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(30));
    }
  });
  const Deadline deadline;
  int64_t rounds = 0;
  const auto seen = [&] { return rounds >= 6 && service.cuts() >= 3 && looks >= 3 && (staleness >= 0 || visits >= 3); };
  for (; !seen() && !deadline.over(); ++rounds) {
    std::this_thread::sleep_for(std::chrono::milliseconds(150));
    service.relay(rounds % kServers).Cut();
  }
  EXPECT_TRUE(seen()) << rounds << " rounds, " << service.cuts() << " checkpoints, " << looks << " looks, " << visits
                      << " visits";
  enough = true;
  for (auto& thread : workers) thread.join();
  done = true;
  for (auto& thread : others) thread.join();

  EXPECT_GT(service.relay(0).cut() + service.relay(1).cut(), 0);
  int64_t reconnects = 0;
  for (const ClientStats& each : stats) {
    reconnects += each.reconnects;
    EXPECT_EQ(each.lost_pushes, 0);
  }
  EXPECT_GT(reconnects, 0);
  service.AtRest([&](int s, const ServiceState& state) {
    service.CheckWhole(s, state.step);
    if (staleness == 0) return;
    int64_t all = 0;
    for (const int64_t each : pushed) all += each;
    EXPECT_GE(service.StepsOf(s, state.step), all);
    if (staleness > 0) {
      EXPECT_EQ(service.StepsOf(s, state.step), all);
    }
  });
  if (staleness == 0) return;
  for (int w = 0; w < kWorkers; ++w)
    for (const Key key : KeysOfWorker(w)) EXPECT_NEAR(service.StepsOfRow(key), static_cast<double>(pushed[w]), 1e-6);
}
INSTANTIATE_TEST_SUITE_P(Bounds, LoadWithStalenessTest, testing::Values(-1, 2, 0), [](const auto& bound) {
  return bound.param < 0 ? std::string("None") : "Bound" + std::to_string(bound.param);
});

// The second server writes for longer than a cut is held whose leader is not heard of: the leader is there.
TEST_F(LoadTest, ACutIsHeldWhileTheOthersWrite) {
  constexpr double kCutTimeout_s = 0.2;
  Service service(-1, kCutTimeout_s, [](int server) {
    if (server == 1) std::this_thread::sleep_for(std::chrono::duration<double>(3 * kCutTimeout_s + 0.8));
  });
  std::atomic<bool> enough{false};
  ClientStats stats;
  std::thread worker([&] { Work(&service, 0, enough, &stats); });
  const Deadline deadline;
  while (service.server(1).engine().counters().pushes < 5 && !deadline.over()) std::this_thread::yield();
  while (service.cuts() == 0 && !deadline.over()) (void)service.server(0).Checkpoint();
  enough = true;
  worker.join();
  EXPECT_EQ(service.cuts(), 1);
}

// One client, whose lease functions and counters another thread uses than its pulls and pushes.
TEST_F(LoadTest, AClientServesTwoThreads) {
  Service service(-1);
  const auto client = service.Client("worker-0");
  std::atomic<bool> done{false};
  std::atomic<int64_t> leases{0};
  std::thread other([&] { BorrowInput(client.get(), done, &leases); });
  TestBatch<double> batch = BatchOf(service, 0, 0);
  const Deadline deadline;
  int64_t clock = 0;
  while ((leases < 20 || clock < 50) && !deadline.over()) {
    ++clock;
    EXPECT_TRUE(client->Pull(batch.pull(clock)).Wait().ok());
    client->Push(batch.push(clock));
    if (clock % 20 == 0) service.relay(clock / 20 % kServers).Cut();
  }
  done = true;
  other.join();
  EXPECT_TRUE(client->Flush().ok());
  EXPECT_EQ(client->stats().pushes, clock);
  std::thread asks([&] { EXPECT_TRUE(client->Checkpoint().ok()); });
  EXPECT_TRUE(client->AwaitCheckpoint(20).ok());
  asks.join();
  EXPECT_TRUE(client->Leave().ok());
}

}  // namespace
}  // namespace sluice::service
