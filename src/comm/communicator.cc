#include "comm/communicator.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

#include "base/bf16.h"

namespace sluice::comm {
namespace {

template <class T>
std::span<const std::byte> Bytes(std::span<T> data) {
  return std::as_bytes(data);
}

template <class T>
void Reduce(ReduceOp op, const T* in, T* inout, int64_t n) {
  if (op == ReduceOp::kSum) {
    for (int64_t i = 0; i < n; ++i) inout[i] += in[i];
  } else {
    for (int64_t i = 0; i < n; ++i) inout[i] = std::max(inout[i], in[i]);
  }
}

std::vector<Range> PartsOf(std::span<const int64_t> counts) {
  std::vector<Range> parts;
  int64_t begin = 0;
  for (int64_t count : counts) {
    parts.push_back({begin, begin + count});
    begin += count;
  }
  return parts;
}

}  // namespace

// Runs started operations one after another on a thread of its own.
class Communicator::Progress {
 public:
  Progress() : thread_([this] { Loop(); }) {}
  ~Progress() {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  Handle Add(std::function<Status()> operation) {
    auto task = std::make_shared<std::packaged_task<Status()>>(std::move(operation));
    Handle handle = task->get_future().share();
    {
      std::lock_guard lock(mutex_);
      tasks_.push_back([task] { (*task)(); });
    }
    changed_.notify_all();
    return handle;
  }
  void WaitUntilIdle() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return tasks_.empty() && !busy_; });
  }
  bool OnThisThread() const { return std::this_thread::get_id() == thread_.get_id(); }

 private:
  void Loop() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return stop_ || !tasks_.empty(); });
      if (tasks_.empty()) return;
      auto task = std::move(tasks_.front());
      tasks_.pop_front();
      busy_ = true;
      lock.unlock();
      task();
      lock.lock();
      busy_ = false;
      changed_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;
  bool busy_ = false;
  bool stop_ = false;
  std::thread thread_;
};

Communicator::Communicator(std::unique_ptr<Transport> transport, std::shared_ptr<Ledger> ledger,
                           std::chrono::milliseconds timeout)
    : transport_(std::move(transport)),
      ledger_(std::move(ledger)),
      timeout_(timeout),
      rank_(transport_->rank()),
      size_(transport_->size()) {}

Communicator::~Communicator() = default;

Handle Communicator::Start(std::function<Status()> operation) {
  if (!progress_) progress_ = std::make_unique<Progress>();
  return progress_->Add(std::move(operation));
}

Status Communicator::Enter() {
  if (progress_ && !progress_->OnThisThread()) progress_->WaitUntilIdle();
  return failure_;
}

Status Communicator::Leave(Status status) {
  if (!status.ok()) failure_ = status;
  return status;
}

Status Communicator::Exchange(int to, std::span<const std::byte> out, int from, std::span<std::byte> in,
                              Traffic traffic) {
  const auto begin = Clock::now();
  const Deadline deadline = begin + timeout_;
  std::unique_ptr<Request> receive, send;
  if (from >= 0) receive = transport_->Receive(from, in);
  if (to >= 0) {
    ledger_->CountSent(traffic, static_cast<int64_t>(out.size()));
    send = transport_->Send(to, out);
  }
  if (receive) {
    SLUICE_RETURN_IF_ERROR(receive->Wait(deadline));
    ledger_->CountReceived(traffic, static_cast<int64_t>(in.size()));
  }
  if (send) SLUICE_RETURN_IF_ERROR(send->Wait(deadline));
  ledger_->CountTime(traffic, std::chrono::nanoseconds(Clock::now() - begin).count());
  return Status::Ok();
}

