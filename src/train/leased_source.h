#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "data/features.h"
#include "data/open.h"
#include "data/source.h"
#include "service/parameter_client.h"
#include "train/config.h"
#include "train/working_set.h"

namespace sluice::train {

// The coordinator's part of a ParameterClient, as the input needs it.
struct LeaseCalls {
  std::function<Result<service::LeaseReply>(std::span<const int64_t> held)> acquire;
  std::function<Status(const service::Lease&)> finish;
};

// The training data as one of several workers of a parameter service sees it: whatever part of it the coordinator
// lends. docs/algorithms/parameter-service.md.
// Semantics    shares (preset ps-sync): range r of an epoch is worker r's slice of every joined batch, which is what
//              one process with the joined batch size would train on; slices may be empty. Stretches (otherwise):
//              range r is one of many stretches of the files; a batch that the end of one leaves short is filled
//              from the next one, if there is one to be had at once. Where clocks bind workers to one another (a bound
//              of staleness) and all ranges are lent to others, empty batches without a lease keep this worker's clock
//              going. The first `done` samples of a lease, which a worker that is lost had
//              pushed, are read and left out.
// Threads      as BatchSource; Finish and Stop from any.
// Errors       those of the data and of the calls.
class LeasedSource : public data::BatchSource {
 public:
  static Result<std::unique_ptr<LeasedSource>> Make(const RunConfig& config, const data::FittedFeatures& features);
  // Before the first Next.
  void set_calls(LeaseCalls calls) { calls_ = std::move(calls); }

  // What to offer to the coordinator.
  const service::InputPlan& plan() const { return plan_; }
  // Of the last batch: the leases that its samples are of. Whoever has pushed it then calls Finish for those that end.
  // Leases without samples are finished here.
  const std::vector<LeasedPart>& leases() const { return leases_; }
  Status Finish(const service::Lease& lease);
  // Makes a Next that waits return without a batch.
  void Stop();

  const data::Schema& schema() const override { return schema_; }
  Result<bool> Next(data::Batch* batch) override;
  std::string position() const override { return {}; }
  Status Seek(const std::string& position) override;
  data::SourceStats stats() const override { return stats_; }

 private:
  LeasedSource(const RunConfig& config, const data::FittedFeatures& features);
  enum class Acquired { kLease, kIdle, kNone };
  Result<Acquired> Acquire(bool wait);
  Status OpenLease();
  Status Take(data::Batch* batch);
  Status ReadAhead();      // fills ahead_, has_ahead_
  Result<bool> ReadOne();  // the next batch of the lease into ahead_, skipped samples included
  void CountOpened();

  RunConfig config_;
  data::FittedFeatures features_;
  data::Schema schema_;
  bool shares_, has_clocks_;
  service::InputPlan plan_;
  LeaseCalls calls_;
  std::unique_ptr<data::BatchSource> source_;  // shares: of all epochs; else: of the lease
  int64_t share_ = -1;                         // that source_ was opened for
  bool has_next_epoch_ = false;                // shares: ahead_ already belongs to the epoch after the lease's
  std::shared_ptr<data::RangeSearch> search_;
  int64_t last_range_ = -1;  // of search_
  service::Lease lease_;
  std::vector<LeasedPart> leases_;
  bool has_lease_ = false, idle_ = false;
  int64_t skip_ = 0;  // samples of the lease to leave out
  data::Batch ahead_;
  int64_t at_ = 0;  // first sample of ahead_ that was not handed out
  bool has_ahead_ = false;
  data::SourceStats stats_, opened_;  // all, and of the source that is open

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<int64_t> unfinished_;  // leases that were granted
  bool stop_ = false;
};

}  // namespace sluice::train
