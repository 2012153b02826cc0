#include "comm/heartbeat.h"

#include <utility>
#include <vector>

namespace sluice::comm {
namespace {

constexpr std::byte kBeat{1}, kGoodbye{2};

// What passes between this rank and one other.
struct Peer {
  int rank = 0;
  std::byte in{};
  std::unique_ptr<Request> send, receive;
  Clock::time_point last_heard;
  bool gone = false;   // said goodbye
};

}  // namespace

Heartbeat::Heartbeat(std::unique_ptr<Transport> transport, std::chrono::milliseconds interval,
                     std::chrono::milliseconds timeout, std::function<void(int)> on_silence)
    : transport_(std::move(transport)),
      interval_(interval),
      timeout_(timeout),
      on_silence_(std::move(on_silence)),
      thread_([this] { Loop(); }) {}

Heartbeat::~Heartbeat() {
  stop_ = true;
  thread_.join();
}

void Heartbeat::Loop() {
  std::vector<Peer> peers;
  for (int r = 0; r < transport_->size(); ++r)
    if (r != transport_->rank()) peers.emplace_back().rank = r;
  for (Peer& peer : peers) {
    peer.last_heard = Clock::now();
    peer.receive = transport_->Receive(peer.rank, {&peer.in, 1});
  }
  const auto listen = [&](Peer& peer) {
    while (!peer.gone && peer.receive->Wait(Clock::now()).ok()) {
      peer.last_heard = Clock::now();
      peer.gone = peer.in == kGoodbye;
      if (!peer.gone) peer.receive = transport_->Receive(peer.rank, {&peer.in, 1});
    }
  };
  while (!stop_) {
    for (Peer& peer : peers) {
      // A beat still under way says as much as a new one.
      if (peer.send == nullptr || peer.send->Wait(Clock::now()).ok()) peer.send = transport_->Send(peer.rank, {&kBeat, 1});
      listen(peer);
      if (!peer.gone && Clock::now() - peer.last_heard > timeout_) {
        on_silence_(peer.rank);
        return;
      }
    }
    for (auto slept = std::chrono::milliseconds(0); slept < interval_ && !stop_; slept += std::chrono::milliseconds(10))
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  // Goodbye, at most one timeout long: beats on their way first, then the last word; the others' words are taken, so
  // that their goodbyes end too.
  const Deadline deadline = Clock::now() + timeout_;
  for (Peer& peer : peers) {
    // No beat was sent yet where the stop came at once.
    while (peer.send != nullptr && !peer.gone && !peer.send->Wait(Clock::now()).ok() && Clock::now() < deadline) {
      listen(peer);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    peer.send = transport_->Send(peer.rank, {&kGoodbye, 1});
  }
  bool all_gone = false;
  while (!all_gone && Clock::now() < deadline) {
    all_gone = true;
    for (Peer& peer : peers) {
      listen(peer);
      all_gone = all_gone && peer.gone && peer.send->Wait(Clock::now()).ok();
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

}  // namespace sluice::comm