template <class T>
Status Communicator::RingReduceScatter(std::span<T> data, ReduceOp op, Traffic traffic) {
  const int64_t n = static_cast<int64_t>(data.size());
  const int next = (rank_ + 1) % size_, previous = (rank_ + size_ - 1) % size_;
  // Step s passes on part (rank - s - 1) and adds what came to part (rank - s - 2): after N - 1 steps this rank holds
  // the whole of its own part.
  for (int s = 0; s < size_ - 1; ++s) {
    const Range out = PartRange(n, (rank_ - s - 1 + 2 * size_) % size_, size_);
    const Range in = PartRange(n, (rank_ - s - 2 + 2 * size_) % size_, size_);
    scratch_.resize(std::max<size_t>(scratch_.size(), static_cast<size_t>(in.size()) * sizeof(T)));
    const std::span<std::byte> buffer(scratch_.data(), static_cast<size_t>(in.size()) * sizeof(T));
    SLUICE_RETURN_IF_ERROR(Exchange(next, Bytes(data.subspan(out.begin, out.size())), previous, buffer, traffic));
    Reduce(op, reinterpret_cast<const T*>(buffer.data()), data.data() + in.begin, in.size());
  }
  return Status::Ok();
}

template <class T>
Status Communicator::RingAllGather(std::span<T> data, const std::vector<Range>& parts, Traffic traffic) {
  const int next = (rank_ + 1) % size_, previous = (rank_ + size_ - 1) % size_;
  for (int s = 0; s < size_ - 1; ++s) {
    const Range out = parts[(rank_ - s + size_) % size_];
    const Range in = parts[(rank_ - s - 1 + size_) % size_];
    SLUICE_RETURN_IF_ERROR(Exchange(next, Bytes(data.subspan(out.begin, out.size())), previous,
                                    std::as_writable_bytes(data.subspan(in.begin, in.size())), traffic));
  }
  return Status::Ok();
}

// Each addend is rounded to bf16 once, travels to the owner of its part, and is summed there in fp32 in rank order; the
// result is rounded once and gathered, by the owner too, so that all ranks hold the same bits.
Status Communicator::AllReduceBf16(std::span<float> data, ReduceOp op, Traffic traffic) {
  const int64_t n = static_cast<int64_t>(data.size());
  std::vector<int64_t> counts(size_);
  for (int r = 0; r < size_; ++r) counts[r] = PartRange(n, r, size_).size();
  const Range mine = PartRange(n, rank_, size_);
  std::vector<float> reduced(mine.size());
  SLUICE_RETURN_IF_ERROR(ReduceScatter<float>(data, counts, reduced, op, traffic, Wire::kBf16));
  return AllGather<float>(reduced, counts, data, traffic, Wire::kBf16);
}

template <class T>
Status Communicator::AllReduce(std::span<T> data, ReduceOp op, Traffic traffic, Wire wire) {
  SLUICE_RETURN_IF_ERROR(Enter());
  if (size_ == 1 || data.empty()) return Status::Ok();
  if constexpr (std::is_same_v<T, float>) {
    if (wire == Wire::kBf16) return Leave(AllReduceBf16(data, op, traffic));
  }
  SLUICE_RETURN_IF_ERROR(Leave(RingReduceScatter(data, op, traffic)));
  std::vector<Range> parts;
  for (int r = 0; r < size_; ++r) parts.push_back(PartRange(static_cast<int64_t>(data.size()), r, size_));
  return Leave(RingAllGather(data, parts, traffic));
}

