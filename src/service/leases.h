#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "service/parameter_client.h"

namespace sluice::service {

// Who trains on which stretch of the input: ranges are lent in order, epoch after epoch; a lost worker's come back
// with the number of samples that it had pushed, so that the next one goes on after them.
// Semantics    a range is finished when its holder says so. An epoch begins when every range of the one before is
//              done.
// Threads      the owner locks.
class LeaseBook {
 public:
  // Settles the input, or checks that `plan` is the one settled. Errors: kInvalidArgument naming what differs.
  Status Offer(const InputPlan& plan);
  // `held`: leases that the worker knows to be its own. A range that it holds beyond them it gets again: its process
  // lost the answer. Errors: kInvalidArgument before any Offer.
  Result<LeaseReply> Acquire(uint64_t client, std::span<const int64_t> held);
  // Samples of leases were trained on; all of the shares are counted or none. A range that nobody holds becomes the
  // client's: the book may be that of an older checkpoint. So pushes of a finished lease may come once more, and change
  // nothing. Errors: kInvalidArgument where another worker holds it, or there is no such lease.
  Status Advance(uint64_t client, const LeaseShares& shares);
  // Errors: as Advance. A lease that is finished already may be finished again.
  Status Finish(uint64_t client, int64_t lease);
  // The client is gone. Its leases, `done` being what it had pushed of them.
  std::vector<Lease> Return(uint64_t client);

  int64_t finished_ranges() const { return epoch_ * plan_.ranges + done_in_epoch_; }
  const InputPlan& plan() const { return plan_; }
  int64_t SamplesOf(int64_t lease) const;
  // Samples that were pushed of all ranges, finished or begun, according to those who pushed them.
  int64_t claimed_samples() const;
  // Samples of ranges that the client had finished after the checkpoint that this book is of, and whose pushes it has
  // not sent again: 0 where no server was restarted.
  int64_t OwedBy(uint64_t client) const;
  bool anyone_owes() const { return !owed_.empty(); }
  // It will not send them.
  void Forgive(uint64_t client) { owed_.erase(client); }
  // Nobody holds a range any more.
  void ReturnAll();

  // What became of leases after the checkpoint that this book is of: in the order in which it happened, from any time
  // before the checkpoint on. Leases of finished ranges and of earlier epochs are passed over.
  void RecoverLent(int64_t lease, uint64_t client);
  void RecoverFinished(int64_t lease, int64_t samples);
  void RecoverReturned(int64_t lease, int64_t samples);

  std::string ToJson() const;
  static Result<LeaseBook> FromJson(const std::string& text);

 private:
  static constexpr uint64_t kNobody = 0;
  static constexpr int64_t kMaxRanges = int64_t{1} << 24;
  struct RangeState {
    uint64_t holder = kNobody;
    int64_t samples = 0;  // pushed so far
    bool done = false;
  };
  bool settled() const { return plan_.ranges > 0; }
  void StartEpoch();
  RangeState* Unfinished(int64_t lease);  // null where it is none of this epoch's
  void End(RangeState* range);
  Status Find(uint64_t client, int64_t lease, RangeState** range);

  InputPlan plan_;
  int64_t epoch_ = 0;
  int64_t done_in_epoch_ = 0;
  int64_t finished_samples_ = 0;      // of the ranges that are done
  int64_t first_free_ = 0;            // no free range before it
  std::vector<RangeState> ranges_;    // of the epoch
  std::map<uint64_t, int64_t> owed_;  // by client, > 0
};

}  // namespace sluice::service
