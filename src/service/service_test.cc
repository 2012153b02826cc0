// Servers and clients over loopback.

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "base/file.h"
#include "service/testing.h"
#include "service/testing_relay.h"

namespace sluice::service {
namespace {

using embedding::ResolveMode;

class ServiceTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!ServiceBuilt()) GTEST_SKIP() << "a build without gRPC";
  }
};

// Rows of a model's own table, for comparison.
template <class T>
std::vector<T> RowOf(const TestModel<T>& model, size_t table, Key key) {
  std::vector<T> row;
  model.tables[table]->FindRow(key, [&](const embedding::RowView<T>& view) {
    row.assign(view.weights, view.weights + model.layout.tables[table].dim);
  });
  return row;
}

template <class T>
void ExpectOneWorkerTrainsTheModelItself(int servers, int64_t staleness, const std::string& rule) {
  SCOPED_TRACE(testing::Message() << servers << " servers, staleness " << staleness << ", " << rule);
  TestCluster<T> cluster(TestEngine(staleness), servers, rule);
  TestModel<T> reference(rule);
  const auto client = cluster.Client();
  for (int64_t clock = 1; clock <= 12; ++clock) {
    auto keys = TestKeys(static_cast<uint64_t>(clock % 4), 40);
    for (size_t v = 0; v < 3; ++v) keys[v].push_back(static_cast<Key>(clock * 3) + v);  // new ones too
    TestBatch<T> batch(cluster.layout(), keys);
    for (size_t t = 0; t < 2; ++t)
      for (size_t i = 0; i < batch.grads[t].size(); ++i)
        batch.grads[t][i] = T(0.01) * static_cast<T>((i * 7 + t) % 13) - T(0.05);
    for (size_t i = 0; i < batch.dense_grads.size(); ++i) batch.dense_grads[i] = T(0.001) * static_cast<T>(i);
    ASSERT_TRUE(client->Pull(batch.pull(clock)).Wait().ok());
    for (size_t i = 0; i < batch.buffers.size(); ++i)
      batch.buffers[i] = static_cast<T>(clock) + T(0.1) * static_cast<T>(i);
    const Status pushed = client->Push(batch.push(clock)).Wait();
    ASSERT_TRUE(pushed.ok()) << pushed.message();
    // The same on tables of our own.
    for (size_t t = 0; t < 2; ++t) {
      for (const int v : cluster.layout().tables[t].vocabularies) {
        const auto begin = static_cast<size_t>(batch.ids.block_begin[static_cast<size_t>(v)]);
        const auto n = keys[static_cast<size_t>(v)].size();
        const std::vector<embedding::KeyBlock> blocks = {{0, static_cast<int32_t>(n), 1}};
        const auto dim = static_cast<size_t>(cluster.layout().tables[t].dim);
        embedding::Resolved rows;
        auto& table = *reference.tables[t];
        table.Resolve({&batch.ids.unique[begin], n}, {&batch.ids.counts[begin], n}, blocks, ResolveMode::kTrain, clock,
                      nullptr, &rows);
        std::vector<T> expected(n * dim);
        table.Gather(rows, {&batch.ids.unique[begin], n}, blocks, {0, static_cast<int64_t>(n)}, expected.data());
        const std::vector<T> got(batch.rows[t].begin() + static_cast<int64_t>(begin * dim),
                                 batch.rows[t].begin() + static_cast<int64_t>((begin + n) * dim));
        ASSERT_EQ(got, expected) << "clock " << clock << ", table " << t << ", vocabulary " << v;
        table.Apply(rows, {&batch.ids.unique[begin], n}, &batch.grads[t][begin * dim], {0, static_cast<int64_t>(n)},
                    reference.optimizer);
        table.Release(rows);
      }
    }
    ASSERT_EQ(batch.params, reference.values) << clock;
    optim::UpdateSpan(reference.optimizer, clock, reference.values.data(), batch.dense_grads.data(),
                      reference.slots.data(), TestModel<T>::kParams, 0, TestModel<T>::kParams);
  }
  cluster.AwaitRest();
  for (size_t t = 0; t < 2; ++t) {
    uint64_t digest = 0, expected = 0;
    int64_t rows = 0;
    for (const auto& model : cluster.models) rows += model->tables[t]->stats().rows;
    EXPECT_EQ(rows, reference.tables[t]->stats().rows);
    if (servers == 1) {
      digest = cluster.models[0]->tables[t]->Digest();
      expected = reference.tables[t]->Digest();
    }
    EXPECT_EQ(digest, expected);
    reference.tables[t]->ForEachRow([&](const embedding::RowView<T>& row) {
      const auto owner = static_cast<size_t>(embedding::ShardOf(row.key) * servers / embedding::kNumShards);
      for (size_t s : {owner, owner + 1}) {
        if (s >= cluster.models.size()) continue;
        const auto got = RowOf(*cluster.models[s], t, row.key);
        if (!got.empty()) {
          EXPECT_EQ(got, std::vector<T>(row.weights, row.weights + cluster.layout().tables[t].dim));
        }
      }
    });
  }
  TestBatch<T> last(cluster.layout(), TestKeys(1, 1));
  ASSERT_TRUE(client->Pull(last.pull(0, ResolveMode::kLookup)).Wait().ok());
  EXPECT_EQ(last.params, reference.values);
  EXPECT_EQ(last.buffers[3], T(12) + T(0.1) * T(3));
  EXPECT_TRUE(client->Leave().ok());
}

