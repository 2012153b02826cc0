#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/messages.h"

namespace sluice::comm {

// What every communicator must do, run by one rank of a group; the same checks serve threads as ranks and MPI
// processes. Values are small integers, so that sums are exact in every order and type.
class ContractSuite {
 public:
  explicit ContractSuite(Communicator& comm) : comm_(comm), n_(comm.size()), me_(comm.rank()) {}

  // Empty when everything holds, else what does not.
  std::string Run() {
    for (int64_t size : {0, 1, 2, 3, 7, 64, 1001, 70000}) {
      AllReduce<float>(size);
      AllReduce<double>(size);
      AllReduce<int64_t>(size);
      AllReduceBf16(size);
      ScatterAndGather<float>(size);
      ScatterAndGather<int64_t>(size);
      Broadcast(size);
      AllToAll(size);
      Messages(size);
    }
    Started();
    Groups();
    return failures_;
  }

 private:
  void Expect(bool ok, const std::string& what) {
    if (!ok && failures_.size() < 2000) failures_ += fmt::format("rank {} of {}: {}\n", me_, n_, what);
  }
  void ExpectOk(const Status& status, const std::string& what) { Expect(status.ok(), what + ": " + status.message()); }
  static int64_t Value(int rank, int64_t i) { return (i * 7 + rank * 13) % 31 - 15; }
  int64_t SumOfValues(int64_t i) const {
    int64_t sum = 0;
    for (int r = 0; r < n_; ++r) sum += Value(r, i);
    return sum;
  }
  int64_t MaxOfValues(int64_t i) const {
    int64_t largest = Value(0, i);
    for (int r = 1; r < n_; ++r) largest = std::max(largest, Value(r, i));
    return largest;
  }
  int64_t Sent(Traffic t) { return comm_.ledger().totals().sent_bytes[static_cast<int>(t)]; }

  template <class T>
  void AllReduce(int64_t size) {
    for (const ReduceOp op : {ReduceOp::kSum, ReduceOp::kMax}) {
      std::vector<T> data(size);
      for (int64_t i = 0; i < size; ++i) data[i] = static_cast<T>(Value(me_, i));
      const int64_t before = Sent(Traffic::kDenseGradients);
      ExpectOk(comm_.AllReduce<T>(data, op, Traffic::kDenseGradients), "all-reduce");
      const int64_t sent = Sent(Traffic::kDenseGradients) - before;
      for (int64_t i = 0; i < size; ++i) {
        const int64_t want = op == ReduceOp::kSum ? SumOfValues(i) : MaxOfValues(i);
        if (data[i] != static_cast<T>(want)) return Expect(false, fmt::format("all-reduce of {}, element {}", size, i));
      }
      // A rank passes on every part but one, twice.
      int64_t expected = 0;
      if (n_ > 1) {
        expected = 2 * size - PartRange(size, me_, n_).size() - PartRange(size, (me_ + 1) % n_, n_).size();
        expected *= static_cast<int64_t>(sizeof(T));
      }
      Expect(sent == expected, fmt::format("all-reduce of {} sent {} bytes, not {}", size, sent, expected));
    }
  }

  void AllReduceBf16(int64_t size) {
    std::vector<float> data(size);
    for (int64_t i = 0; i < size; ++i) data[i] = static_cast<float>(Value(me_, i)) + 0.001f;
    const int64_t before = Sent(Traffic::kDenseGradients);
    ExpectOk(comm_.AllReduce<float>(data, ReduceOp::kSum, Traffic::kDenseGradients, Wire::kBf16), "bf16 all-reduce");
    const int64_t sent = Sent(Traffic::kDenseGradients) - before;
    for (int64_t i = 0; i < size; ++i) {
      double magnitude = 0, sum = 0;
      for (int r = 0; r < n_; ++r) {
        magnitude += std::abs(Value(r, i) + 0.001);
        sum += Value(r, i) + 0.001;
      }
      const double bound = n_ == 1 ? 1e-5 : (magnitude + std::abs(sum)) / 256 + 1e-5;
      if (!(std::abs(data[i] - sum) <= bound))
        return Expect(false, fmt::format("bf16 all-reduce of {}, element {}: {} for {}", size, i, data[i], sum));
    }
    const int64_t mine = PartRange(size, me_, n_).size();
    int64_t expected = 0;
    if (n_ > 1) {
      expected = 2 * (size - mine);  // addends of the others' parts
      for (int s = 0; s < n_ - 1; ++s) expected += 2 * PartRange(size, (me_ - s + n_) % n_, n_).size();
    }
    Expect(sent == expected, fmt::format("bf16 all-reduce of {} sent {} bytes, not {}", size, sent, expected));
  }

