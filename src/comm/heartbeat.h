#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <thread>

#include "comm/transport.h"

namespace sluice::comm {

// Tells which rank of a group has gone silent. Every rank beats to every other; a rank that was not heard of for
// `timeout`, without having said goodbye, is silent: killed, stopped, or cut off.
// Threads      one thread of its own; `on_silence` runs on it, at most once.
// Distributed  every rank of the transport's group makes one; the transport serves nothing else.
//              1 byte to every other rank each `interval`.
class Heartbeat {
 public:
  Heartbeat(std::unique_ptr<Transport> transport, std::chrono::milliseconds interval, std::chrono::milliseconds timeout,
            std::function<void(int silent_rank)> on_silence);
  // Says goodbye to the others.
  ~Heartbeat();

 private:
  void Loop();

  std::unique_ptr<Transport> transport_;
  std::chrono::milliseconds interval_, timeout_;
  std::function<void(int)> on_silence_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace sluice::comm
