#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "service/backend.h"
#include "service/config.h"
#include "service/leases.h"
#include "service/statistics.h"
#include "service/wire.h"

namespace sluice::service {

class Journal;

struct EngineOptions {
  int server = 0, servers = 1;
  int64_t staleness = -1;  // bound s; -1: none
  int64_t workers = 1;     // with a bound: those to wait for before the first batch
  ServiceConfig config;
  int threads = 1;  // of steps from the gradients of several workers
  // Runs a request that waited, on a thread of the caller's choice; null: on the thread that made it ready.
  std::function<void(std::function<void()>)> executor;
  Journal* journal = nullptr;  // outlives the engine; null: a server that is killed forgets what no checkpoint holds
};

// What a checkpoint holds of the service beside the model: one cut over all servers.
struct ServiceState {
  struct Client {
    uint64_t id = 0;
    std::string name;
    bool worker = true;
    uint64_t applied = 0;  // pushes in the cut: all up to this one
    int64_t clock = 0;     // of the last of them
    int64_t start = 0;     // the worker's clocks begin after this one
  };
  int64_t step = 0;
  int64_t samples = 0;
  std::vector<Client> clients;
  std::vector<uint64_t> dropped;  // taken for lost
  int64_t lost_pushes = 0;        // that nobody will send again
  int64_t generation = 0;         // how often the servers went back to a checkpoint, all together
  uint64_t cut = 0;               // number of the cut
  LeaseBook leases;

  // What the journal adds, and no checkpoint holds: pushes lost since the cut (of lost_pushes), and clients taken for
  // lost since, with their last applied pushes.
  int64_t lost_since = 0;
  std::vector<std::pair<uint64_t, uint64_t>> dropped_since;

  // Another generation begins with this state: nobody of the one before comes back.
  void BeginGeneration(int64_t number);

  std::string ToJson() const;
  static Result<ServiceState> FromJson(const std::string& text);
};

using AppliedBy = std::vector<std::pair<uint64_t, uint64_t>>;  // (client, number of the push)

struct JoinArguments {
  std::string name, address;
  bool worker = true;
  std::string layout;
  int servers = 1, server = 0;  // as the client sees them
  uint64_t client_id = 0;       // 0: new, at the first server
  int64_t clock = 0;            // with client_id: no batch up to this clock will be pushed (again)
  bool begins = false;          // it has pushed nothing yet: its clocks begin where this server is, if that is later
  int64_t generation = 0;       // with client_id: of the servers when it joined the first one
  uint64_t first_sequence = 0;  // of the pushes that it can still send; those before it that are missing are lost
};
struct JoinOutcome {
  uint64_t client_id = 0, session = 0;
  int64_t last_clock = 0;
  uint64_t applied = 0, durable = 0;
  int64_t samples = 0;
  int64_t lost = 0;  // pushes, by this join
  bool known = false;
};

// A message, and what keeps its bytes alive.
struct Message {
  Pieces bytes;
  std::shared_ptr<const void> owner;
};
struct ReplyMessage {
  ReplyHeader header;
  std::string text;  // of a failure
  Bytes rows, dense, buffers;
  int64_t size() const;
};
using Answer = std::function<void(ReplyMessage)>;

struct ClientView {
  uint64_t id = 0;
  std::string name, address;
  bool worker = true;
  int64_t clock = 0;
  uint64_t applied = 0;
  int64_t open_batches = 0, handles = 0;
  double silent_s = 0;
};

// One parameter server without its network: clients, clocks, at-most-once pushes, rounds, cuts.
// docs/algorithms/parameter-service.md says what each means.
// Threads      any, unless said otherwise. Answers come on any thread, never while a lock is held.
// Errors       through answers.
class Engine {
 public:
  struct Session;  // one stream of one client
  struct Work;     // a request on its way

  static std::unique_ptr<Engine> Make(std::unique_ptr<Backend> backend, ModelLayout layout, EngineOptions options,
                                      ServiceState state = {});
  virtual ~Engine() = default;

