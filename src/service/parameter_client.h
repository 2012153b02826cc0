#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "embedding/table.h"
#include "embedding/virtual_ids.h"
#include "service/config.h"

namespace sluice::service {

// How numbers travel. kNative: float or double, as the model computes; kBf16: rounded to the upper half of a float;
// kPacked: floats of dense spans, without loss (service/packing.h).
enum class Wire : uint8_t { kNative = 0, kBf16 = 1, kPacked = 2 };

// What servers and clients must agree on. Tables in the order of the model; vocabularies as VirtualIdBuilder numbers
// them.
struct TableLayout {
  std::string name;
  int64_t dim = 0;
  std::vector<int> vocabularies;  // whose keys have rows in it, ascending
};
struct ModelLayout {
  std::vector<uint64_t> salts;  // [vocabularies]
  std::vector<TableLayout> tables;
  int64_t params = 0;  // scalars of the dense net's flat spans
  int64_t buffers = 0;
  int scalar_bytes = 4;
  std::string description;  // anything else that must be equal: train::DescribeModel
};

struct ClientOptions {
  std::vector<std::string> servers;  // "host:port", in the order of shards
  std::string name;                  // for people: shown by inspect
  bool worker = true;                // false: looks up only, and no clock waits for it
  Wire rows = Wire::kNative, row_gradients = Wire::kNative;
  Wire dense = Wire::kNative, dense_gradients = Wire::kNative;
  ServiceConfig config;
};

// What servers tell a client that joins.
struct JoinInfo {
  uint64_t client_id = 0;
  int64_t staleness = -1;  // bound s; -1: none
  int64_t last_clock = 0;  // this worker's first batch is last_clock + 1
  int64_t samples = 0;     // trained on so far by all workers, from the start of the run
};

// A pull: rows of unique keys, and dense spans.
template <class T>
struct PullRequest {
  const embedding::VirtualIds* ids = nullptr;  // null: dense spans only. Alive until Wait returns
  embedding::ResolveMode mode = embedding::ResolveMode::kTrain;
  int64_t clock = 0;     // kTrain: number of this worker's batch, from last_clock + 1 on without gaps
  std::vector<T*> rows;  // [tables] [U, dim]: rows of the vocabularies that the table serves are filled
  T* params = nullptr;   // [params], or null: not wanted
  T* buffers = nullptr;  // [buffers]
};

// Samples of a batch that are of one lease; -1: none.
struct LeaseShare {
  int64_t lease = -1;
  int64_t samples = 0;
};
// A batch holds the end of one lease and the beginning of the next at most.
inline constexpr int kMaxLeaseShares = 2;
using LeaseShares = std::array<LeaseShare, kMaxLeaseShares>;

// A push: one optimizer step from the gradients of one batch.
template <class T>
struct PushRequest {
  const embedding::VirtualIds* ids = nullptr;  // those of the pull with the same clock
  int64_t clock = 0;
  std::vector<const T*> grads;     // [tables] [U, dim], summed by unique key
  const T* dense_grads = nullptr;  // [params], of the batch's mean loss
  const T* buffers = nullptr;      // [buffers]: running statistics after the batch
  double weight = 0;               // sum of sample weights; what sums over workers are weighted by (s = 0)
  int64_t samples = 0;
  LeaseShares leases;  // that the samples are of and advance, in their order; sums to `samples` where there are any
};

// Outcome of a pull or push under way.
// Threads      Wait from one thread. Blocks at most as long as servers may be away (retry_s).
class Pending {
 public:
  class State {
   public:
    virtual ~State() = default;
    virtual Status Wait() = 0;
    virtual bool ready() const = 0;
  };
  Pending() = default;
  explicit Pending(std::shared_ptr<State> state) : state_(std::move(state)) {}
  // REQUIRES: came from a client.
  Status Wait() { return state_->Wait(); }
  bool ready() const { return state_->ready(); }

