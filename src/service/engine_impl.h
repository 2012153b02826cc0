#pragma once

// The engine's state, for engine*.cc alone.

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/thread_pool.h"
#include "service/engine.h"

namespace sluice::service {

// A client as the server knows it. Guarded by the engine's lock.
struct ServiceClient {
  struct OpenBatch {
    std::shared_ptr<Backend::Batch> rows;        // null while it is being resolved
    int64_t applied_pushes = 0, own_pushes = 0;  // when it was pulled
  };
  uint64_t id = 0, session = 0;
  std::string name, address;
  bool worker = true;
  bool gone = false;
  int64_t start = 0, clock = 0;
  uint64_t applied = 0;  // all pushes up to this one
  uint64_t last_applied() const { return ahead.empty() ? applied : *ahead.rbegin(); }
  // With those that will be applied, whatever becomes of the client.
  uint64_t last_taken() const { return in_hand.empty() ? last_applied() : std::max(last_applied(), *in_hand.rbegin()); }
  std::set<uint64_t> ahead;    // and these
  std::set<uint64_t> in_hand;  // taken, not yet applied
  uint64_t durable = 0, cut = 0;
  std::atomic<uint64_t> durable_hint{0};
  int64_t own_pushes = 0;
  int64_t handles = 0;
  std::map<int64_t, OpenBatch> open;  // by clock
  int64_t pushes_here = 0;            // neither applied nor refused yet
  Clock::time_point heard;
};

struct Engine::Session {
  std::shared_ptr<ServiceClient> client;
  uint64_t number = 0;
  KeyDictionary dictionary;  // of whoever calls Prepare
};

struct Engine::Work {
  std::shared_ptr<Session> session;
  Message message;
  Request request;  // within the message
  Bytes unpacked;   // dense gradients that came packed
  KeyList pull_keys, push_keys;
  bool has_push_keys = false;
  int64_t handles = 0;  // of the session, once this request's keys were read
  Answer answer;
  ReplyMessage reply;
  Clock::time_point begin;
  // Of a request with a push: kHere from when it is first run (the client's pushes_here counts it) until it is applied
  // or refused.
  enum class PushState : uint8_t { kUnseen, kHere, kSettled };
  PushState push = PushState::kUnseen;
  int64_t staleness = 0;
};

class EngineImpl final : public Engine {
 public:
  EngineImpl(std::unique_ptr<Backend> backend, ModelLayout layout, EngineOptions options, ServiceState state);

  Result<JoinOutcome> Join(const JoinArguments& arguments) override;
  std::vector<embedding::RowInit> row_inits() const override { return backend_->row_inits(); }
  bool Heartbeat(uint64_t client, uint64_t* durable) override;
  Status Leave(uint64_t client) override;
  AppliedBy TakeLost(bool away) override;
  std::optional<uint64_t> Drop(uint64_t client) override;
  bool WasDropped(uint64_t client) const override;
  Result<std::shared_ptr<Session>> Open(uint64_t client, uint64_t session) override;
  std::shared_ptr<Work> Prepare(const std::shared_ptr<Session>& session, Message message, Answer answer) override;
  void Run(const std::shared_ptr<Work>& work) override;
  void Shutdown() override;
  Status OfferInput(uint64_t client, const InputPlan& plan) override;
  Result<LeaseReply> AcquireLease(uint64_t client, std::span<const int64_t> held) override;
  Status FinishLease(uint64_t client, int64_t lease) override;
  AppliedBy BeginCut(uint64_t cut) override;
  AppliedBy ReachCut(const AppliedBy& upto, double timeout_s) override;
  Status AtRest(uint64_t cut, const std::function<Status(const ServiceState&)>& body) override;
  void EndCut(bool committed) override;
  void EndStaleCut(double age_s) override;
  bool LostTooMuch() const override;
  Status MayCut() const override;
  int64_t step() const override;
  int64_t samples() const override;
  int64_t missing_samples() const override;
  std::vector<ClientView> Clients() const override;
  Counters& counters() override { return counters_; }
  Backend& backend() override { return *backend_; }

 private:
  using Client = ServiceClient;
  using WorkPtr = std::shared_ptr<Work>;
  using Lock = std::unique_lock<std::mutex>;

  static constexpr uint64_t kMaxAhead = 4096;  // pushes of one client that may overtake a missing one
  static constexpr int64_t kExpiryBatch = 16;  // steps between two searches for old rows, without rounds

  // What became possible under the lock, to be done without it.
  struct Ready {
    std::vector<WorkPtr> again, done;
    std::vector<std::pair<WorkPtr, Status>> failed;
  };

  // A worker's share of a round.
  struct Part {
    std::shared_ptr<Client> client;
    bool has_keys = false;
    KeyList keys;
    int segment = -1, list = -1;  // where its rows were resolved
    WorkPtr pull, push;           // that wait for an answer
  };
  // A push on its way from a part into the step.
  struct PartPush {
    std::shared_ptr<Part> part;
    WorkPtr work;
  };
  // s = 0: the batches of one clock. Rows of all workers are resolved together when every worker has named its keys;
  // a worker that came in between has a segment of its own.
  struct Round {
    std::map<uint64_t, std::shared_ptr<Part>> parts;  // by client
    std::vector<std::shared_ptr<Backend::Batch>> segments;
  };

