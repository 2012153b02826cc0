#include "train/leased_source.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/hash.h"
#include "data/batch_ops.h"
#include "placement/strategy.h"

namespace sluice::train {
namespace {

// Stretches of about this many batches: few enough that workers end an epoch together, and that a lost worker's is soon
// made up for.
constexpr int64_t kBatchesPerStretch = 3;
constexpr int64_t kTypicalSampleBytes = 256;
constexpr auto kPollInterval = std::chrono::milliseconds(20);
// ps-sync: so long another worker may take to say that its range is done before this one's clock goes on without
// samples.
constexpr auto kIdleAfter = std::chrono::seconds(5);

}  // namespace

LeasedSource::LeasedSource(const RunConfig& config, const data::FittedFeatures& features)
    : config_(config),
      features_(features),
      schema_(features.MakeSchema()),
      shares_(placement::StalenessBound(config.strategy) == 0),
      has_clocks_(placement::StalenessBound(config.strategy) >= 0) {}

Result<std::unique_ptr<LeasedSource>> LeasedSource::Make(const RunConfig& config,
                                                         const data::FittedFeatures& features) {
  std::unique_ptr<LeasedSource> source(new LeasedSource(config, features));
  SLUICE_ASSIGN_OR_RETURN(const int64_t size, data::InputSize(config.data, features));
  service::InputPlan& plan = source->plan_;
  plan.epochs = config.train.epochs;
  if (source->shares_) {
    plan.ranges = config.strategy.workers;
  } else {
    const int64_t sample = features.format == "packed" ? 1 : kTypicalSampleBytes;
    const int64_t stretch = std::max<int64_t>(1, kBatchesPerStretch * config.train.batch_size * sample);
    // At least a few for each worker; never smaller than what is parsed at a time.
    const int64_t wanted = std::max(size / stretch, 4 * config.strategy.workers);
    plan.ranges = std::clamp<int64_t>(wanted, 1, std::max<int64_t>(1, std::min<int64_t>(size, 1 << 20)));
  }
  const data::DataConfig& data = config.data;
  std::string text = fmt::format("{} {} {} {} {} {} {} {}", source->shares_, plan.ranges, size, config.train.batch_size,
                                 data.shuffle_window, data.negative_keep_rate, data.split.kind, config.seed);
  for (const auto& file : data.train) text += "\n" + file;
  plan.fingerprint = HashBytes(text + features.Save());
  return source;
}

Status LeasedSource::Seek(const std::string& position) {
  return InvalidArgument("workers of a parameter service go on with what the coordinator lends them");
}

Status LeasedSource::Finish(const service::Lease& lease) {
  SLUICE_RETURN_IF_ERROR(calls_.finish(lease));
  {
    std::lock_guard lock(mutex_);
    std::erase(unfinished_, lease.id);
  }
  changed_.notify_all();
  return Status::Ok();
}

void LeasedSource::Stop() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
}

// kNone: nothing is left, or Stop; or nothing at once, and not to `wait`.
Result<LeasedSource::Acquired> LeasedSource::Acquire(bool wait) {
  // Shares: the next one is of the next epoch.
  const size_t most = shares_ ? 1 : service::kMaxHeldLeases;
  auto begin = std::chrono::steady_clock::now();
  for (;;) {
    std::vector<int64_t> held;
    {
      std::unique_lock lock(mutex_);
      const auto may_ask = [&] { return stop_ || unfinished_.size() < most; };
      if (wait) changed_.wait(lock, may_ask);
      if (stop_ || !may_ask()) return Acquired::kNone;
      held = unfinished_;
    }
    SLUICE_ASSIGN_OR_RETURN(const service::LeaseReply reply, calls_.acquire(held));
    if (reply.state == service::LeaseState::kFinished) return Acquired::kNone;
    if (reply.state == service::LeaseState::kGranted) {
      lease_ = reply.lease;
      skip_ = lease_.done;
      idle_ = false;
      std::lock_guard lock(mutex_);
      unfinished_.push_back(lease_.id);
      return Acquired::kLease;
    }
    if (!wait) return Acquired::kNone;
    {
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, kPollInterval, [&] { return stop_ || unfinished_.size() < held.size(); });
      if (stop_) return Acquired::kNone;
    }
    if (!held.empty()) {  // batches of this worker are on their way, and with them its clock
      begin = std::chrono::steady_clock::now();
      continue;
    }
    idle_ = idle_ || !shares_ || reply.state == service::LeaseState::kAwaited ||
            std::chrono::steady_clock::now() - begin > kIdleAfter;
    if (has_clocks_ && idle_) return Acquired::kIdle;
  }
}

void LeasedSource::CountOpened() {
  if (source_ == nullptr) return;
  const data::SourceStats now = source_->stats();
  stats_.bytes += now.bytes - opened_.bytes;
  stats_.skipped_lines += now.skipped_lines - opened_.skipped_lines;
  stats_.dropped_negatives += now.dropped_negatives - opened_.dropped_negatives;
  opened_ = now;
}

