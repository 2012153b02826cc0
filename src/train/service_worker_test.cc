// Workers and parameter servers over loopback, as threads of one process, against one process that trains alone.
#include "train/service_worker.h"

#include <cmath>
#include <cstring>
#include <set>
#include <thread>

#include "placement/strategy.h"
#include "service/parameter_server.h"
#include "service/service.h"
#include "service/wire.h"
#include "train/ranks_test_util.h"
#include "train/service_layout.h"
#include "train/train_test_util.h"
#include "train/trainer.h"

namespace sluice::train {
namespace {

// Parameter servers over models of their own, as processes would have them.
template <class T>
struct Cluster {
  std::vector<std::unique_ptr<ModelState<T>>> states;
  std::vector<std::unique_ptr<service::ParameterServer>> servers;
  std::vector<std::string> addresses;

  Cluster(const RunConfig& config, int num_servers) {
    auto features = data::FitFeatures(config.data, config.features, WantsDenseInput(config.model));
    EXPECT_TRUE(features.ok()) << features.status().message();
    for (int s = 0; s < num_servers; ++s) {
      auto state = ModelState<T>::Make(config, features->MakeSchema());
      EXPECT_TRUE(state.ok()) << state.status().message();
      states.push_back(std::move(state).value());
      ModelState<T>* model = states.back().get();
      service::ServedModel<T> served;
      served.layout = LayoutOf(*model);
      served.server = s;
      served.servers = num_servers;
      for (int t = 0; t < model->tables->size(); ++t) served.tables.push_back(&model->tables->table(t));
      served.table_rule = [model](int table, int64_t step) {
        optim::Rule rule = model->tables->rule(table);
        rule.learning_rate = model->tables->schedule(table).LearningRate(step);
        return rule;
      };
      served.dense_rule = [model](int64_t step) {
        optim::Rule rule = model->rule;
        rule.learning_rate = model->schedule.LearningRate(step);
        return rule;
      };
      if (model->tables->expires()) served.expire = [model](int64_t step) { model->tables->Expire(step); };
      served.params = model->params.data();
      served.slots = model->slots.data();
      served.buffers = model->buffers.data();
      service::EngineOptions engine;
      engine.server = s;
      engine.servers = num_servers;
      engine.staleness = placement::StalenessBound(config.strategy);
      engine.workers = config.strategy.workers;
      engine.threads = 2;
      engine.config = config.service;
      service::ServerOptions options;
      options.servers.resize(static_cast<size_t>(num_servers));
      auto started = service::ParameterServer::Start(service::MakeBackend<T>(std::move(served)), LayoutOf(*model),
                                                     std::move(engine), {}, options, {});
      EXPECT_TRUE(started.ok()) << started.status().message();
      servers.push_back(std::move(started).value());
      addresses.push_back(servers.back()->address());
    }
  }

  // All numbers by name: each dense scalar from the server that it belongs to, rows with slots, count and last use.
  std::map<std::string, std::vector<double>> Numbers() const {
    std::map<std::string, std::vector<double>> numbers;
    const int64_t params = states[0]->params.size();
    for (int s = 0; s < static_cast<int>(states.size()); ++s) {
      const Range span = service::SpanOfServer(params, s, static_cast<int>(states.size()));
      for (int64_t i = span.begin; i < span.end; ++i)
        numbers["params"].push_back(states[static_cast<size_t>(s)]->params[i]);
      AddRows(*states[static_cast<size_t>(s)], &numbers);
    }
    return numbers;
  }
  static void AddRows(const ModelState<T>& state, std::map<std::string, std::vector<double>>* numbers) {
    for (int t = 0; t < state.tables->size(); ++t) {
      const auto& table = state.tables->table(t);
      table.ForEachRow([&](const embedding::RowView<T>& row) {
        auto& values = (*numbers)[state.tables->need(t).name + "/" + std::to_string(row.key)];
        EXPECT_TRUE(values.empty()) << "row " << row.key << " is on two servers";
        values.assign(row.weights, row.weights + table.dim());
        values.insert(values.end(), row.slots, row.slots + table.num_slots());
        values.push_back(row.count);
        values.push_back(row.last_use);
      });
    }
  }
  int64_t rows() const {
    int64_t rows = 0;
    for (const auto& state : states)
      for (int t = 0; t < state->tables->size(); ++t) rows += state->tables->table(t).stats().rows;
    return rows;
  }
};

class ServiceWorkerTest : public TrainTest {
 protected:
  void SetUp() override {
    if (!service::ServiceBuilt()) GTEST_SKIP() << "a build without gRPC";
  }

