#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/status.h"
#include "comm/transport.h"

namespace sluice::comm {

// Tells which rank of a group is lost, and why. Every rank beats to every other; a rank that was not heard of for
// `timeout` (time in which this rank itself did not run left out), without having said goodbye, is silent: killed,
// stopped, or cut off. A rank that fails on its own says so instead, and the others hear it within 20 ms.
// Threads      one thread of its own; `on_lost` runs on it, at most once. Abort and WaitForWord from any other.
// Distributed  every rank of the transport's group makes one; the transport serves nothing else.
//              1 byte to every other rank each `interval`; a last word of kLastWordBytes from one that fails or that
//              notices a silence.
// Errors       given to on_lost(rank, status): kUnavailable for silence; else what the lost rank said, a malformed word
//              being kDataLoss.
class Heartbeat {
 public:
  using OnLost = std::function<void(int rank, const Status& status)>;
  Heartbeat(std::unique_ptr<Transport> transport, std::chrono::milliseconds interval, std::chrono::milliseconds timeout,
            OnLost on_lost);
  // Says goodbye to the others.
  ~Heartbeat();

  // Tells the others that this rank leaves because of `status`; returns when they know, after a second at the latest.
  // on_lost is not called any more.
  void Abort(const Status& status);
  // Waits until on_lost has returned, if it is called within `wait`: a failed message may have a better explanation.
  void WaitForWord(std::chrono::milliseconds wait);

 private:
  struct Peer;

  void Loop();
  bool Listen(Peer* peer);  // true: the peer's last word has come
  void Tell(std::vector<Peer>* peers, int about, const Status& status);
  void Lose(std::vector<Peer>* peers, int about, const Status& status, bool tell);
  void SayGoodbye(std::vector<Peer>* peers);

  std::unique_ptr<Transport> transport_;
  std::chrono::milliseconds interval_, timeout_;
  OnLost on_lost_;
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ended_ = false;  // the thread has said all it had to say
  bool aborts_ = false;
  Status abort_;
  std::thread thread_;
};

// The last word of a rank: which rank is lost and why. Texts are cut to fit.
inline constexpr size_t kLastWordBytes = 1024;
std::vector<std::byte> EncodeLastWord(int about, const Status& status);
// Errors       kDataLoss for a word of another length, an unknown code, or a rank outside [0, ranks).
Status DecodeLastWord(std::span<const std::byte> word, int ranks, int* about, Status* status);

}  // namespace sluice::comm