Status LeasedSource::OpenLease() {
  data::OpenOptions open;
  open.purpose = data::Purpose::kTrain;
  open.batch_size = config_.train.batch_size;
  open.seed = static_cast<uint64_t>(config_.seed);
  open.num_reader_threads = static_cast<int>(config_.data.reader_threads);
  if (shares_) {
    // The stream goes on through the epochs, so that its order is that of one process.
    if (source_ != nullptr && share_ == lease_.range) return Status::Ok();
    open.batch_size *= config_.strategy.workers;
    open.epochs = config_.train.epochs;
    open.slice = {static_cast<int>(lease_.range), static_cast<int>(config_.strategy.workers)};
    share_ = lease_.range;
    has_next_epoch_ = false;
  } else {
    const int64_t at = lease_.epoch * plan_.ranges + lease_.range;
    if (search_ == nullptr) search_ = std::make_shared<data::RangeSearch>();
    if (at < last_range_ || lease_.epoch != last_range_ / plan_.ranges) search_->place = {};
    last_range_ = at;
    open.range = {lease_.range, plan_.ranges, lease_.epoch, search_};
  }
  opened_ = {};
  SLUICE_ASSIGN_OR_RETURN(source_, data::OpenSource(config_.data, features_, open));
  return Status::Ok();
}

Result<bool> LeasedSource::ReadOne() {
  for (;;) {
    if (!std::exchange(has_next_epoch_, false)) {
      SLUICE_ASSIGN_OR_RETURN(const bool more, source_->Next(&ahead_));
      CountOpened();
      if (!more) return false;
    }
    if (!shares_) {
      ahead_.epoch = lease_.epoch;
      return true;
    }
    if (ahead_.epoch == lease_.epoch) return true;
    if (ahead_.epoch > lease_.epoch) {
      has_next_epoch_ = true;
      return false;
    }
  }
}

Status LeasedSource::ReadAhead() {
  has_ahead_ = false;
  at_ = 0;
  for (;;) {
    SLUICE_ASSIGN_OR_RETURN(const bool more, ReadOne());
    if (!more) return Status::Ok();
    if (skip_ > 0 && ahead_.size <= skip_) {
      skip_ -= ahead_.size;
      continue;
    }
    at_ = std::exchange(skip_, 0);
    has_ahead_ = true;
    return Status::Ok();
  }
}

// Samples of the lease: what is read, or what the batch lacks of it.
Status LeasedSource::Take(data::Batch* batch) {
  const int64_t size = ahead_.size, left = size - at_;
  const int64_t taken = shares_ ? left : std::min(left, config_.train.batch_size - batch->size);
  if (taken == size && leases_.empty()) {
    std::swap(*batch, ahead_);
  } else {
    if (leases_.empty()) {
      batch->first_sample = ahead_.first_sample + at_;
      batch->epoch = ahead_.epoch;
      batch->global_size = ahead_.global_size;
    }
    data::AppendRows(ahead_, at_, at_ + taken, batch);
  }
  if (!shares_) batch->global_size = batch->size;
  if (leases_.empty() || leases_.back().lease.id != lease_.id) leases_.push_back({lease_, 0, false});
  leases_.back().samples += taken;
  at_ += taken;
  if (at_ < size) return Status::Ok();
  SLUICE_RETURN_IF_ERROR(ReadAhead());
  has_lease_ = has_ahead_;
  leases_.back().ends = !has_lease_;
  return Status::Ok();
}

Result<bool> LeasedSource::Next(data::Batch* batch) {
  data::ResetBatch(schema_, batch);
  leases_.clear();
  for (;;) {
    if (has_lease_) {
      SLUICE_RETURN_IF_ERROR(Take(batch));
      const bool may_grow = !shares_ && batch->size < config_.train.batch_size;
      if (may_grow && (has_lease_ || leases_.size() < service::kMaxLeaseShares)) continue;
      break;
    }
    SLUICE_ASSIGN_OR_RETURN(const Acquired acquired, Acquire(leases_.empty()));
    if (acquired == Acquired::kLease) {
      SLUICE_RETURN_IF_ERROR(OpenLease());
      SLUICE_RETURN_IF_ERROR(ReadAhead());
      has_lease_ = has_ahead_;
      if (!has_lease_) SLUICE_RETURN_IF_ERROR(Finish(lease_));
      continue;
    }
    if (!leases_.empty()) break;
    if (acquired == Acquired::kNone) return false;
    for (size_t f = 0; f < schema_.fields.size(); ++f)
      if (!schema_.fields[f].one_hot) batch->fields[f].offsets.assign(1, 0);
    break;
  }
  stats_.samples += batch->size;
  return true;
}

}  // namespace sluice::train
