// A server without its network, under load from many threads: what runs under the thread sanitizer.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <future>
#include <thread>

#include "service/initial_rows.h"
#include "service/row_order.h"
#include "service/testing.h"

namespace sluice::service {
namespace {

Status StatusOf(const ReplyMessage& reply) { return Status(static_cast<StatusCode>(reply.header.status), reply.text); }

// One client that speaks to the engine as its stream would.
class EngineClient {
 public:
  // `id` and `clock`: one that comes back to a server that does not know it.
  EngineClient(Engine* engine, const TestModel<double>& model, const std::string& name, uint64_t id = 0,
               int64_t clock = 0)
      : engine_(engine), model_(model) {
    auto joined = engine->Join({name, "here", true, LayoutText(model.layout), 1, 0, id, clock});
    EXPECT_TRUE(joined.ok()) << joined.status().message();
    id_ = joined->client_id;
    clock_ = first_clock_ = joined->last_clock;
    session_ = engine->Open(id_, joined->session).value();
  }
  uint64_t id() const { return id_; }
  int64_t clock() const { return clock_; }

  // Pulls the keys with the dense span, and pushes ones for gradients `times` times under the same number.
  Status Step(const KeyList& keys, int times) {
    ++clock_;
    SLUICE_RETURN_IF_ERROR(Await([&](Answer answer) { Run(PreparePull(clock_, keys, std::move(answer))); }));
    for (int i = 0; i < times; ++i)
      SLUICE_RETURN_IF_ERROR(Await([&](Answer answer) { Push(clock_, keys, std::move(answer)); }));
    return Status::Ok();
  }

  // A pull of the keys with the dense span, to be run on a thread of the caller's choice.
  // `initial_rows`: of rows that need not come.
  std::shared_ptr<Engine::Work> PreparePull(int64_t clock, const KeyList& keys, Answer answer,
                                            uint64_t initial_rows = 0) {
    RequestHeader header;
    header.initial_rows = initial_rows;
    header.flags = kPull | kWantParams;
    header.pull_clock = clock;
    const Bytes encoded = EncodeKeys(keys, &handles_);
    header.pull_key_bytes = encoded.size();
    return Prepare(header, {encoded.span()}, std::move(answer));
  }
  // The following send a message, and wait for nothing. The answer comes on any thread.
  void Pull(int64_t clock, const KeyList& keys, Answer answer) { Run(PreparePull(clock, keys, std::move(answer))); }
  // Ones for gradients of the batch with these keys. Its number is the clock's.
  void Push(int64_t clock, const KeyList& keys, Answer answer) {
    const std::vector<double> rows(static_cast<size_t>(RowOrder(model_.layout).Scalars(keys)), 1.0),
        dense(TestModel<double>::kParams, 1.0);
    const std::vector<double> buffers(TestModel<double>::kBuffers, 0.0);
    RequestHeader header;
    header.flags = kPush;
    header.push_clock = clock;
    header.sequence = static_cast<uint64_t>(clock - first_clock_);
    header.weight = 1;
    header.samples = 10;
    header.row_gradient_bytes = rows.size() * sizeof(double);
    header.dense_gradient_bytes = dense.size() * sizeof(double);
    header.buffer_bytes = buffers.size() * sizeof(double);
    Run(Prepare(header,
                {std::as_bytes(std::span(rows)), std::as_bytes(std::span(dense)), std::as_bytes(std::span(buffers))},
                std::move(answer)));
  }

 private:
  std::shared_ptr<Engine::Work> Prepare(const RequestHeader& header,
                                        const std::vector<std::span<const std::byte>>& sections, Answer answer) {
    auto message = std::make_shared<std::vector<std::byte>>(sizeof(header));
    std::memcpy(message->data(), &header, sizeof(header));
    for (const auto& section : sections) message->insert(message->end(), section.begin(), section.end());
    return engine_->Prepare(session_, {*message, message}, std::move(answer));
  }
  void Run(const std::shared_ptr<Engine::Work>& work) {
    if (work != nullptr) engine_->Run(work);  // else it was answered as malformed
  }
  // send(answer), and what was answered.
  template <class Send>
  static Status Await(const Send& send) {
    std::promise<Status> answered;
    send([&](const ReplyMessage& reply) { answered.set_value(StatusOf(reply)); });
    return answered.get_future().get();
  }

