#include "comm/in_process.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <utility>

namespace sluice::comm {
namespace {

// A posted send. A receiver marks it before copying outside the hub's lock, so that a sender which gives up at its
// deadline withdraws the buffer only while nobody reads it.
struct Message {
  enum class State { kPosted, kCopying, kTaken };
  std::span<const std::byte> bytes;
  State state = State::kPosted;
};

struct Hub;

// The first failure of a rank, seen by all groups that these ranks form.
struct Failure {
  std::atomic<bool> failed{false};
  std::mutex mutex;  // taken before any hub's
  Status status;
  std::vector<std::weak_ptr<Hub>> hubs;

  Status Get() {
    std::lock_guard lock(mutex);
    return status;
  }
};

// Mailboxes of one group of ranks.
struct Hub {
  Hub(int size, std::shared_ptr<Failure> f)
      : num_ranks(size), failure(std::move(f)), boxes(static_cast<size_t>(size) * size) {}
  bool failed() const { return failure->failed.load(std::memory_order_relaxed); }

  int num_ranks;
  std::shared_ptr<Failure> failure;
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::deque<std::shared_ptr<Message>>> boxes;  // [from * size + to]

  // Meeting place of Split: colors of those that arrived, and the hubs made when all had.
  std::vector<std::pair<int, int>> split_arrived;  // (rank, color)
  std::map<int, std::shared_ptr<Hub>> split_hubs;
  std::map<int, std::vector<int>> split_members;
  uint64_t split_round = 0;

  std::deque<std::shared_ptr<Message>>& Box(int from, int to) {
    return boxes[static_cast<size_t>(from) * num_ranks + to];
  }
};

class SendRequest : public Request {
 public:
  SendRequest(std::shared_ptr<Hub> hub, int from, int to, std::span<const std::byte> bytes)
      : hub_(std::move(hub)), from_(from), to_(to), message_(std::make_shared<Message>()) {
    message_->bytes = bytes;
    {
      std::lock_guard lock(hub_->mutex);
      hub_->Box(from_, to_).push_back(message_);
    }
    hub_->changed.notify_all();
  }
  ~SendRequest() override {
    std::unique_lock lock(hub_->mutex);
    hub_->changed.wait(lock, [&] { return message_->state != Message::State::kCopying; });
    if (message_->state == Message::State::kTaken) return;
    auto& box = hub_->Box(from_, to_);
    std::erase(box, message_);
  }
  Status Wait(Deadline deadline) override {
    std::unique_lock lock(hub_->mutex);
    const bool ended = hub_->changed.wait_until(
        lock, deadline, [&] { return message_->state == Message::State::kTaken || hub_->failed(); });
    if (message_->state == Message::State::kTaken) return Status::Ok();
    lock.unlock();
    if (ended) return hub_->failure->Get();
    return {StatusCode::kUnavailable, fmt::format("rank {} did not take a message from rank {} in time", to_, from_)};
  }

 private:
  std::shared_ptr<Hub> hub_;
  int from_, to_;
  std::shared_ptr<Message> message_;
};

class ReceiveRequest : public Request {
 public:
  ReceiveRequest(std::shared_ptr<Hub> hub, int from, int to, std::span<std::byte> bytes)
      : hub_(std::move(hub)), from_(from), to_(to), bytes_(bytes) {}
  Status Wait(Deadline deadline) override {
    std::unique_lock lock(hub_->mutex);
    auto& box = hub_->Box(from_, to_);
    const bool ended = hub_->changed.wait_until(lock, deadline, [&] { return !box.empty() || hub_->failed(); });
    if (hub_->failed()) {
      lock.unlock();
      return hub_->failure->Get();
    }
    if (!ended) return {StatusCode::kUnavailable, fmt::format("rank {} sent nothing to rank {} in time", from_, to_)};
    const auto message = box.front();
    box.pop_front();
    message->state = Message::State::kCopying;
    const size_t length = message->bytes.size();
    const bool fits = length == bytes_.size();
    lock.unlock();
    if (fits && length > 0) std::memcpy(bytes_.data(), message->bytes.data(), length);
    lock.lock();
    message->state = Message::State::kTaken;
    lock.unlock();
    hub_->changed.notify_all();
    if (fits) return Status::Ok();
    return DataLoss("rank {} sent {} bytes to rank {}, which expected {}", from_, length, to_, bytes_.size());
  }