  // ---- clients

  virtual Result<JoinOutcome> Join(const JoinArguments& arguments) = 0;
  virtual std::vector<embedding::RowInit> row_inits() const = 0;  // [tables]: what rows are before they are trained
  // False: no such client (any more).
  virtual bool Heartbeat(uint64_t client, uint64_t* durable) = 0;
  virtual Status Leave(uint64_t client) = 0;
  // Clients that are lost since the last call, with their last applied pushes: those whose place another took, and
  // those that were silent for worker_timeout_s, which are dropped. The first server asks and tells the others. `away`:
  // this process itself did not run for a while, so that nobody was heard; nobody is dropped.
  virtual AppliedBy TakeLost(bool away) = 0;
  // Nobody waits for the client any more, and its pushes are refused. The number of its last applied push, also where
  // it was dropped before; nothing where the client is not known.
  virtual std::optional<uint64_t> Drop(uint64_t client) = 0;
  virtual bool WasDropped(uint64_t client) const = 0;

  // ---- requests

  virtual Result<std::shared_ptr<Session>> Open(uint64_t client, uint64_t session) = 0;
  // Reads a message; those of one session in the order in which they were sent, one at a time. Null where it is
  // malformed: the failure has been answered, and the session is broken.
  virtual std::shared_ptr<Work> Prepare(const std::shared_ptr<Session>& session, Message message, Answer answer) = 0;
  virtual void Run(const std::shared_ptr<Work>& work) = 0;
  // No request is accepted from now on, those that wait are answered with kUnavailable.
  virtual void Shutdown() = 0;

  // ---- leases, at the first server

  virtual Status OfferInput(uint64_t client, const InputPlan& plan) = 0;
  virtual Result<LeaseReply> AcquireLease(uint64_t client, std::span<const int64_t> held) = 0;
  virtual Status FinishLease(uint64_t client, int64_t lease) = 0;

  // ---- cuts: pushes are held back, those of the cut let in, and the tables put at rest
  // REQUIRES: one cut at a time, BeginCut, ReachCut, AtRest, EndCut.

  // `cut`: its number, which the state of the cut keeps.
  virtual AppliedBy BeginCut(uint64_t cut) = 0;
  // Waits until the pushes up to those of `upto` have been applied. Those that did not come are returned.
  virtual AppliedBy ReachCut(const AppliedBy& upto, double timeout_s) = 0;
  // Calls body(state of the cut) with nothing else under way; then the cut is over, and everything goes on.
  // kUnavailable, and no call, where the cut was given up since or another one has begun. `cut` 0: outside of cuts.
  virtual Status AtRest(uint64_t cut, const std::function<Status(const ServiceState&)>& body) = 0;
  // A cut that was committed makes its pushes durable.
  virtual void EndCut(bool committed) = 0;
  // Ends a cut that began longer ago and whose coordinator is gone, so that pushes are not held for ever.
  virtual void EndStaleCut(double age_s) = 0;

  // ---- what failures have cost

  int64_t generation() const { return generation_; }
  // More is lost since the last checkpoint than max_lost_pushes: the servers are to go back to it.
  virtual bool LostTooMuch() const = 0;
  // kUnavailable: a checkpoint would hold a loss that is not settled. The first server asks.
  virtual Status MayCut() const = 0;

  // ---- for people

  virtual int64_t step() const = 0;
  virtual int64_t samples() const = 0;
  // Samples of the input that were claimed as trained on and whose pushes this server has not applied: lost with it, or
  // about to be sent again.
  virtual int64_t missing_samples() const = 0;
  virtual std::vector<ClientView> Clients() const = 0;
  virtual Counters& counters() = 0;
  virtual Backend& backend() = 0;

 protected:
  explicit Engine(int64_t generation) : generation_(generation) {}

 private:
  const int64_t generation_;
};

// What servers and clients compare when a client joins.
std::string LayoutText(const ModelLayout& layout);

}  // namespace sluice::service