  static RunConfig ServiceConfig(const std::string& preset, int64_t workers) {
    RunConfig config = Config();
    config.model.preset = "deepfm";
    config.train.batch_size = 100;
    config.train.eval_every_epoch = false;
    config.data.block_bytes = 4096;
    config.threads = 1;
    config.strategy.preset = preset;
    config.strategy.workers = workers;
    config.checkpoint.at_end = false;
    config.service.heartbeat_s = 0.2;
    config.service.retry_s = 20;
    return config;
  }

  // One process alone, with the samples of all workers in a step.
  template <class T>
  std::map<std::string, std::vector<double>> Alone(RunConfig config, uint64_t* digest = nullptr) {
    config.train.batch_size *= config.strategy.workers;
    config.strategy = {};
    auto folder = OpenRunFolder(config, NewRun());
    EXPECT_TRUE(folder.ok()) << folder.status().message();
    auto trainer = Trainer<T>::Make(config, *folder, {.quiet = true});
    EXPECT_TRUE(trainer.ok()) << trainer.status().message();
    const auto report = (*trainer)->Run();
    EXPECT_TRUE(report.ok()) << report.status().message();
    ModelState<T>& state = (*trainer)->state();
    if (digest != nullptr) *digest = state.Digest();
    std::map<std::string, std::vector<double>> numbers;
    numbers["params"].assign(state.params.data(), state.params.data() + state.params.size());
    Cluster<T>::AddRows(state, &numbers);
    return numbers;
  }

  // All workers, each on a thread. Their reports.
  template <class T>
  std::vector<TrainReport> Work(RunConfig config, const Cluster<T>& cluster) {
    config.strategy.servers = cluster.addresses;
    std::vector<TrainReport> reports(static_cast<size_t>(config.strategy.workers));
    std::vector<std::thread> threads;
    for (int64_t w = 0; w < config.strategy.workers; ++w) {
      const std::string run = NewRun();
      threads.emplace_back([&, w, run, mine = config]() mutable {
        mine.strategy.worker = w;
        EXPECT_TRUE(ValidateForServers(mine).ok());
        auto folder = OpenRunFolder(mine, run);
        ASSERT_TRUE(folder.ok()) << folder.status().message();
        auto worker = ServiceWorker<T>::Make(mine, *folder, {.quiet = true});
        ASSERT_TRUE(worker.ok()) << worker.status().message();
        auto report = (*worker)->Run();
        ASSERT_TRUE(report.ok()) << report.status().message();
        reports[static_cast<size_t>(w)] = *report;
      });
    }
    for (auto& thread : threads) thread.join();
    return reports;
  }

