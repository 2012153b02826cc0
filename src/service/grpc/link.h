#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "service/grpc/joining.h"
#include "service/grpc/kept_pushes.h"
#include "service/grpc/transport.h"
#include "service/statistics.h"

namespace sluice::service {

// One request to one server until it is answered.
struct LinkCall {
  uint32_t flags = 0;  // of the pull's part
  int64_t pull_clock = 0;
  uint64_t initial_rows = 0;                     // RequestHeader's, of the pull
  std::shared_ptr<const KeyList> pull_keys;      // null: no pull
  std::shared_ptr<KeptPush> push;                // null: no push
  bool needs_push_keys = false;                  // the server does not hold the batch
  std::function<Status(const Reply&)> on_reply;  // of a success; its failure is the call's
  std::function<void(const Status&)> on_end;     // once, last
  Clock::time_point begin = Clock::now();
};

// What a client counts, over all links.
struct LinkCounters {
  std::atomic<int64_t> sent{0}, received{0}, keys{0}, rows{0}, row_gradients{0}, dense{0}, dense_gradients{0};
  std::atomic<int64_t> reconnects{0}, replayed{0}, lost{0}, staleness_sum{0}, staleness_max{0};
  Latencies pulls;
};

// A client's connection to one server: one stream, requests under way, and what it takes to go on after the
// connection or the server was lost.
// Threads      Connect, then Begin, from one; from then on Send and the rest from any. Answers (on_reply, on_end) come
//              on the link's own thread, or from Send where the link is dead; they may call nothing that waits for it.
// Errors       a request's own in its on_end; kUnavailable for all of them once the server was away for retry_s, went
//              back to a checkpoint or does not take this client any more: the link is dead from then on.
class Link {
 public:
  Link(LinkOptions options, LinkCounters* counters);
  ~Link();

  // Joins; tries until `retry_s` is over. client_id 0: as a new client. kCancelled: the servers went back to a
  // checkpoint since `generation`.
  Status Connect(uint64_t client_id, int64_t clock, int64_t generation);
  const proto::JoinReply& joined() const { return joined_; }  // the first join's
  // Opens the stream, for clocks after this one.
  Status Begin(int64_t clock);

  // Whether the server would take the message; one that it refuses would end the connection.
  Status CheckSize(const LinkCall& call) const;
  // In the order of calls; a push's header needs no sequence number before.
  void Send(std::shared_ptr<LinkCall> call);
  // Of the server that holds what was pulled; another one after its restart.
  uint64_t incarnation() const;
  // Fails when a push ended badly that nobody waited for, else waits until all are answered.
  Status FlushPushes();
  Status Heartbeat();
  // Whether a checkpoint holds every push sent so far, as far as the server has told. Errors: the link is dead.
  Result<bool> AllDurable() const;
  // Nothing follows but to leave: a connection that ends is not made again.
  void Leaving();
  // The server does not take this client any more, and would take a new one.
  bool outlived() const;

  // One control call with a deadline, again and again while the server is away.
  Status Control(const ServerChannel::Call& call, double timeout_s = 0);

 private:
  enum Tag : intptr_t { kStarted = 1, kRead, kWritten, kFinished };
  struct Stream {
    grpc::ClientContext context;
    std::unique_ptr<grpc::GenericClientAsyncReaderWriter> rpc;
    grpc::ByteBuffer incoming;
    int under_way = 0;  // operations
    bool started = false, writing = false, finishing = false, answered = false;
    grpc::Status status;
  };

  JoinAs Self(bool begins) const;
  void OpenStream(uint64_t session);
  void Loop();
  bool Reconnect();
  void Handle(Tag tag, bool ok);
  void Received(grpc::ByteBuffer* buffer);
  void TrimKept();
  void Resend(const proto::JoinReply& reply);
  void Encode(uint64_t number, const LinkCall& call, std::vector<grpc::Slice>* slices);
  void Enqueue(uint64_t number);
  void StartWrite();
  void FailAll(const Status& status);
  void Alive() { alive_ns_.store(Clock::now().time_since_epoch().count(), std::memory_order_relaxed); }
  double SilentSeconds() const;

  const LinkOptions options_;
  LinkCounters* const counters_;
  ServerChannel channel_;
  proto::JoinReply joined_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t client_id_ = 0;
  int64_t generation_ = 0;
  int64_t last_clock_ = 0;  // of the pushes sent, or before the first
  bool outlived_ = false;
  uint64_t incarnation_ = 0;
  std::unique_ptr<HandleMap> handles_;                   // of the session
  std::map<uint64_t, std::shared_ptr<LinkCall>> calls_;  // under way, by number: the order in which they were sent
  std::deque<uint64_t> queue_;                           // to be written
  KeptPushes kept_;
  uint64_t next_number_ = 1;
  int64_t pushes_under_way_ = 0;
  Status push_failure_;  // of a push
  Status dead_;          // nothing will be answered any more
  bool stopping_ = false, leaving_ = false;
  double pause_s_ = 0;  // before the next join
  std::atomic<int64_t> alive_ns_{0};

  grpc::CompletionQueue queue_of_events_;
  std::unique_ptr<Stream> stream_;
  std::thread thread_;
};

}  // namespace sluice::service