  Engine* engine_;
  const TestModel<double>& model_;
  uint64_t id_ = 0;
  int64_t clock_ = 0, first_clock_ = 0;
  HandleMap handles_{10000};
  std::shared_ptr<Engine::Session> session_;
};

KeyList SharedKeys(int n) {
  KeyList keys;
  const auto lists = TestKeys(1, n);
  for (int v = 0; v < 3; ++v) {
    const int64_t begin = keys.size();
    keys.keys.insert(keys.keys.end(), lists[static_cast<size_t>(v)].begin(), lists[static_cast<size_t>(v)].end());
    keys.blocks.push_back({v, {begin, keys.size()}});
  }
  keys.counts.assign(keys.keys.size(), 1);
  return keys;
}

// A client that would make other rows than the server's gets all of them, with marks that say so.
TEST(EngineTest, RowsAreLeftOutWhereTheClientKnowsThem) {
  TestModel<double> model;
  const auto engine = Engine::Make(model.MakeBackendOf(), model.layout, TestEngine());
  EngineClient client(engine.get(), model, "a");
  const KeyList keys = SharedKeys(20);
  constexpr size_t kMarks = 20 * 4 / 8, kRowBytes = 20 * 8 * (2 * 1 + 2 * 4);
  const uint64_t known = InitialRows<double>(engine->row_inits()).fingerprint();
  ASSERT_NE(known, 0u);
  const auto size_of = [&](int64_t clock, uint64_t initial_rows) {
    std::promise<size_t> answered;
    engine->Run(client.PreparePull(
        clock, keys, [&](const ReplyMessage& reply) { answered.set_value(reply.rows.size()); }, initial_rows));
    return answered.get_future().get();
  };
  EXPECT_EQ(size_of(1, known), kMarks);
  // Asked for again, as by a client that lost its connection: what the batch's keys were is not forgotten.
  EXPECT_EQ(size_of(1, known), kMarks);
  EXPECT_EQ(size_of(1, known + 1), kRowBytes + kMarks);
  EXPECT_EQ(size_of(1, 0), kRowBytes);
  EXPECT_EQ(size_of(2, known), kRowBytes + kMarks);  // named before: taken for trained
}

// Many clients push ones to the same rows, each push twice or three times, while cuts are taken, reports are asked for
// and clients come and go. SGD on integers: every weight says exactly how many pushes were applied to it, and is of one
// piece.
void PushUnderLoad(int64_t staleness, int clients, int steps) {
  SCOPED_TRACE(staleness);
  TestModel<double> model;
  EngineOptions options = TestEngine(staleness, clients);
  const auto engine = Engine::Make(model.MakeBackendOf(), model.layout, options);
  const KeyList keys = SharedKeys(20);
  std::atomic<int> running{clients};
  std::atomic<int64_t> cuts{0};
  std::vector<std::thread> threads;
  for (int c = 0; c < clients; ++c) {
    threads.emplace_back([&, c] {
      EngineClient client(engine.get(), model, "worker-" + std::to_string(c));
      for (int i = 0; i < steps; ++i) {
        while (i == steps / 2 && cuts == 0) std::this_thread::yield();  // one at least lies within
        const Status status = client.Step(keys, 1 + (c + i) % 3);
        if (!status.ok()) ADD_FAILURE() << status.message();
      }
      EXPECT_TRUE(engine->Leave(client.id()).ok());
      --running;
    });
  }
  while (running > 0) {
    (void)engine->Clients();
    (void)engine->backend().Report();
    const AppliedBy applied = engine->BeginCut(7);
    EXPECT_TRUE(engine->ReachCut(applied, 5).empty());
    const Status status = engine->AtRest(7, [&](const ServiceState& state) {
      // The model at rest holds the pushes that the state counts, whole: parameters began at 1, a push takes 0.5.
      const double pushes = (1 - model.values[0]) / 0.5;
      EXPECT_EQ(pushes, std::floor(pushes));
      for (const double value : model.values) EXPECT_EQ(value, model.values[0]);
      if (staleness != 0) {
        EXPECT_EQ(static_cast<int64_t>(pushes) * 10, state.samples);
      } else {
        EXPECT_EQ(static_cast<int64_t>(pushes), state.step);
      }
      return Status::Ok();
    });
    EXPECT_TRUE(status.ok());
    engine->EndCut(++cuts % 2 == 0);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  for (auto& thread : threads) thread.join();
  // One step per clock and sum of all with s = 0: the mean of gradients of one.
  const double pushes = staleness == 0 ? steps : static_cast<double>(clients) * steps;
  for (const double value : model.values) EXPECT_EQ(value, 1 - 0.5 * pushes);
  EXPECT_EQ(engine->samples(), 10 * clients * steps);
  EXPECT_EQ(engine->counters().pushes.load(), clients * steps);
  EXPECT_GT(engine->counters().repeated_pushes.load(), 0);
  int64_t rows = 0;
  model.tables[1]->ForEachRow([&](const embedding::RowView<double>& row) {
    ++rows;
    TestModel<double> fresh;  // its first value, from which every push took the same
    embedding::Resolved resolved;
    const std::vector<embedding::KeyBlock> blocks = {{0, 1, 11}};
    const std::vector<Key> key = {row.key};
    const std::vector<int32_t> counts = {1};
    fresh.tables[1]->Resolve(key, counts, blocks, embedding::ResolveMode::kTrain, 1, nullptr, &resolved);
    std::vector<double> first(4);
    fresh.tables[1]->Gather(resolved, key, blocks, {0, 1}, first.data());
    for (int c = 0; c < 4; ++c) EXPECT_NEAR(row.weights[c], first[static_cast<size_t>(c)] - 0.5 * pushes, 1e-9);
    fresh.tables[1]->Release(resolved);
  });
  EXPECT_EQ(rows, 40);
}

TEST(EngineTest, EveryPushIsAppliedOnceUnderLoadWithoutABound) { PushUnderLoad(-1, 4, 40); }
TEST(EngineTest, EveryPushIsAppliedOnceUnderLoadWithABound) { PushUnderLoad(2, 4, 40); }
TEST(EngineTest, EveryPushIsAppliedOnceUnderLoadInRounds) { PushUnderLoad(0, 3, 40); }

// The server of an older checkpoint, and workers that all began after it: nobody will ever have the batches in between.
TEST(EngineTest, RoundsThatNobodyHasABatchOfArePassedBy) {
  TestModel<double> model;
  ServiceState state;
  state.step = 5;
  const auto engine = Engine::Make(model.MakeBackendOf(), model.layout, TestEngine(0, 1), std::move(state));
  EngineClient client(engine.get(), model, "worker-0", 77, 9);
  EXPECT_EQ(client.clock(), 9);
  ASSERT_TRUE(client.Step(SharedKeys(3), 1).ok());
  EXPECT_EQ(engine->step(), 10);
}

JoinArguments Returning(const EngineClient& client, const TestModel<double>& model, int64_t clock,
                        uint64_t first_sequence) {
  JoinArguments arguments{"worker-0", "here", true, LayoutText(model.layout), 1, 0, client.id(), clock};
  arguments.first_sequence = first_sequence;
  return arguments;
}

// What a client cannot send again is lost: nobody waits for it, and it is counted.
TEST(EngineTest, PushesThatAClientHasNotKeptAreLost) {
  TestModel<double> model;
  EngineOptions options = TestEngine(0, 1);
  options.config.max_lost_pushes = 4;
  const auto engine = Engine::Make(model.MakeBackendOf(), model.layout, options);
  EngineClient client(engine.get(), model, "worker-0");
  ASSERT_TRUE(client.Step(SharedKeys(3), 1).ok());
  EXPECT_EQ(engine->Join(Returning(client, model, 1, 2))->lost, 0);
  EXPECT_EQ(engine->Join(Returning(client, model, 5, 6))->lost, 4);
  EXPECT_EQ(engine->counters().lost_pushes.load(), 4);
  EXPECT_EQ(engine->step(), 5);
  EXPECT_FALSE(engine->LostTooMuch());
  EXPECT_TRUE(engine->MayCut().ok());
  // A checkpoint settles what was lost before it.
  (void)engine->BeginCut(1);
  EXPECT_TRUE(engine
                  ->AtRest(1,
                           [&](const ServiceState& state) {
                             EXPECT_EQ(state.lost_pushes, 4);
                             EXPECT_EQ(state.cut, 1u);
                             return Status::Ok();
                           })
                  .ok());
  engine->EndCut(true);
  EXPECT_EQ(engine->Join(Returning(client, model, 8, 9))->lost, 3);
  EXPECT_FALSE(engine->LostTooMuch());
  EXPECT_EQ(engine->Join(Returning(client, model, 10, 11))->lost, 2);
  EXPECT_TRUE(engine->LostTooMuch());
  EXPECT_EQ(engine->MayCut().code(), StatusCode::kUnavailable);
}

TEST(EngineTest, AWorkerThatIsStartedAgainTakesItsOwnPlace) {
  TestModel<double> model;
  const auto engine = Engine::Make(model.MakeBackendOf(), model.layout, TestEngine(0, 1));
  EngineClient former(engine.get(), model, "worker-0");
  ASSERT_TRUE(former.Step(SharedKeys(3), 1).ok());
  EngineClient client(engine.get(), model, "worker-0");
  ASSERT_TRUE(client.Step(SharedKeys(3), 1).ok());  // nobody waits for the former one
  EXPECT_EQ(former.Step(SharedKeys(3), 1).code(), StatusCode::kUnavailable);
  EXPECT_EQ(engine->TakeLost(false), (AppliedBy{{former.id(), 1}}));
  EXPECT_TRUE(engine->TakeLost(false).empty());
  EXPECT_TRUE(engine->WasDropped(former.id()));
  EXPECT_EQ(engine->Drop(former.id()), std::optional<uint64_t>(1));
  // Two processes with one name do not drive each other out for ever.
  EXPECT_EQ(engine->Join(Returning(former, model, 1, 2)).status().code(), StatusCode::kInvalidArgument);
}

TEST(EngineTest, ClientsOfAnotherGenerationAreToldSo) {
  TestModel<double> model;
  ServiceState state;
  state.generation = 2;
  const auto engine = Engine::Make(model.MakeBackendOf(), model.layout, TestEngine(), std::move(state));
  EngineClient client(engine.get(), model, "worker-0");
  JoinArguments arguments = Returning(client, model, 0, 1);
  arguments.generation = 1;
  EXPECT_EQ(engine->Join(arguments).status().code(), StatusCode::kCancelled);
  arguments.generation = 3;  // this server is behind
  EXPECT_EQ(engine->Join(arguments).status().code(), StatusCode::kUnavailable);
  arguments.generation = 2;
  EXPECT_TRUE(engine->Join(arguments).ok());
}

// The first server's checkpoint is older than what the worker told it of its input; the worker does not come back.
TEST(EngineTest, InputThatWasTrainedOnAndForgottenAsksForAWayBack) {
  TestModel<double> model;
  ServiceState state;
  ASSERT_TRUE(state.leases.Offer({2, 1, 9}).ok());
  state.clients = {{5, "worker-0", true, 1, 1, 0}, {6, "worker-1", true, 1, 1, 0}};
  state.leases.RecoverLent(0, 5);
  state.leases.RecoverFinished(0, 40);
  const auto engine = Engine::Make(model.MakeBackendOf(), model.layout, TestEngine(), std::move(state));
  EXPECT_EQ(engine->missing_samples(), 40);
  EXPECT_EQ(engine->MayCut().code(), StatusCode::kUnavailable);
  EXPECT_FALSE(engine->LostTooMuch());  // it may yet come
  engine->Drop(6);
  EXPECT_FALSE(engine->LostTooMuch());
  engine->Drop(5);
  EXPECT_TRUE(engine->LostTooMuch());
}

TEST(EngineTest, AServerThatWasStoppedItselfDropsNobody) {
  TestModel<double> model;
  EngineOptions options = TestEngine(-1);
  options.config.worker_timeout_s = 1;  // between two of the lines below less than that goes by, on a busy machine too
  const auto engine = Engine::Make(model.MakeBackendOf(), model.layout, options);
  EngineClient client(engine.get(), model, "worker-0");
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));
  EXPECT_TRUE(engine->TakeLost(true).empty());
  EXPECT_TRUE(engine->TakeLost(false).empty());  // heard of as of the check before
  ASSERT_TRUE(client.Step(SharedKeys(3), 1).ok());
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));
  const AppliedBy lost = engine->TakeLost(false);
  ASSERT_EQ(lost.size(), 1u);
  EXPECT_EQ(lost[0], std::make_pair(client.id(), uint64_t{1}));
  EXPECT_EQ(client.Step(SharedKeys(3), 1).code(), StatusCode::kUnavailable);
}