 private:
  std::shared_ptr<Hub> hub_;
  int from_, to_;
  std::span<std::byte> bytes_;
};

class InProcessTransport : public Transport {
 public:
  InProcessTransport(std::shared_ptr<Hub> hub, int rank) : hub_(std::move(hub)), rank_(rank) {}

  int rank() const override { return rank_; }
  int size() const override { return hub_->num_ranks; }
  std::unique_ptr<Request> Send(int to, std::span<const std::byte> bytes) override {
    return std::make_unique<SendRequest>(hub_, rank_, to, bytes);
  }
  std::unique_ptr<Request> Receive(int from, std::span<std::byte> bytes) override {
    return std::make_unique<ReceiveRequest>(hub_, from, rank_, bytes);
  }

  Result<std::unique_ptr<Transport>> Split(int color) override {
    std::unique_lock lock(hub_->mutex);
    const uint64_t round = hub_->split_round;
    hub_->split_arrived.emplace_back(rank_, color);
    if (static_cast<int>(hub_->split_arrived.size()) == hub_->num_ranks) {
      hub_->split_members.clear();
      hub_->split_hubs.clear();
      for (const auto& [rank, c] : hub_->split_arrived) hub_->split_members[c].push_back(rank);
      for (auto& [c, members] : hub_->split_members) {
        std::sort(members.begin(), members.end());
        hub_->split_hubs[c] = std::make_shared<Hub>(static_cast<int>(members.size()), hub_->failure);
      }
      hub_->split_arrived.clear();
      ++hub_->split_round;
      hub_->changed.notify_all();
    } else if (!hub_->changed.wait_for(lock, std::chrono::seconds(30),
                                       [&] { return hub_->split_round != round || hub_->failed(); })) {
      return Status{StatusCode::kUnavailable, "not every rank took part in a split of the communicator in time"};
    } else if (hub_->split_round == round) {
      lock.unlock();
      return hub_->failure->Get();
    }
    const auto& members = hub_->split_members[color];
    const int index = static_cast<int>(std::find(members.begin(), members.end(), rank_) - members.begin());
    const std::shared_ptr<Hub> hub = hub_->split_hubs[color];
    lock.unlock();
    Register(hub);
    return std::unique_ptr<Transport>(std::make_unique<InProcessTransport>(hub, index));
  }

  Status Fail(const Status& status) override {
    Failure& failure = *hub_->failure;
    std::lock_guard lock(failure.mutex);
    if (failure.failed) return failure.status;
    failure.status = status;
    failure.failed = true;
    for (const auto& weak : failure.hubs) {
      const auto hub = weak.lock();
      if (hub == nullptr) continue;
      // A waiter is either before its check of `failed`, which then holds, or asleep.
      { std::lock_guard hub_lock(hub->mutex); }
      hub->changed.notify_all();
    }
    return status;
  }

  // So that a failure wakes those who wait in this group. Once for each rank does no harm.
  static void Register(const std::shared_ptr<Hub>& hub) {
    std::lock_guard lock(hub->failure->mutex);
    hub->failure->hubs.push_back(hub);
  }

 private:
  std::shared_ptr<Hub> hub_;
  int rank_;
};

}  // namespace

std::vector<std::unique_ptr<Transport>> MakeInProcessTransports(int size) {
  auto hub = std::make_shared<Hub>(size, std::make_shared<Failure>());
  InProcessTransport::Register(hub);
  std::vector<std::unique_ptr<Transport>> transports;
  for (int r = 0; r < size; ++r) transports.push_back(std::make_unique<InProcessTransport>(hub, r));
  return transports;
}

}  // namespace sluice::comm