TEST_F(ServiceTest, OneWorkerTrainsTheModelThatOneProcessTrainsBitForBit) {
  ExpectOneWorkerTrainsTheModelItself<float>(1, 0, "adagrad");
  ExpectOneWorkerTrainsTheModelItself<float>(1, -1, "adam");
  ExpectOneWorkerTrainsTheModelItself<double>(1, 0, "adam");
  ExpectOneWorkerTrainsTheModelItself<double>(3, 0, "adagrad");
  ExpectOneWorkerTrainsTheModelItself<float>(3, 2, "ftrl");
}

TEST_F(ServiceTest, LookupsInsertNothing) {
  TestCluster<float> cluster;
  const auto client = cluster.Client("reader", [](ClientOptions* options) { options->worker = false; });
  TestBatch<float> batch(cluster.layout(), TestKeys(1, 100));
  ASSERT_TRUE(client->Pull(batch.pull(0, ResolveMode::kLookup)).Wait().ok());
  cluster.AwaitRest();
  EXPECT_EQ(cluster.models[0]->tables[0]->stats().rows, 0);
  EXPECT_EQ(client->Pull(batch.pull(1)).Wait().code(), StatusCode::kInvalidArgument);
}

// Sums of gradients of several workers, weighted by sample weight; SGD on integers, so exact.
TEST_F(ServiceTest, WithoutStalenessGradientsOfAllWorkersAreSummedAndOneStepTaken) {
  constexpr int kWorkers = 3;
  TestCluster<double> cluster(TestEngine(0, kWorkers), 2);
  std::vector<std::thread> threads;
  std::vector<std::vector<double>> seen(kWorkers);
  for (int w = 0; w < kWorkers; ++w) {
    threads.emplace_back([&, w] {
      const auto client = cluster.Client("worker-" + std::to_string(w));
      const int64_t start = client->info().last_clock;
      ASSERT_EQ(start, 0);
      for (int64_t clock = 1; clock <= 5; ++clock) {
        // Key 77 is everybody's; each worker has one of its own.
        TestBatch<double> batch(cluster.layout(), {{77, 1000 + static_cast<Key>(w)}, {}, {}});
        ASSERT_TRUE(client->Pull(batch.pull(clock)).Wait().ok());
        seen[static_cast<size_t>(w)].push_back(batch.rows[1][0]);
        seen[static_cast<size_t>(w)].push_back(batch.params[50]);
        for (auto& table : batch.grads) std::fill(table.begin(), table.end(), static_cast<double>(w + 1));
        std::fill(batch.dense_grads.begin(), batch.dense_grads.end(), static_cast<double>(w + 1));
        const Status status = client->Push(batch.push(clock, w == 2 ? 2 : 1)).Wait();
        ASSERT_TRUE(status.ok()) << status.message();
      }
      ASSERT_TRUE(client->Leave().ok());
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(seen[0], seen[1]);
  EXPECT_EQ(seen[0], seen[2]);
  // A step: rate 0.5 times (1 * 1 + 2 * 1 + 3 * 2) / 4.
  for (size_t i = 2; i < seen[0].size(); ++i) EXPECT_DOUBLE_EQ(seen[0][i], seen[0][i - 2] - 0.5 * 9 / 4);
  cluster.AwaitRest();
  int64_t rows = 0, sightings = 0;
  for (const auto& model : cluster.models) {
    rows += model->tables[1]->stats().rows;
    model->tables[1]->FindRow(77, [&](const embedding::RowView<double>& row) { sightings = row.count; });
  }
  EXPECT_EQ(rows, 4);
  EXPECT_EQ(sightings, 15);
}

TEST_F(ServiceTest, BoundedStalenessHoldsTheFastWorkerBack) {
  TestCluster<float> cluster(TestEngine(2, 2));
  const auto fast = cluster.Client("fast");
  const auto slow = cluster.Client("slow");
  TestBatch<float> batch(cluster.layout(), TestKeys(1, 5)), other(cluster.layout(), TestKeys(2, 5));
  for (int64_t clock = 1; clock <= 3; ++clock) {  // up to 2 ahead of a worker that has done nothing
    ASSERT_TRUE(fast->Pull(batch.pull(clock)).Wait().ok());
    ASSERT_TRUE(fast->Push(batch.push(clock)).Wait().ok());
  }
  Pending held = fast->Pull(batch.pull(4));
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_FALSE(held.ready());
  ASSERT_TRUE(slow->Pull(other.pull(1)).Wait().ok());
  EXPECT_FALSE(held.ready());
  ASSERT_TRUE(slow->Push(other.push(1)).Wait().ok());
  ASSERT_TRUE(held.Wait().ok());
  ASSERT_TRUE(fast->Push(batch.push(4)).Wait().ok());
  held = fast->Pull(batch.pull(5));
  ASSERT_TRUE(slow->Leave().ok());  // nobody waits for who has left
  EXPECT_TRUE(held.Wait().ok());
}

TEST_F(ServiceTest, ASilentWorkerIsTakenForLostAndItsInputLentAnew) {
  EngineOptions options = TestEngine(0, 2);
  options.config.worker_timeout_s = 2;  // not over before the calls below are made, on a busy machine too
  TestCluster<float> cluster(options);
  const auto alive = cluster.Client("alive");
  const auto silent = cluster.Client("silent", [](ClientOptions* o) { o->config.heartbeat_s = 1000; });
  ASSERT_TRUE(alive->OfferInput({2, 1, 5}).ok());
  EXPECT_EQ(silent->OfferInput({3, 1, 5}).code(), StatusCode::kInvalidArgument);
  const Lease lost = silent->AcquireLease({}).value().lease;
  const Lease mine = alive->AcquireLease({}).value().lease;
  EXPECT_EQ(alive->FinishLease(mine).code(), StatusCode::kOk);
  EXPECT_EQ(alive->AcquireLease({}).value().state, LeaseState::kWait);
  TestBatch<float> batch(cluster.layout(), TestKeys(1, 5));
  ASSERT_TRUE(alive->Pull(batch.pull(1)).Wait().ok());  // after the silent one is dropped
  ASSERT_TRUE(alive->Push(batch.push(1)).Wait().ok());
  const LeaseReply again = alive->AcquireLease({}).value();
  EXPECT_EQ(again.state, LeaseState::kGranted);
  EXPECT_EQ(again.lease.id, lost.id);
  EXPECT_EQ(silent->Pull(batch.pull(1)).Wait().code(), StatusCode::kUnavailable);
}

TEST_F(ServiceTest, AServerThatIsSlowToAnswerAConnectionIsWaitedFor) {
  TestCluster<float> cluster;
  const Relay slow(cluster.addresses[0], std::chrono::milliseconds(700));
  const auto page = InspectServer(slow.address(), {}, true);
  EXPECT_TRUE(page.ok()) << page.status().message();
}

// One server came back from an older checkpoint, and has not caught up.
TEST_F(ServiceTest, AWorkerBeginsAtTheLatestClockOfAllServers) {
  for (const int behind : {0, 1}) {
    TestModel<double> models[2];
    std::vector<std::unique_ptr<ParameterServer>> servers;
    std::vector<std::string> addresses;
    for (int s = 0; s < 2; ++s) {
      EngineOptions options = TestEngine(0);
      options.server = s;
      options.servers = 2;
      ServiceState state;
      state.step = s == behind ? 3 : 9;
      ServerOptions server;
      server.servers.resize(2);
      auto started = ParameterServer::Start(models[s].MakeBackendOf(s, 2), models[s].layout, options, std::move(state),
                                            server, {});
      ASSERT_TRUE(started.ok()) << started.status().message();
      servers.push_back(std::move(started).value());
      addresses.push_back(servers.back()->address());
    }
    const auto client = ParameterClient<double>::Connect(TestClient(addresses), models[0].layout);
    ASSERT_TRUE(client.ok()) << client.status().message();
    ASSERT_EQ(client.value()->info().last_clock, 9) << behind;
    TestBatch<double> batch(models[0].layout, TestKeys(1, 5));
    ASSERT_TRUE(client.value()->Pull(batch.pull(10)).Wait().ok());
    ASSERT_TRUE(client.value()->Push(batch.push(10)).Wait().ok());
    for (const auto& server : servers) EXPECT_EQ(server->engine().step(), 10);
    EXPECT_TRUE(client.value()->Leave().ok());
  }
}

// Takes the place of servers that went back to a checkpoint: the same address, another generation.
TEST_F(ServiceTest, AClientOutlivesServersThatWentBack) {
  TestModel<double> model;
  ServerOptions options;
  auto server = ParameterServer::Start(model.MakeBackendOf(), model.layout, TestEngine(), {}, options, {});
  ASSERT_TRUE(server.ok());
  options.listen = server.value()->address();
  const auto client = ParameterClient<double>::Connect(TestClient({options.listen}), model.layout);
  ASSERT_TRUE(client.ok());
  TestBatch<double> batch(model.layout, TestKeys(1, 5));
  ASSERT_TRUE(client.value()->Pull(batch.pull(1)).Wait().ok());
  EXPECT_FALSE(client.value()->outlived());
  server.value().reset();
  TestModel<double> before;
  ServiceState state;
  state.generation = 1;
  server = ParameterServer::Start(before.MakeBackendOf(), before.layout, TestEngine(), std::move(state), options, {});
  ASSERT_TRUE(server.ok()) << server.status().message();
  EXPECT_EQ(client.value()->Push(batch.push(1)).Wait().code(), StatusCode::kUnavailable);
  EXPECT_TRUE(client.value()->outlived());
  EXPECT_EQ(server.value()->engine().counters().pushes.load(), 0);
  EXPECT_EQ(client.value()->AwaitCheckpoint(5).code(), StatusCode::kUnavailable);
  EXPECT_TRUE(ParameterClient<double>::Connect(TestClient({options.listen}), model.layout).ok());
}

TEST_F(ServiceTest, PushPullAnswersWithRowsAfterThePush) {
  for (const int64_t staleness : {-1, 0, 3}) {
    TestCluster<double> cluster(TestEngine(staleness));
    const auto client = cluster.Client();
    TestBatch<double> a(cluster.layout(), {{5}, {}, {}}), b(cluster.layout(), {{5}, {}, {}});
    ASSERT_TRUE(client->Pull(a.pull(1)).Wait().ok());
    ASSERT_TRUE(client->PushPull(a.push(1), b.pull(2)).Wait().ok());
    EXPECT_EQ(b.rows[1][0], a.rows[1][0] - 0.5) << staleness;
    EXPECT_EQ(b.params[0], a.params[0] - 0.5);
    ASSERT_TRUE(client->Push(b.push(2)).Wait().ok());
  }
}

TEST_F(ServiceTest, Bf16OnTheWireRoundsAndHalvesTheBytes) {
  TestCluster<float> cluster;
  const auto all = [](ClientOptions* o) { o->rows = o->row_gradients = o->dense = o->dense_gradients = Wire::kBf16; };
  const auto plain = cluster.Client("plain"), half = cluster.Client("half", all);
  TestBatch<float> a(cluster.layout(), TestKeys(1, 200)), b(cluster.layout(), TestKeys(1, 200));
  ASSERT_TRUE(plain->Pull(a.pull(1)).Wait().ok());
  ASSERT_TRUE(plain->Push(a.push(1)).Wait().ok());
  ASSERT_TRUE(plain->Pull(a.pull(2)).Wait().ok());
  ASSERT_TRUE(half->Pull(b.pull(1)).Wait().ok());
  for (size_t i = 0; i < 200 * 4; ++i) EXPECT_NEAR(b.rows[1][i], a.rows[1][i], std::abs(a.rows[1][i]) / 256);
  ASSERT_TRUE(half->Push(b.push(1)).Wait().ok());
  const auto wide = plain->stats(), narrow = half->stats();
  // One pull each of trained rows, and one of rows as they were made: marks alone, a bit each of 800.
  EXPECT_EQ(narrow.bytes_by_kind.at("rows"), 2 * (400 + 400 * 4) + 100);
  EXPECT_EQ(wide.bytes_by_kind.at("rows"), 4 * (400 + 400 * 4) + 2 * 100);
  EXPECT_EQ(wide.bytes_by_kind.at("row gradients"), 2 * narrow.bytes_by_kind.at("row gradients"));
  EXPECT_EQ(narrow.bytes_by_kind.at("row gradients"), 2 * (400 + 400 * 4));
}

// What nobody has trained does not travel, whoever asks first; what somebody has, does. Either way the client sees the
// servers' rows.
TEST_F(ServiceTest, RowsTravelOnceTheyAreTrained) {
  for (const int64_t staleness : {int64_t{-1}, int64_t{0}}) {
    SCOPED_TRACE(staleness);
    embedding::TableConfig config;
    config.on_missing = "init";
    TestCluster<double> cluster(TestEngine(staleness), 2, "sgd", config);
    const auto worker = cluster.Client("worker");
    TestBatch<double> some(cluster.layout(), TestKeys(1, 50)), all(cluster.layout(), TestKeys(1, 100));
    constexpr int64_t kRows = 4, kRowBytes = 8 * (2 * 1 + 2 * 4);  // of a key of each vocabulary, in both tables
    ASSERT_TRUE(worker->Pull(some.pull(1)).Wait().ok());
    EXPECT_LE(worker->stats().bytes_by_kind.at("rows"), 50 * kRows / 8 + 2);
    ASSERT_TRUE(worker->Push(some.push(1)).Wait().ok());
    ASSERT_TRUE(worker->Pull(all.pull(2)).Wait().ok());  // the round of s = 0 is over
    const auto reader = cluster.Client("reader", [](ClientOptions* o) { o->worker = false; });
    ASSERT_TRUE(reader->Pull(all.pull(0, ResolveMode::kLookup)).Wait().ok());
    const int64_t bytes = reader->stats().bytes_by_kind.at("rows");
    EXPECT_GE(bytes, 50 * kRowBytes + 100 * kRows / 8);
    EXPECT_LE(bytes, 50 * kRowBytes + 100 * kRows / 8 + 2);

    const TestModel<double> untrained("sgd", config);
    for (size_t t = 0; t < 2; ++t) {
      const auto dim = static_cast<size_t>(cluster.layout().tables[t].dim);
      for (const int v : cluster.layout().tables[t].vocabularies) {
        for (int i = 0; i < 100; ++i) {
          const auto at = static_cast<size_t>(all.ids.block_begin[static_cast<size_t>(v)] + i);
          std::vector<double> row(dim);
          untrained.tables[t]->init().Fill(all.ids.unique[at], row.data());
          for (size_t c = 0; c < dim; ++c)
            ASSERT_EQ(all.rows[t][at * dim + c], row[c] - (i < 50 ? 0.5 : 0.0)) << t << " " << v << " " << i;
        }
      }
    }
  }
}

// The same steps on two services, one of whose clients packs: equal bits, and fewer bytes.
TEST_F(ServiceTest, PackedDenseSpansAreThoseThatWerePacked) {
  std::vector<std::vector<float>> params;
  std::vector<int64_t> down, up;
  for (const Wire wire : {Wire::kNative, Wire::kPacked}) {
    TestCluster<float> cluster(TestEngine(), 2);
    const auto client = cluster.Client("c", [wire](ClientOptions* o) { o->dense = o->dense_gradients = wire; });
    for (int64_t clock = 1; clock <= 3; ++clock) {
      TestBatch<float> batch(cluster.layout(), TestKeys(1, 20));
      ASSERT_TRUE(client->Pull(batch.pull(clock)).Wait().ok());
      for (size_t i = 0; i < batch.dense_grads.size(); ++i)
        batch.dense_grads[i] = std::sin(static_cast<float>(i) + static_cast<float>(clock)) * 1e-3f;
      ASSERT_TRUE(client->Push(batch.push(clock)).Wait().ok());
      params.push_back(batch.params);
    }
    down.push_back(client->stats().bytes_by_kind.at("dense"));
    up.push_back(client->stats().bytes_by_kind.at("dense gradients"));
  }
  for (size_t clock = 0; clock < 3; ++clock) EXPECT_EQ(params[clock], params[clock + 3]);
  EXPECT_NE(params[0], params[1]);
  EXPECT_LT(static_cast<double>(up[1]), 0.93 * static_cast<double>(up[0]));
  EXPECT_LT(static_cast<double>(down[1]), 0.93 * static_cast<double>(down[0]));
}

TEST_F(ServiceTest, AFirstServerThatCannotReachTheOthersDoesNotBegin) {
  TestModel<float> model;
  ServerOptions options;
  options.listen = "127.0.0.1:0";
  options.servers = {"127.0.0.1:1", "127.0.0.1:2"};
  EngineOptions engine = TestEngine();
  engine.servers = 2;
  engine.config.tls_ca = "/nowhere/ca.pem";
  const auto server = ParameterServer::Start(model.MakeBackendOf(0, 2), model.layout, engine, {}, options, {});
  ASSERT_FALSE(server.ok());
  EXPECT_NE(server.status().message().find("/nowhere/ca.pem"), std::string::npos) << server.status().message();
}

TEST_F(ServiceTest, WrongTokensModelsAndOrdersAreRefused) {
  TestModel<float> model;
  ServerOptions options;
  options.token = "secret";
  auto server = ParameterServer::Start(model.MakeBackendOf(), model.layout, TestEngine(), {}, options, {});
  ASSERT_TRUE(server.ok());
  const std::string token = testing::TempDir() + "/token", wrong = testing::TempDir() + "/wrong";
  ASSERT_TRUE(WriteFileAtomically(token, "secret\n").ok());
  ASSERT_TRUE(WriteFileAtomically(wrong, "secrets\n").ok());
  ClientOptions client = TestClient({server.value()->address()});
  EXPECT_EQ(ParameterClient<float>::Connect(client, model.layout).status().code(), StatusCode::kInvalidArgument);
  client.config.token_file = wrong;
  EXPECT_EQ(ParameterClient<float>::Connect(client, model.layout).status().code(), StatusCode::kInvalidArgument);
  client.config.token_file = token;
  EXPECT_TRUE(ParameterClient<float>::Connect(client, model.layout).ok());
  EXPECT_TRUE(InspectServer(server.value()->address(), client.config, true).ok());
  EXPECT_FALSE(InspectServer(server.value()->address(), {}, false).ok());
  ModelLayout other = model.layout;
  other.tables[1].dim = 5;
  EXPECT_NE(ParameterClient<float>::Connect(client, other).status().message().find("not the server's"),
            std::string::npos);
  EXPECT_EQ(ParameterClient<double>::Connect(client, model.layout).status().code(), StatusCode::kInvalidArgument);
  client.servers.push_back(client.servers[0]);
  EXPECT_NE(ParameterClient<float>::Connect(client, model.layout).status().message().find("server 0 of 1"),
            std::string::npos);

  options.token.clear();
  options.listen = "0.0.0.0:0";
  TestModel<float> open;
  EXPECT_EQ(ParameterServer::Start(open.MakeBackendOf(), open.layout, TestEngine(), {}, options, {}).status().code(),
            StatusCode::kInvalidArgument);
}

TEST_F(ServiceTest, LimitsAreKept) {
  EngineOptions options = TestEngine();
  options.config.max_request_rows = 50;
  options.config.max_clients = 2;
  options.config.max_open_batches = 2;
  TestCluster<float> cluster(options);
  const auto client = cluster.Client();
  TestBatch<float> large(cluster.layout(), TestKeys(1, 20)), small(cluster.layout(), TestKeys(1, 10));
  EXPECT_EQ(client->Pull(large.pull(1)).Wait().code(), StatusCode::kResourceExhausted);
  ASSERT_TRUE(client->Pull(small.pull(1)).Wait().ok());
  ASSERT_TRUE(client->Pull(small.pull(2)).Wait().ok());
  EXPECT_EQ(client->Pull(small.pull(3)).Wait().code(), StatusCode::kResourceExhausted);
  const auto second = cluster.Client("second");
  EXPECT_EQ(ParameterClient<float>::Connect(TestClient(cluster.addresses, "third"), cluster.layout()).status().code(),
            StatusCode::kResourceExhausted);
  small.grads[1][7] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(client->Push(small.push(1)).Wait().code(), StatusCode::kNumeric);
}

// Nobody waits for a push; one that is not even sent must not go by in silence.
TEST_F(ServiceTest, APushThatIsNotSentComesBackFromFlush) {
  EngineOptions options = TestEngine();
  options.config.max_message_bytes = 4096;
  TestCluster<double> cluster(options);
  const auto client = cluster.Client();
  TestBatch<double> batch(cluster.layout(), TestKeys(1, 40));
  ASSERT_TRUE(client->Pull(batch.pull(1)).Wait().ok());
  client->Push(batch.push(1));
  const Status status = client->Flush();
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_NE(status.message().find("service.max_message_bytes"), std::string::npos) << status.message();
  EXPECT_TRUE(client->Flush().ok());  // told once
}

// Several clients with work in flight against one server: nothing is lost, nothing applied twice. Integers, so exact.
TEST_F(ServiceTest, PushesOfManyClientsAreEachAppliedOnce) {
  EngineOptions options = TestEngine();
  TestCluster<double> cluster(options, 2);
  constexpr int kClients = 4, kPushes = 60;
  std::vector<std::thread> threads;
  for (int c = 0; c < kClients; ++c) {
    threads.emplace_back([&, c] {
      const auto client = cluster.Client("worker-" + std::to_string(c));
      std::vector<std::unique_ptr<TestBatch<double>>> batches;
      for (int k = 0; k < 4; ++k) {
        auto keys = TestKeys(1, 30);
        batches.push_back(std::make_unique<TestBatch<double>>(cluster.layout(), keys));
      }
      const int64_t start = client->info().last_clock;
      std::vector<Pending> pulls(4);
      for (int64_t i = 1; i <= kPushes + 3; ++i) {
        if (i <= kPushes)
          pulls[static_cast<size_t>(i % 4)] = client->Pull(batches[static_cast<size_t>(i % 4)]->pull(start + i));
        if (i > 3) {
          ASSERT_TRUE(pulls[static_cast<size_t>((i - 3) % 4)].Wait().ok());
          client->Push(batches[static_cast<size_t>((i - 3) % 4)]->push(start + i - 3));
        }
      }
      ASSERT_TRUE(client->Flush().ok());
    });
  }
  for (auto& thread : threads) thread.join();
  cluster.AwaitRest();
  for (const auto& model : cluster.models)
    for (size_t i = 0; i < model->values.size(); ++i) {
      const bool mine =
          SpanOfServer(TestModel<double>::kParams, model == cluster.models[0] ? 0 : 1, 2).begin <=
              static_cast<int64_t>(i) &&
          static_cast<int64_t>(i) < SpanOfServer(TestModel<double>::kParams, model == cluster.models[0] ? 0 : 1, 2).end;
      EXPECT_EQ(model->values[i], mine ? 1 - 0.5 * kClients * kPushes : 1) << i;
    }
  int64_t pushes = 0;
  for (const auto& server : cluster.servers) pushes += server->engine().counters().pushes;
  EXPECT_EQ(pushes, 2 * kClients * kPushes);
}

}  // namespace
}  // namespace sluice::service