// While a cut is taken, pushes after it wait and pulls do not: a client that goes on meets the limit of open batches
// here, and waits as its pushes do.
TEST(EngineTest, PullsWaitForPushesThatACutHoldsBack) {
  TestModel<double> model;
  EngineOptions options = TestEngine();
  options.config.max_open_batches = 2;
  const auto engine = Engine::Make(model.MakeBackendOf(), model.layout, options);
  EngineClient client(engine.get(), model, "worker");
  const KeyList keys = SharedKeys(3);
  std::vector<Status> answers;
  const Answer note = [&](const ReplyMessage& reply) { answers.push_back(StatusOf(reply)); };
  const auto pull = [&](int64_t clock) { client.Pull(clock, keys, note); };
  const auto push = [&](int64_t clock) { client.Push(clock, keys, note); };
  engine->BeginCut(1);
  for (int64_t clock = 1; clock <= 4; ++clock) {
    pull(clock);
    push(clock);
  }
  EXPECT_EQ(answers.size(), 4u);  // the pulls: twice max_open_batches
  pull(5);
  pull(6);
  EXPECT_EQ(answers.size(), 4u);
  engine->EndCut(false);
  EXPECT_EQ(answers.size(), 10u);
  push(5);
  push(6);
  ASSERT_EQ(answers.size(), 12u);
  for (const Status& answer : answers) EXPECT_TRUE(answer.ok()) << answer.message();
  for (const double value : model.values) EXPECT_EQ(value, 1 - 0.5 * 6);
  // Without pushes nothing would ever make room.
  for (int64_t clock = 7; clock <= 11; ++clock) pull(clock);
  EXPECT_EQ(answers.back().code(), StatusCode::kResourceExhausted);
}

