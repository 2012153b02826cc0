#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "comm/communicator.h"
#include "comm/heartbeat.h"
#include "comm/transport.h"

namespace sluice::placement {

// The ranks of one run as one of them sees them: a communicator for each purpose, so that stages that overlap never
// share one, and a ledger for all. The rank 0 leads: it alone prints, and owns the run folder.
// Threads      each communicator serves one thread at a time; the functions here use control().
// Distributed  Make and every function are collective.
// Errors       kUnavailable naming the silent rank.
class Ranks {
 public:
  static Result<std::unique_ptr<Ranks>> Make(std::unique_ptr<comm::Transport> transport,
                                             std::chrono::milliseconds timeout);
  // For ranks that are processes: from now on calls `on_lost` once, on another thread, when a rank was not heard of for
  // the timeout or left with a failure of its own.
  void WatchPeers(comm::Heartbeat::OnLost on_lost);
  // This rank is about to leave because of `status`: tells the others, unless an agreement told them already or all
  // leave alike (kCancelled). Returns what to report: the group's first failure, naming its rank, where ranks are
  // threads. Where they are processes and `status` is a lost peer, on_lost comes first if it has a better explanation.
  Status Leave(const Status& status);
  // `status` is known to be that of every rank, as Agree's is.
  Status LeaveTogether(const Status& status) {
    agreed_ = agreed_ || !status.ok();
    return status;
  }

  int rank() const { return control_->rank(); }
  int size() const { return control_->size(); }
  bool leads() const { return rank() == 0; }
  comm::Communicator& control() { return *control_; }  // agreement, evaluation's metrics, checkpoints
  comm::Communicator& worker() { return *worker_; }    // values: partials, rows, gradients
  comm::Communicator& host() { return *host_; }        // keys of the next batches
  comm::Communicator& dense() { return *dense_; }      // gradients of the dense net, while the worker computes
  comm::Ledger& ledger() { return control_->ledger(); }

  // What the leader has, a text or a failure, on every rank.
  Result<std::string> Share(const Result<std::string>& leaders);
  // The texts of all ranks, on every rank.
  Result<std::vector<std::string>> Collect(const std::string& mine);
  // The same on the leader alone; empty texts on the others.
  Result<std::vector<std::string>> Gather(const std::string& mine);
  // Ok where it is on every rank; else, on every rank, the first failure in rank order that is not a lost peer, naming
  // the rank.
  Status Agree(const Status& mine);

 private:
  Ranks() = default;
  // `to[r]`: whether rank r is sent this rank's text.
  Result<std::vector<std::string>> Exchange(const std::string& mine, const std::vector<uint8_t>& to);

  std::unique_ptr<comm::Transport> heartbeat_transport_;
  std::unique_ptr<comm::Communicator> control_, worker_, host_, dense_;
  std::unique_ptr<comm::Heartbeat> heartbeat_;
  bool agreed_ = false;  // every rank knows why it leaves
};

}  // namespace sluice::placement