  template <class T>
  void ScatterAndGather(int64_t size) {
    // Uneven parts: rank r gets size * (r + 1), rank 1 nothing at all.
    std::vector<int64_t> counts(n_);
    int64_t total = 0, begin = 0;
    for (int r = 0; r < n_; ++r) {
      counts[r] = r == 1 ? 0 : size * (r + 1) / n_;
      if (r < me_) begin += counts[r];
      total += counts[r];
    }
    std::vector<T> in(total), mine(counts[me_]), all(total);
    for (int64_t i = 0; i < total; ++i) in[i] = static_cast<T>(Value(me_, i));
    ExpectOk(comm_.ReduceScatter<T>(in, counts, mine, ReduceOp::kSum, Traffic::kPartials), "reduce-scatter");
    for (int64_t i = 0; i < counts[me_]; ++i)
      if (mine[i] != static_cast<T>(SumOfValues(begin + i))) return Expect(false, "reduce-scatter gives another sum");
    ExpectOk(comm_.AllGather<T>(mine, counts, all, Traffic::kPartials), "all-gather");
    for (int64_t i = 0; i < total; ++i)
      if (all[i] != static_cast<T>(SumOfValues(i))) return Expect(false, "all-gather gives another value");
  }

  void Broadcast(int64_t size) {
    for (int root = 0; root < n_; ++root) {
      std::vector<std::byte> data(size);
      if (me_ == root)
        for (int64_t i = 0; i < size; ++i) data[i] = static_cast<std::byte>(i + root);
      ExpectOk(comm_.Broadcast(data, root, Traffic::kControl), "broadcast");
      for (int64_t i = 0; i < size; ++i)
        if (data[i] != static_cast<std::byte>(i + root)) return Expect(false, "broadcast gives other bytes");
    }
  }

  void AllToAll(int64_t size) {
    std::vector<int64_t> counts(n_);
    for (int r = 0; r < n_; ++r) counts[r] = (me_ + 2 * r) % 3 == 0 ? 0 : size + me_ + r;
    auto given = comm_.ExchangeCounts(counts, Traffic::kInputKeys);
    ExpectOk(given.status(), "exchange of counts");
    if (!given.ok()) return;
    std::vector<std::vector<int32_t>> out(n_), in(n_);
    std::vector<std::span<const std::byte>> send;
    std::vector<std::span<std::byte>> receive;
    for (int r = 0; r < n_; ++r) {
      for (int64_t i = 0; i < counts[r]; ++i) out[r].push_back(static_cast<int32_t>(me_ * 1000003 + r * 1009 + i));
      in[r].resize(given.value()[r]);
      send.push_back(std::as_bytes(std::span(out[r])));
      receive.push_back(std::as_writable_bytes(std::span(in[r])));
    }
    ExpectOk(comm_.AllToAll(send, receive, Traffic::kRows), "all-to-all");
    for (int r = 0; r < n_; ++r)
      for (size_t i = 0; i < in[r].size(); ++i)
        if (in[r][i] != static_cast<int32_t>(r * 1000003 + me_ * 1009 + static_cast<int>(i)))
          return Expect(false, fmt::format("all-to-all: wrong element {} from rank {}", i, r));
  }

  void Messages(int64_t size) {
    // Of every length from nothing on; whoever receives knows none of them.
    const auto length = [&](int from, int to) { return (from + to) % 3 == 0 ? 0 : size + from + 2 * to; };
    const auto byte = [](int from, int to, int64_t i) { return static_cast<std::byte>(from * 31 + to * 7 + i); };
    std::vector<std::vector<std::byte>> out(n_);
    for (int r = 0; r < n_; ++r)
      for (int64_t i = 0; i < length(me_, r); ++i) out[r].push_back(byte(me_, r, i));
    std::vector<std::vector<std::byte>> in;
    ExpectOk(ExchangeMessages(&comm_, {out.begin(), out.end()}, Traffic::kControl, &in), "exchange of messages");
    for (int r = 0; r < n_; ++r) {
      bool equal = static_cast<int64_t>(in[r].size()) == length(r, me_);
      for (size_t i = 0; equal && i < in[r].size(); ++i) equal = in[r][i] == byte(r, me_, static_cast<int64_t>(i));
      Expect(equal, fmt::format("exchange of messages: another message from rank {}", r));
    }
  }

  // Several operations in flight; a blocking one waits for them.
  void Started() {
    std::vector<std::vector<float>> data(5, std::vector<float>(1000, static_cast<float>(me_ + 1)));
    std::vector<Handle> handles;
    for (auto& buffer : data) {
      handles.push_back(comm_.Start(
          [this, &buffer] { return comm_.AllReduce<float>(buffer, ReduceOp::kSum, Traffic::kDenseGradients); }));
    }
    ExpectOk(comm_.Barrier(), "barrier after started operations");
    for (const auto& handle : handles) ExpectOk(Communicator::Wait(handle), "started operation");
    for (const auto& buffer : data)
      Expect(buffer[999] == static_cast<float>(n_ * (n_ + 1) / 2), "started all-reduce gives another sum");
  }

  void Groups() {
    auto group = comm_.Split(me_ % 2);
    ExpectOk(group.status(), "split");
    if (!group.ok()) return;
    std::vector<int64_t> data = {me_, 1};
    ExpectOk(group.value()->AllReduce<int64_t>(data, ReduceOp::kSum, Traffic::kControl), "all-reduce in a group");
    int64_t sum = 0, members = 0;
    for (int r = me_ % 2; r < n_; r += 2) {
      sum += r;
      ++members;
    }
    Expect(data[0] == sum && data[1] == members && group.value()->size() == members,
           "groups are not the ranks of a color");
  }

  Communicator& comm_;
  int n_, me_;
  std::string failures_;
};

}  // namespace sluice::comm