// As after a connection that was lost while the server worked on the pull: the same one comes again, on another thread.
TEST(EngineTest, APullThatComesAgainWhileTheFirstIsAtWorkIsAnsweredToo) {
  TestModel<double> model;
  EngineOptions options = TestEngine();
  options.config.max_open_batches = 1000;
  const auto engine = Engine::Make(model.MakeBackendOf(), model.layout, options);
  EngineClient client(engine.get(), model, "worker");
  const KeyList keys = SharedKeys(300);
  for (int64_t clock = 1; clock <= 200; ++clock) {
    ReplyMessage replies[2];
    std::shared_ptr<Engine::Work> works[2];
    std::atomic<int> answered{0};
    for (int i = 0; i < 2; ++i)
      works[i] = client.PreparePull(clock, keys, [&, i](ReplyMessage reply) {
        replies[i] = std::move(reply);
        ++answered;
      });
    std::thread first([&] { engine->Run(works[0]); });
    engine->Run(works[1]);
    first.join();
    ASSERT_EQ(answered, 2);
    for (const ReplyMessage& reply : replies) ASSERT_EQ(reply.header.status, 0u) << "clock " << clock << reply.text;
    const auto rows = replies[0].rows.span(), again = replies[1].rows.span();
    ASSERT_TRUE(std::equal(rows.begin(), rows.end(), again.begin(), again.end()));
  }
}