  void ExpectEqual(RunConfig config, int servers, double tolerance) {
    config.precision = "fp64";
    const auto alone = Alone<double>(config);
    Cluster<double> cluster(config, servers);
    Work(config, cluster);
    EXPECT_LE(LargestDifference(alone, cluster.Numbers()), tolerance)
        << config.model.preset << ", " << servers << " servers";
  }
};

TEST_F(ServiceWorkerTest, OneSynchronousWorkerTrainsTheModelOfOneProcess) {
  for (const std::string preset : {"lr", "deepfm", "wide_deep"}) {
    RunConfig config = ServiceConfig("ps-sync", 1);
    config.model.preset = preset;
    ExpectEqual(config, preset == "deepfm" ? 2 : 1, 1e-10);
  }
}

TEST_F(ServiceWorkerTest, OneSynchronousWorkerIsEqualOverEpochsShufflesSchedulesAndDropout) {
  RunConfig config = ServiceConfig("ps-sync", 1);
  config.train.epochs = 2;
  config.data.shuffle_window = 3000;
  config.model.dropout = 0.2;
  config.strategy.pull_ahead = 3;
  config.optimizer.schedule.kind = "cosine";
  config.optimizer.schedule.total_steps = 200;
  ExpectEqual(config, 2, 1e-10);
}

TEST_F(ServiceWorkerTest, SynchronousWorkersTrainTheModelOfTheJoinedBatch) {
  for (const int64_t workers : {2, 3}) {
    RunConfig config = ServiceConfig("ps-sync", workers);
    config.train.batch_size = 49;  // the joined batches end unevenly
    config.train.epochs = 2;
    ExpectEqual(config, 2, 1e-10);
  }
}

TEST_F(ServiceWorkerTest, OneSynchronousWorkerHasTheBitsOfOneProcessInDeterministicMode) {
  RunConfig config = ServiceConfig("ps-sync", 1);
  config.deterministic = true;
  uint64_t digest = 0;
  Alone<float>(config, &digest);
  Cluster<float> cluster(config, 1);
  Work(config, cluster);
  EXPECT_EQ(cluster.states[0]->Digest(), digest);
}

TEST_F(ServiceWorkerTest, AsynchronousWorkersTrainOnEverySampleOnce) {
  for (const std::string preset : {"ps-async", "ps-ssp"}) {
    SCOPED_TRACE(preset);
    RunConfig config = ServiceConfig(preset, 3);
    config.strategy.staleness = 2;
    config.checkpoint.at_end = false;
    config.train.epochs = 2;
    RunConfig alone = config;
    alone.strategy = {};
    const TrainReport one = MustTrain(alone, NewRun());
    Cluster<float> cluster(config, 2);
    const auto reports = Work(config, cluster);
    int64_t samples = 0;
    for (const auto& report : reports) {
      samples += report.samples;
      EXPECT_EQ(report.lost_pushes, 0);
      EXPECT_GT(report.bytes_per_sample.at("sent"), 0);
      // Each of the other workers is at most s batches ahead, and this one's pull lies before its last push.
      if (preset == "ps-ssp") {
        EXPECT_LE(report.staleness_max, 2 * (2 * (config.strategy.staleness + 1) + 1));
      }
    }
    EXPECT_EQ(samples, one.samples);
    EXPECT_EQ(cluster.servers[0]->engine().samples(), one.samples);
    ASSERT_TRUE(reports[0].evaluated);
    EXPECT_FALSE(reports[1].evaluated);
    EXPECT_GT(reports[0].eval.auc, one.eval.auc - 0.03);
    EXPECT_EQ(reports[0].eval.samples, one.eval.samples);
  }
}

TEST_F(ServiceWorkerTest, EvaluationInsertsNothing) {
  RunConfig config = ServiceConfig("ps-async", 1);
  config.train.max_steps = 3;
  Cluster<float> cluster(config, 1);
  const auto reports = Work(config, cluster);
  EXPECT_TRUE(reports[0].evaluated);
  // Three batches of 100 samples with 26 keys, and buckets of 13 numbers.
  EXPECT_LE(cluster.rows(), 3 * 100 * 39);
  std::set<double> last_uses;
  for (const auto& [name, values] : cluster.Numbers())
    if (name != "params") last_uses.insert(values.back());
  EXPECT_EQ(last_uses, (std::set<double>{1, 2, 3}));
}

TEST_F(ServiceWorkerTest, RefusesWhatNoWorkerCanDo) {
  RunConfig config = ServiceConfig("ps-sync", 2);
  config.strategy.servers = {"127.0.0.1:1"};
  EXPECT_TRUE(ValidateForServers(config).ok());
  const auto refused = [&](const char* setting, auto&& change) {
    RunConfig changed = config;
    change(&changed);
    const Status status = ValidateForServers(changed);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << setting;
    EXPECT_NE(status.message().find(setting), std::string::npos) << status.message();
  };
  refused("strategy.servers", [](RunConfig* c) { c->strategy.servers.clear(); });
  refused("strategy.worker", [](RunConfig* c) { c->strategy.worker = 2; });
  refused("eval_every_steps", [](RunConfig* c) { c->train.eval_every_steps = 5; });
  refused("early_stopping", [](RunConfig* c) { c->train.early_stopping.patience = 1; });
  refused("clipping by norm", [](RunConfig* c) { c->train.clip_norm = 1; });
  refused("deterministic", [](RunConfig* c) { c->deterministic = true; });
  refused("batch normalisation", [](RunConfig* c) { c->model.batch_norm = true; });
  refused("plateau", [](RunConfig* c) { c->optimizer.schedule.kind = "plateau"; });
  refused("standard input", [](RunConfig* c) { c->data.train = {"-"}; });
}

}  // namespace
}  // namespace sluice::train
