#pragma once

// A small model behind real servers, for tests.

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "base/rng.h"
#include "embedding/make_table.h"
#include "optim/config.h"
#include "service/parameter_client.h"
#include "service/parameter_server.h"
#include "service/service.h"

namespace sluice::service {

// Two tables over three vocabularies, and a dense span. Vocabulary 0 is in both tables, 1 in the second, 2 in the
// first.
template <class T>
struct TestModel {
  static constexpr int64_t kParams = 100, kBuffers = 20;

  explicit TestModel(const std::string& rule = "sgd", embedding::TableConfig config = {}, int64_t params = kParams) {
    config.optimizer.name = rule;
    config.optimizer.learning_rate = 0.5;
    layout.salts = {11, 22, 33};
    layout.tables = {{"wide", 1, {0, 2}}, {"deep", 4, {0, 1}}};
    layout.params = params;
    layout.buffers = kBuffers;
    layout.scalar_bytes = sizeof(T);
    layout.description = "test";
    optimizer = optim::MakeRule(config.optimizer).value();
    for (const auto& table : layout.tables)
      tables.push_back(embedding::MakeTable<T>(table.name, table.dim, config, 7).value());
    values.assign(static_cast<size_t>(params), T(1));
    slots.assign(static_cast<size_t>(optim::NumSpanSlots(optimizer.kind, params)), T(0));
    optim::InitSpanSlots(optimizer, slots.data(), params);
    buffers.assign(kBuffers, T(0));
    if (config.expiry.max_age_steps > 0 || config.expiry.max_rows > 0)
      expire = [this](int64_t step) {
        for (auto& table : tables) table->Expire(step);
      };
  }

  std::unique_ptr<Backend> MakeBackendOf(int server = 0, int servers = 1) {
    ServedModel<T> served;
    served.layout = layout;
    served.server = server;
    served.servers = servers;
    for (auto& table : tables) served.tables.push_back(table.get());
    served.table_rule = [this](int, int64_t step) {
      if (before_rows) before_rows(step);
      return optimizer;
    };
    served.dense_rule = [this](int64_t step) {
      if (before_step) before_step(step);
      return optimizer;
    };
    served.expire = expire;
    served.params = values.data();
    served.slots = slots.data();
    served.buffers = buffers.data();
    return MakeBackend<T>(std::move(served));
  }

  ModelLayout layout;
  optim::Rule optimizer;
  std::vector<std::unique_ptr<embedding::Table<T>>> tables;
  std::vector<T> values, slots, buffers;
  std::function<void(int64_t)> expire;
  std::function<void(int64_t)> before_rows, before_step;  // of rows, and of the dense span: on the thread that takes it
};

// A batch of unique keys by vocabulary, with room for its rows and gradients.
template <class T>
struct TestBatch {
  embedding::VirtualIds ids;
  std::vector<std::vector<T>> rows, grads;
  std::vector<T> params, buffers, dense_grads;

  TestBatch(const ModelLayout& layout, const std::vector<std::vector<Key>>& keys) {
    ids.block_begin.push_back(0);
    for (const auto& list : keys) {
      ids.unique.insert(ids.unique.end(), list.begin(), list.end());
      ids.block_begin.push_back(static_cast<int32_t>(ids.unique.size()));
    }
    ids.counts.assign(ids.unique.size(), 1);
    for (const auto& table : layout.tables) {
      rows.emplace_back(ids.unique.size() * static_cast<size_t>(table.dim), T(-99));
      grads.emplace_back(ids.unique.size() * static_cast<size_t>(table.dim), T(1));
    }
    params.assign(static_cast<size_t>(layout.params), T(-99));
    buffers.assign(static_cast<size_t>(layout.buffers), T(0));
    dense_grads.assign(static_cast<size_t>(layout.params), T(1));
  }

  PullRequest<T> pull(int64_t clock, embedding::ResolveMode mode = embedding::ResolveMode::kTrain) {
    PullRequest<T> request;
    request.ids = &ids;
    request.mode = mode;
    request.clock = clock;
    for (auto& table : rows) request.rows.push_back(table.data());
    request.params = params.data();
    request.buffers = buffers.data();
    return request;
  }
  PushRequest<T> push(int64_t clock, double weight = 1) {
    PushRequest<T> request;
    request.ids = &ids;
    request.clock = clock;
    for (auto& table : grads) request.grads.push_back(table.data());
    request.dense_grads = dense_grads.data();
    request.buffers = buffers.data();
    request.weight = weight;
    request.samples = 10;
    return request;
  }
};

// `n` distinct keys for each of the three vocabularies.
inline std::vector<std::vector<Key>> TestKeys(uint64_t seed, int n) {
  std::vector<std::vector<Key>> keys(3);
  for (uint64_t v = 0; v < 3; ++v)
    for (int i = 0; i < n; ++i) keys[v].push_back(MixPair(seed * 3 + v, static_cast<uint64_t>(i)));
  return keys;
}

inline EngineOptions TestEngine(int64_t staleness = -1, int64_t workers = 1) {
  EngineOptions options;
  options.staleness = staleness;
  options.workers = workers;
  options.threads = 2;
  options.config.heartbeat_s = 0.2;
  options.config.connect_timeout_s = 2;
  options.config.retry_s = 20;
  return options;
}

inline ClientOptions TestClient(const std::vector<std::string>& servers, const std::string& name = "worker-0") {
  ClientOptions options;
  options.servers = servers;
  options.name = name;
  options.config = TestEngine().config;
  return options;
}

// S servers over models of their own, as processes would have them.
template <class T>
struct TestCluster {
  std::vector<std::unique_ptr<TestModel<T>>> models;
  std::vector<std::unique_ptr<ParameterServer>> servers;
  std::vector<std::string> addresses;

  explicit TestCluster(EngineOptions options = TestEngine(), int num_servers = 1, const std::string& rule = "sgd",
                       embedding::TableConfig config = {}) {
    for (int s = 0; s < num_servers; ++s) {
      models.push_back(std::make_unique<TestModel<T>>(rule, config));
      options.server = s;
      options.servers = num_servers;
      ServerOptions server;
      server.servers.resize(static_cast<size_t>(num_servers));
      auto started = ParameterServer::Start(models.back()->MakeBackendOf(s, num_servers), models.back()->layout,
                                            options, {}, server, {});
      EXPECT_TRUE(started.ok()) << started.status().message();
      servers.push_back(std::move(started).value());
      addresses.push_back(servers.back()->address());
    }
  }
  const ModelLayout& layout() const { return models[0]->layout; }
  // Until no request works on a model; from then on tests may read them, as long as nobody sends another one.
  void AwaitRest() {
    for (const auto& server : servers)
      EXPECT_TRUE(server->engine().AtRest(0, [](const ServiceState&) { return Status::Ok(); }).ok());
  }
  std::unique_ptr<ParameterClient<T>> Client(const std::string& name = "worker-0",
                                             const std::function<void(ClientOptions*)>& adjust = nullptr) {
    ClientOptions options = TestClient(addresses, name);
    if (adjust) adjust(&options);
    auto client = ParameterClient<T>::Connect(options, layout());
    EXPECT_TRUE(client.ok()) << client.status().message();
    return std::move(client).value();
  }
};

}  // namespace sluice::service