// What a client waits for in a round it hears of when it is dropped, too.
TEST(EngineTest, APullThatWaitsInARoundIsAnsweredWhenItsClientIsDropped) {
  TestModel<double> model;
  const auto engine = Engine::Make(model.MakeBackendOf(), model.layout, TestEngine(0, 2));
  EngineClient lost(engine.get(), model, "worker-0"), other(engine.get(), model, "worker-1");
  std::vector<Status> answers;
  lost.Pull(1, SharedKeys(3), [&](const ReplyMessage& reply) { answers.push_back(StatusOf(reply)); });
  ASSERT_TRUE(answers.empty());
  EXPECT_EQ(engine->Drop(lost.id()), std::optional<uint64_t>(0));
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_EQ(answers[0].code(), StatusCode::kUnavailable);
  EXPECT_TRUE(other.Step(SharedKeys(3), 1).ok());
}

TEST(EngineTest, APushInAStepThatAShutdownFindsUnderWayIsAnsweredOnce) {
  TestModel<double> model;
  std::promise<void> begun, go_on;
  model.before_step = [&](int64_t) {
    begun.set_value();
    go_on.get_future().wait();
  };
  const auto engine = Engine::Make(model.MakeBackendOf(), model.layout, TestEngine(0, 1));
  EngineClient client(engine.get(), model, "worker-0");
  std::atomic<int> pulled{0}, pushed{0};
  client.Pull(1, SharedKeys(3), [&](const ReplyMessage&) { ++pulled; });
  std::thread pusher([&] { client.Push(1, SharedKeys(3), [&](const ReplyMessage&) { ++pushed; }); });
  begun.get_future().wait();
  engine->Shutdown();
  go_on.set_value();
  pusher.join();
  EXPECT_EQ(pulled, 1);
  EXPECT_EQ(pushed, 1);
}

