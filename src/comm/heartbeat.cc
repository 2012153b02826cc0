#include "comm/heartbeat.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace sluice::comm {
namespace {

using std::chrono::milliseconds;

constexpr std::byte kBeat{1}, kGoodbye{2}, kLastWord{3};
constexpr milliseconds kTick{10};
// Between two rounds that are further apart this thread did not run: its process was stopped, or the machine is busy.
// The others' silence is counted in time in which this rank could have heard them, and so long at most for a round.
constexpr milliseconds kAway{100};
constexpr milliseconds kAbortWait{1000};

// Fixed part of a last word, before the text.
struct WordHead {
  int32_t about;
  int32_t code;
  uint32_t length;
};

}  // namespace

std::vector<std::byte> EncodeLastWord(int about, const Status& status) {
  std::vector<std::byte> word(kLastWordBytes);
  const size_t length = std::min(status.message().size(), kLastWordBytes - sizeof(WordHead));
  const WordHead head = {about, static_cast<int32_t>(status.code()), static_cast<uint32_t>(length)};
  std::memcpy(word.data(), &head, sizeof head);
  std::memcpy(word.data() + sizeof head, status.message().data(), length);
  return word;
}

Status DecodeLastWord(std::span<const std::byte> word, int ranks, int* about, Status* status) {
  WordHead head;
  if (word.size() != kLastWordBytes) return DataLoss("a last word of {} bytes", word.size());
  std::memcpy(&head, word.data(), sizeof head);
  if (head.about < 0 || head.about >= ranks || head.code <= static_cast<int32_t>(StatusCode::kOk) ||
      head.code > static_cast<int32_t>(StatusCode::kInternal) || head.length > kLastWordBytes - sizeof head)
    return DataLoss("a last word about rank {} with code {} and {} bytes of text", head.about, head.code, head.length);
  *about = head.about;
  *status = Status(static_cast<StatusCode>(head.code),
                   std::string(reinterpret_cast<const char*>(word.data()) + sizeof head, head.length));
  return Status::Ok();
}

// What passes between this rank and one other.
struct Heartbeat::Peer {
  int rank = 0;
  std::byte in{};
  std::vector<std::byte> word;  // its last word, once announced
  std::unique_ptr<Request> send, receive;
  std::vector<std::unique_ptr<Request>> last_sends;
  Clock::time_point last_heard;
  bool gone = false;  // said goodbye, or its last word
};

Heartbeat::Heartbeat(std::unique_ptr<Transport> transport, milliseconds interval, milliseconds timeout, OnLost on_lost)
    : transport_(std::move(transport)),
      interval_(interval),
      timeout_(timeout),
      on_lost_(std::move(on_lost)),
      thread_([this] { Loop(); }) {}

Heartbeat::~Heartbeat() {
  stop_ = true;
  thread_.join();
}

void Heartbeat::Abort(const Status& status) {
  std::unique_lock lock(mutex_);
  aborts_ = true;
  abort_ = status;
  changed_.wait_for(lock, 2 * kAbortWait, [this] { return ended_; });
}

void Heartbeat::WaitForWord(milliseconds wait) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, wait, [this] { return ended_; });
}

// Takes what has come from a peer.
bool Heartbeat::Listen(Peer* peer) {
  while (!peer->gone && peer->receive->Wait(Clock::now()).ok()) {
    peer->last_heard = Clock::now();
    if (!peer->word.empty()) {
      peer->gone = true;
      return true;
    }
    peer->gone = peer->in == kGoodbye;
    if (peer->gone) break;
    if (peer->in == kLastWord) {
      peer->word.resize(kLastWordBytes);
      peer->receive = transport_->Receive(peer->rank, peer->word);
    } else {
      peer->receive = transport_->Receive(peer->rank, {&peer->in, 1});
    }
  }
  return false;
}

// The last word to every peer that still listens; a second long at most.
void Heartbeat::Tell(std::vector<Peer>* peers, int about, const Status& status) {
  const Deadline deadline = Clock::now() + std::min(kAbortWait, timeout_);
  const std::vector<std::byte> word = EncodeLastWord(about, status);
  for (Peer& peer : *peers) {
    if (peer.gone || peer.rank == about) continue;
    peer.last_sends.push_back(transport_->Send(peer.rank, {&kLastWord, 1}));
    peer.last_sends.push_back(transport_->Send(peer.rank, word));
  }
  for (bool told = false; !told && Clock::now() < deadline; std::this_thread::sleep_for(milliseconds(1))) {
    told = true;
    for (Peer& peer : *peers) {
      if (peer.gone || peer.last_sends.empty()) continue;
      Listen(&peer);                                                           // its goodbye says that it knows
      for (auto& send : peer.last_sends) (void)send->Wait(Clock::now()).ok();  // keeps the message going
      told = told && peer.gone;
    }
  }
  for (Peer& peer : *peers) peer.last_sends.clear();  // before `word` ends
}