template <class T>
Status Communicator::ReduceScatter(std::span<const T> in, std::span<const int64_t> counts, std::span<T> out,
                                   ReduceOp op, Traffic traffic, Wire wire) {
  SLUICE_RETURN_IF_ERROR(Enter());
  const std::vector<Range> parts = PartsOf(counts);
  const int64_t mine = parts[rank_].size();
  SLUICE_CHECK(static_cast<int64_t>(out.size()) == mine, "out has {} elements, my part {}", out.size(), mine);
  const bool bf16 = std::is_same_v<T, float> && wire == Wire::kBf16;
  const size_t element = bf16 ? sizeof(uint16_t) : sizeof(T);

  // Everybody's addends of my part, side by side, so that they can be summed in rank order.
  scratch_.resize(std::max(scratch_.size(), static_cast<size_t>(mine) * element * size_));
  const auto slot = [&](int r) {
    return std::span<std::byte>(scratch_.data() + static_cast<size_t>(mine) * element * r,
                                static_cast<size_t>(mine) * element);
  };
  if (bf16) wire_out_.resize(in.size());
  if constexpr (std::is_same_v<T, float>) {
    if (bf16) FloatToBf16(in.data(), wire_out_.data(), static_cast<int64_t>(in.size()));
  }
  const auto outgoing = [&](int r) -> std::span<const std::byte> {
    if (bf16) return std::as_bytes(std::span(wire_out_).subspan(parts[r].begin, parts[r].size()));
    return Bytes(in.subspan(parts[r].begin, parts[r].size()));
  };
  std::ranges::copy(outgoing(rank_), slot(rank_).begin());
  for (int s = 1; s < size_; ++s) {
    const int to = (rank_ + s) % size_, from = (rank_ + size_ - s) % size_;
    SLUICE_RETURN_IF_ERROR(Leave(Exchange(to, outgoing(to), from, slot(from), traffic)));
  }
  for (int r = 0; r < size_; ++r) {
    if constexpr (std::is_same_v<T, float>) {
      if (bf16) {
        // Rank 0's addend is widened in place; the others through a buffer.
        const auto* addend = reinterpret_cast<const uint16_t*>(slot(r).data());
        widened_.resize(mine);
        Bf16ToFloat(addend, r == 0 ? out.data() : widened_.data(), mine);
        if (r > 0) Reduce(op, widened_.data(), out.data(), mine);
        continue;
      }
    }
    const T* addend = reinterpret_cast<const T*>(slot(r).data());
    if (r == 0) {
      std::copy_n(addend, mine, out.data());
    } else {
      Reduce(op, addend, out.data(), mine);
    }
  }
  return Status::Ok();
}

template <class T>
Status Communicator::AllGather(std::span<const T> in, std::span<const int64_t> counts, std::span<T> out,
                               Traffic traffic, Wire wire) {
  SLUICE_RETURN_IF_ERROR(Enter());
  const std::vector<Range> parts = PartsOf(counts);
  const Range mine = parts[rank_];
  SLUICE_CHECK(static_cast<int64_t>(in.size()) == mine.size(), "in has {} elements, my part {}", in.size(),
               mine.size());
  if constexpr (std::is_same_v<T, float>) {
    if (wire == Wire::kBf16) {
      wire_out_.resize(out.size());
      FloatToBf16(in.data(), wire_out_.data() + mine.begin, mine.size());
      SLUICE_RETURN_IF_ERROR(Leave(RingAllGather(std::span(wire_out_), parts, traffic)));
      Bf16ToFloat(wire_out_.data(), out.data(), static_cast<int64_t>(out.size()));
      return Status::Ok();
    }
  }
  if (in.data() != out.data() + mine.begin) std::copy_n(in.data(), mine.size(), out.data() + mine.begin);
  return Leave(RingAllGather(out, parts, traffic));
}