  uint64_t NewId();
  std::string DescribeDifference(const std::string& theirs) const;
  Status Unknown(uint64_t client) const;
  void Remove(Lock* lock, std::shared_ptr<Client> client, bool lost, Ready* ready);
  Status CheckReturning(const JoinArguments& arguments) const;
  void TakePlace(Lock* lock, const std::string& name, Ready* ready);
  int64_t Lose(Client* client, uint64_t upto);
  int64_t Losses() const;
  ServiceState TakeState();

  void Fail(const WorkPtr& work, Status status, Ready* ready) {
    SettlePush(work.get());
    ready->failed.emplace_back(work, std::move(status));
  }
  void SettlePush(Work* work);
  void AnswerFailure(Work* work, const Status& status);
  void AnswerDone(Work* work);
  void Dispatch(Ready* ready);

  Status CheckAndRead(Work* work);
  Status UnpackDenseGradients(Work* work) const;
  Status CheckRowGradients(const Work& work, const KeyList& keys) const;
  void RunLocked(Lock* lock, const WorkPtr& work, Ready* ready);
  bool Push(Lock* lock, const WorkPtr& work, Ready* ready);
  bool ApplyOwnStep(Lock* lock, const WorkPtr& work, Ready* ready);
  void ApplyPush(Work* work, const std::shared_ptr<Backend::Batch>& batch, int64_t step);
  bool TakeSamples(const Client& client, const RequestHeader& header, const WorkPtr& work, Ready* ready);
  void MarkApplied(Client* client, uint64_t sequence, int64_t clock);

  int64_t MinClock() const;
  bool ClockIsOpen(int64_t clock) const;
  void Advance(Lock* lock, Ready* ready);
  void Expire(Lock* lock, int64_t to);
  void EnterGate() { ++running_; }
  void LeaveGate();

  // engine_pulls.cc
  void PullRows(Lock* lock, const WorkPtr& work, Ready* ready);
  bool IsFull(const Client& client) const;
  bool PullWaits(const Client& client, int64_t clock) const;
  Status CheckPull(const Client& client, int64_t clock);
  Status CheckMemory();
  static Backend::RowForm RowFormOf(const Request& request) {
    return {request.has(kRowsBf16), request.header.initial_rows};
  }
  void FillReply(Work* work, Bytes rows);

  // engine_round.cc
  void JoinRound(const WorkPtr& work, Ready* ready);
  void PushToRound(const WorkPtr& work, Ready* ready);
  void AdvanceRounds(Lock* lock, Ready* ready);
  bool StepRound(Lock* lock, Ready* ready);
  void PlaceParts(Lock* lock, Round* round, int64_t clock, std::vector<std::shared_ptr<Part>> parts, Ready* ready);
  void AnswerPulls(Lock* lock, Round* round, const std::vector<std::shared_ptr<Part>>& parts, Ready* ready);
  void ApplyRound(Lock* lock, Round* round, int64_t clock, Ready* ready);
  Status ApplyPushes(const Round& round, const std::vector<PartPush>& pushes, int64_t clock);
  static bool Before(const Part& a, const Part& b);
  void FailPart(Part* part, const Status& status, Ready* ready);
  void LeaveRounds(uint64_t client, Ready* ready);
  void FailRounds(Ready* ready);
  int64_t RoundsOf(uint64_t client) const;
  bool IsAwaited(uint64_t client) const;

  const std::unique_ptr<Backend> backend_;
  const ModelLayout layout_;
  const std::string layout_text_;
  EngineOptions options_;
  ThreadPool pool_;  // of rounds
  Counters counters_;
  std::atomic<int64_t> num_workers_{1};

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::mt19937_64 ids_{std::random_device{}()};
  std::map<uint64_t, std::shared_ptr<Client>> clients_;
  std::map<uint64_t, uint64_t> dropped_;       // clients taken for lost, with their last applied pushes where known
  AppliedBy lost_;                             // of these, what TakeLost has to tell
  int64_t lost_in_cut_ = 0, lost_before_ = 0;  // losses at the cut, and at the last one that was committed
  bool lost_unknown_ = false;                  // a lost client's pushes are lost, and nobody knows how many
  LeaseBook leases_;
  // Workers that come before begin with the same clock, whoever was first to ask for a batch.
  bool started_ = false;  // with a bound: all expected workers have been there
  bool shutdown_ = false;
  int64_t step_ = 0, samples_ = 0, max_clock_ = 0;
  int64_t applied_pushes_ = 0;
  int64_t expired_step_ = 0;
  int64_t memory_checks_ = 0;
  bool memory_full_ = false;

  // Requests inside the gate work on the tables without the lock; a closed gate lets none in.
  int64_t running_ = 0;
  bool closed_ = false;
  bool cutting_ = false;
  uint64_t cut_ = 0;
  Clock::time_point cut_begin_;
  std::deque<WorkPtr> waiting_for_gate_, waiting_for_push_, waiting_for_pull_, waiting_for_clock_, held_;

  std::map<int64_t, std::shared_ptr<Round>> rounds_;  // by clock
  int64_t round_clock_ = 0;                           // the last one stepped
  bool round_busy_ = false;                           // a thread works on a round
};

// What `body` throws, as a status.
template <class Body>
Status Guarded(const Body& body) {
  try {
    body();
    return Status::Ok();
  } catch (const StatusError& error) {
    return error.status();
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("the server is out of memory");
  }
}

}  // namespace sluice::service