// This rank is not to go on: tells the others where they do not know, and whoever made this heartbeat.
void Heartbeat::Lose(std::vector<Peer>* peers, int about, const Status& status, bool tell) {
  if (tell) {
    Tell(peers, about, status);
  } else {
    for (Peer& peer : *peers) peer.last_sends.push_back(transport_->Send(peer.rank, {&kGoodbye, 1}));
    const Deadline deadline = Clock::now() + milliseconds(50);
    for (Peer& peer : *peers) (void)peer.last_sends[0]->Wait(std::max(deadline, Clock::now())).ok();
    for (Peer& peer : *peers) peer.last_sends.clear();
  }
  on_lost_(about, status);
}

void Heartbeat::Loop() {
  std::vector<Peer> peers(static_cast<size_t>(transport_->size() - 1));
  for (int r = 0, p = 0; r < transport_->size(); ++r) {
    if (r == transport_->rank()) continue;
    Peer& peer = peers[static_cast<size_t>(p++)];
    peer.rank = r;
    peer.last_heard = Clock::now();
    peer.receive = transport_->Receive(r, {&peer.in, 1});
  }
  const auto end = [&] {
    std::lock_guard lock(mutex_);
    ended_ = true;
    changed_.notify_all();
  };
  Clock::time_point next_beat = Clock::now(), last_round = next_beat;
  while (!stop_) {
    const Clock::time_point now = Clock::now();
    if (now - last_round > kAway)
      for (Peer& peer : peers) peer.last_heard += now - last_round - kAway;
    last_round = now;
    const bool beats = now >= next_beat;
    if (beats) next_beat = Clock::now() + interval_;
    {
      std::unique_lock lock(mutex_);
      if (aborts_) {
        lock.unlock();
        Tell(&peers, transport_->rank(), abort_);
        return end();
      }
    }
    for (Peer& peer : peers) {
      // A beat still under way says as much as a new one.
      if (beats && !peer.gone && (peer.send == nullptr || peer.send->Wait(Clock::now()).ok()))
        peer.send = transport_->Send(peer.rank, {&kBeat, 1});
      if (Listen(&peer)) {
        int about = peer.rank;
        Status status;
        const Status decoded = DecodeLastWord(peer.word, transport_->size(), &about, &status);
        Lose(&peers, about, decoded.ok() ? status : decoded, false);
        return end();
      }
      if (!peer.gone && Clock::now() - peer.last_heard > timeout_) {
        Lose(&peers, peer.rank,
             Status(StatusCode::kUnavailable, fmt::format("was silent for {:.3g} s (strategy.timeout_s)",
                                                          std::chrono::duration<double>(timeout_).count())),
             true);
        return end();
      }
    }
    std::this_thread::sleep_for(std::min(kTick, interval_));
  }
  SayGoodbye(&peers);
  end();
}

// At most one timeout long: beats on their way first, then the last word; the others' words are taken, so that their
// goodbyes end too.
void Heartbeat::SayGoodbye(std::vector<Peer>* peers) {
  const Deadline deadline = Clock::now() + timeout_;
  for (Peer& peer : *peers) {
    // No beat was sent yet where the stop came at once.
    while (peer.send != nullptr && !peer.gone && !peer.send->Wait(Clock::now()).ok() && Clock::now() < deadline) {
      Listen(&peer);
      std::this_thread::sleep_for(milliseconds(1));
    }
    peer.send = transport_->Send(peer.rank, {&kGoodbye, 1});
  }
  bool all_gone = false;
  while (!all_gone && Clock::now() < deadline) {
    all_gone = true;
    for (Peer& peer : *peers) {
      Listen(&peer);
      all_gone = all_gone && peer.gone && peer.send->Wait(Clock::now()).ok();
    }
    std::this_thread::sleep_for(milliseconds(1));
  }
}

}  // namespace sluice::comm