Status Communicator::AllToAll(const std::vector<std::span<const std::byte>>& send,
                              const std::vector<std::span<std::byte>>& receive, Traffic traffic) {
  SLUICE_RETURN_IF_ERROR(Enter());
  SLUICE_CHECK(send[rank_].size() == receive[rank_].size(), "a rank's message to itself has {} and {} bytes",
               send[rank_].size(), receive[rank_].size());
  if (!send[rank_].empty() && send[rank_].data() != receive[rank_].data())
    std::memcpy(receive[rank_].data(), send[rank_].data(), send[rank_].size());
  // All exchanges are posted at once; the order differs from rank to rank so that no receiver is everybody's first.
  const auto begin = Clock::now();
  const Deadline deadline = begin + timeout_;
  std::vector<std::unique_ptr<Request>> receives, sends;
  std::vector<int> from_ranks;
  for (int s = 1; s < size_; ++s) {
    const int from = (rank_ + size_ - s) % size_;
    if (receive[from].empty()) continue;
    receives.push_back(transport_->Receive(from, receive[from]));
    from_ranks.push_back(from);
  }
  for (int s = 1; s < size_; ++s) {
    const int to = (rank_ + s) % size_;
    if (send[to].empty()) continue;
    ledger_->CountSent(traffic, static_cast<int64_t>(send[to].size()));
    sends.push_back(transport_->Send(to, send[to]));
  }
  for (size_t i = 0; i < receives.size(); ++i) {
    SLUICE_RETURN_IF_ERROR(Leave(receives[i]->Wait(deadline)));
    ledger_->CountReceived(traffic, static_cast<int64_t>(receive[from_ranks[i]].size()));
  }
  for (auto& request : sends) SLUICE_RETURN_IF_ERROR(Leave(request->Wait(deadline)));
  ledger_->CountTime(traffic, std::chrono::nanoseconds(Clock::now() - begin).count());
  return Status::Ok();
}

Result<std::vector<int64_t>> Communicator::ExchangeCounts(std::span<const int64_t> counts, Traffic traffic) {
  std::vector<int64_t> received(size_);
  std::vector<std::span<const std::byte>> send;
  std::vector<std::span<std::byte>> receive;
  for (int r = 0; r < size_; ++r) {
    send.push_back(std::as_bytes(counts.subspan(r, 1)));
    receive.push_back(std::as_writable_bytes(std::span(received).subspan(r, 1)));
  }
  SLUICE_RETURN_IF_ERROR(AllToAll(send, receive, traffic));
  return received;
}

Status Communicator::Broadcast(std::span<std::byte> data, int root, Traffic traffic) {
  SLUICE_RETURN_IF_ERROR(Enter());
  const int relative = (rank_ - root + size_) % size_;
  // In round m ranks below m, counted from the root, hand on to rank + m.
  for (int m = 1; m < size_; m *= 2) {
    if (relative < m) {
      const int to = relative + m;
      if (to < size_) SLUICE_RETURN_IF_ERROR(Leave(Exchange((to + root) % size_, data, -1, {}, traffic)));
    } else if (relative < 2 * m) {
      SLUICE_RETURN_IF_ERROR(Leave(Exchange(-1, {}, (relative - m + root) % size_, data, traffic)));
    }
  }
  return Status::Ok();
}

Status Communicator::Barrier() {
  SLUICE_RETURN_IF_ERROR(Enter());
  std::byte out{}, in{};
  for (int m = 1; m < size_; m *= 2) {
    SLUICE_RETURN_IF_ERROR(
        Leave(Exchange((rank_ + m) % size_, std::span<const std::byte>(&out, 1), (rank_ + size_ - m) % size_,
                       std::span<std::byte>(&in, 1), Traffic::kControl)));
  }
  return Status::Ok();
}

Result<std::unique_ptr<Communicator>> Communicator::Split(int color) {
  SLUICE_RETURN_IF_ERROR(Enter());
  SLUICE_ASSIGN_OR_RETURN(auto transport, transport_->Split(color));
  return std::make_unique<Communicator>(std::move(transport), ledger_, timeout_);
}

#define SLUICE_INSTANTIATE(T)                                                                                          \
  template Status Communicator::AllReduce<T>(std::span<T>, ReduceOp, Traffic, Wire);                                   \
  template Status Communicator::ReduceScatter<T>(std::span<const T>, std::span<const int64_t>, std::span<T>, ReduceOp, \
                                                 Traffic, Wire);                                                       \
  template Status Communicator::AllGather<T>(std::span<const T>, std::span<const int64_t>, std::span<T>, Traffic, Wire)
SLUICE_INSTANTIATE(float);
SLUICE_INSTANTIATE(double);
SLUICE_INSTANTIATE(int64_t);
#undef SLUICE_INSTANTIATE

}  // namespace sluice::comm