 private:
  std::shared_ptr<State> state_;
};

// A stretch of the input lent to one worker. What range `range` of epoch `epoch` means is the workers' own agreement;
// its first `done` samples were trained on by a worker that is lost.
struct Lease {
  int64_t id = -1;
  int64_t epoch = 0;
  int64_t range = 0;
  int64_t done = 0;
};
enum class LeaseState {
  kGranted,
  kWait,      // all ranges are lent; one may come back: ask again
  kFinished,  // every range of every epoch is done
  kAwaited,   // as kWait, and others hold a range and wait for this worker's next batch (s = 0)
};
inline constexpr int kMaxHeldLeases = 64;
struct LeaseReply {
  LeaseState state = LeaseState::kFinished;
  Lease lease;
};
// The input as workers see it; the first to offer it settles it, others must offer the same.
struct InputPlan {
  int64_t ranges = 0;  // of one epoch
  int64_t epochs = 1;
  uint64_t fingerprint = 0;  // of files and settings
};

struct ClientStats {
  int64_t pulls = 0, pushes = 0;
  int64_t bytes_sent = 0, bytes_received = 0;    // of messages, without the transport's framing
  std::map<std::string, int64_t> bytes_by_kind;  // keys, rows, row gradients, dense, dense gradients, control
  int64_t reconnects = 0;
  int64_t replayed_pushes = 0;
  int64_t lost_pushes = 0;  // applied by a server that forgot them, and no longer here to send again
  int64_t staleness_sum = 0, staleness_max = 0;   // pushes of others between a pull and its push, summed over pushes
  double wait_s = 0;                              // inside Wait
  double latency_p50_ms = 0, latency_p99_ms = 0;  // of pulls
};

// A worker's (or evaluator's) end of the parameter service: S servers that each hold a consecutive part of the virtual
// shards of every table and of the dense spans. docs/algorithms/parameter-service.md.
// Shapes       as the requests say; T is float, or double for models in double.
// Memory       request buffers belong to the caller until Wait returns, pushed ones only until Push returns.
// Semantics    Clocks: a worker's batches are numbered. With a bound s >= 0 a pull of clock c is answered when every
// live
//              worker has pushed all batches up to c - 1 - s. With s = 0 servers also wait until every worker's
//              gradients of a clock are there, sum them weighted by sample weight, and step once. Without a bound each
//              push is a step of its own. Every batch that is pulled in kTrain must be pushed, in the order of clocks.
//              At most once: servers count a client's pushes, so that one that is sent again has no effect.
//              A server that is away: requests wait and are sent again; pushes that the restarted server's checkpoint
//              does not hold are sent again while they are kept (replay_bytes), else counted in lost_pushes and logged.
// Threads      one thread calls; another may call the lease functions and stats. Rows arrive on threads of the client.
// Errors       kUnavailable: a server was away for retry_s; kInvalidArgument: another model or token, a clock out of
// turn;
//              kResourceExhausted: a limit of the server.
// Cost         per key 4 bytes up once a server knows it, and its count in one byte; rows and gradients in the wire's
// format;
//              no key travels with a push whose pull the server still holds.
template <class T>
class ParameterClient {
 public:
  // Connects to all servers and joins. Waits up to retry_s for servers that are not up yet.
  static Result<std::unique_ptr<ParameterClient>> Connect(const ClientOptions& options, const ModelLayout& layout);
  virtual ~ParameterClient() = default;

  virtual const JoinInfo& info() const = 0;

  // Sends the keys and returns. Blocks only while max_open_batches are pulled and not pushed (that is an error when no
  // push is under way: kResourceExhausted).
  virtual Pending Pull(const PullRequest<T>& request) = 0;
  // Sends the gradients and returns; Wait tells that every server has applied (or, with s = 0, taken) them. An outcome
  // that nobody waits for comes back from Flush.
  virtual Pending Push(const PushRequest<T>& request) = 0;
  // Both in one message to each server: the pull is answered after the push was applied.
  virtual Pending PushPull(const PushRequest<T>& push, const PullRequest<T>& pull) = 0;
  // Waits for every push sent so far.
  virtual Status Flush() = 0;

  // The coordinator's part, at the first server. `held`: leases that were granted and are not finished yet, at most
  // kMaxHeldLeases; another one that the coordinator holds for this client is granted again.
  virtual Status OfferInput(const InputPlan& plan) = 0;
  virtual Result<LeaseReply> AcquireLease(std::span<const int64_t> held) = 0;
  // Every sample of the range was pushed. Flushes first.
  virtual Status FinishLease(const Lease& lease) = 0;

  // Asks the servers for a checkpoint: one cut over all servers. Its path.
  virtual Result<std::string> Checkpoint() = 0;
  // Waits until a checkpoint that somebody asked for holds every push sent so far: from then on no restart of a server
  // needs this client. kUnavailable: none did in time.
  virtual Status AwaitCheckpoint(double timeout_s) = 0;
  // This worker is done: nobody waits for its clock any more. Flushes first.
  virtual Status Leave() = 0;

  // Calls fail because the servers do not know this client any more: they went back to a checkpoint, or took it for
  // lost. One that connects anew is welcome, and begins where the input stands now.
  virtual bool outlived() const = 0;

  virtual ClientStats stats() const = 0;
};

}  // namespace sluice::service