// Whoever finds expiry due in a round must not open a gate that is closed by now for a cut.
TEST(EngineTest, NothingMovesAtRestWhereRowsExpireInRounds) {
  embedding::TableConfig config;
  config.expiry.max_age_steps = 1000;
  TestModel<double> model("sgd", config);
  const auto engine = Engine::Make(model.MakeBackendOf(), model.layout, TestEngine(0, 1));
  std::atomic<bool> done{false};
  std::thread worker([&] {
    EngineClient client(engine.get(), model, "worker-0");
    const KeyList keys = SharedKeys(2000);
    while (!done) EXPECT_TRUE(client.Step(keys, 1).ok());
  });
  for (int i = 0; i < 40; ++i) {
    std::this_thread::sleep_for(std::chrono::microseconds(2000 + 100 * i));  // anywhere within a step
    const Status status = engine->AtRest(0, [&](const ServiceState&) {
      const double before = model.values[0];
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      EXPECT_EQ(model.values[0], before);
      return Status::Ok();
    });
    EXPECT_TRUE(status.ok());
  }
  done = true;
  worker.join();
}

// A cut that was given up, because whoever asked for it was not heard of for too long, is not written afterwards:
// pushes beyond it have been applied.
TEST(EngineTest, ACutThatWasGivenUpIsNotWritten) {
  TestModel<double> model;
  const auto engine = Engine::Make(model.MakeBackendOf(), model.layout, TestEngine());
  EngineClient client(engine.get(), model, "worker-0");
  int written = 0;
  const auto write = [&](const ServiceState&) {
    ++written;
    return Status::Ok();
  };
  engine->BeginCut(7);
  engine->EndStaleCut(60);  // not so old
  EXPECT_TRUE(engine->AtRest(7, write).ok());
  EXPECT_EQ(engine->AtRest(7, write).code(), StatusCode::kUnavailable);  // it is over
  engine->BeginCut(8);
  engine->EndStaleCut(0);
  EXPECT_TRUE(client.Step(SharedKeys(3), 1).ok());
  EXPECT_EQ(engine->AtRest(8, write).code(), StatusCode::kUnavailable);
  engine->BeginCut(9);
  EXPECT_EQ(engine->AtRest(8, write).code(), StatusCode::kUnavailable);  // another one's
  EXPECT_TRUE(engine->AtRest(9, write).ok());
  EXPECT_EQ(written, 2);
}

TEST(EngineTest, AClockBeyondAllStepsIsRefused) {
  TestModel<double> model;
  const auto engine = Engine::Make(model.MakeBackendOf(), model.layout, TestEngine(0, 1));
  EngineClient client(engine.get(), model, "worker-0");
  for (const int64_t clock : {int64_t{-1}, kMaxClock + 1, INT64_MAX})
    EXPECT_EQ(engine->Join(Returning(client, model, clock, 1)).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(engine->Join(Returning(client, model, 1, UINT64_MAX)).status().code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(client.Step(SharedKeys(3), 1).ok());
}

// A push whose rows no memory was left for: none of them stays pinned, which would end all expiry.
TEST(EngineTest, AStepThatFailsLetsGoOfItsRows) {
  embedding::TableConfig config;
  config.expiry.max_age_steps = 1;
  TestModel<double> model("sgd", config);
  const auto engine = Engine::Make(model.MakeBackendOf(), model.layout, TestEngine());
  EngineClient client(engine.get(), model, "worker-0");
  model.before_rows = [](int64_t) { throw StatusError(ResourceExhausted("no memory")); };
  EXPECT_EQ(client.Step(SharedKeys(3), 1).code(), StatusCode::kResourceExhausted);
  EXPECT_GT(model.tables[1]->stats().rows, 0);
  for (int64_t step = 2; step < 20 + embedding::kExpiryPeriod; ++step) engine->backend().Expire(step);
  EXPECT_EQ(model.tables[1]->stats().rows, 0);
}

// As many sightings as a message can tell of, from two workers.
TEST(BackendTest, CountsOfSeveralWorkersAreAddedWithoutOverflow) {
  TestModel<double> model;
  const auto backend = model.MakeBackendOf();
  KeyList keys = SharedKeys(1);
  keys.counts.assign(keys.keys.size(), INT32_MAX);
  ThreadPool pool(1);
  const auto batch = backend->ResolveUnion({&keys, &keys}, 1, &pool);
  EXPECT_EQ(batch->keys.counts, keys.counts);
  uint32_t count = 0;
  EXPECT_TRUE(
      model.tables[1]->FindRow(keys.keys[0], [&](const embedding::RowView<double>& row) { count = row.count; }));
  EXPECT_GT(count, 1u << 20);  // rows count up to a limit of their own
  backend->Release(*batch);
}

}  // namespace
}  // namespace sluice::service
