#include "service/leases.h"

#include <algorithm>

#include <nlohmann/json.hpp>

namespace sluice::service {

using Json = nlohmann::json;

Status LeaseBook::Offer(const InputPlan& plan) {
  if (plan.ranges < 1 || plan.ranges > kMaxRanges || plan.epochs < 1 || plan.epochs > (int64_t{1} << 31))
    return InvalidArgument("the input is offered as {} ranges and {} epochs", plan.ranges, plan.epochs);
  if (settled()) {
    if (plan.ranges != plan_.ranges || plan.epochs != plan_.epochs || plan.fingerprint != plan_.fingerprint)
      return InvalidArgument(
          "the input is not that of the other workers: {} ranges, {} epochs, fingerprint {:x}; theirs has "
          "{}, {}, {:x}",
          plan.ranges, plan.epochs, plan.fingerprint, plan_.ranges, plan_.epochs, plan_.fingerprint);
    return Status::Ok();
  }
  plan_ = plan;
  StartEpoch();
  return Status::Ok();
}

void LeaseBook::StartEpoch() {
  ranges_.assign(static_cast<size_t>(plan_.ranges), {});
  done_in_epoch_ = 0;
  first_free_ = 0;
}

Result<LeaseReply> LeaseBook::Acquire(uint64_t client, std::span<const int64_t> held) {
  if (!settled()) return InvalidArgument("no worker has said what the input is");
  if (epoch_ >= plan_.epochs) return LeaseReply{};
  const auto lend = [&](int64_t r) {
    RangeState& range = ranges_[static_cast<size_t>(r)];
    range.holder = client;
    return LeaseReply{LeaseState::kGranted, {epoch_ * plan_.ranges + r, epoch_, r, range.samples}};
  };
  // Ranges are lent in order, so those that are held lie before the first that never was, or were returned.
  int64_t free = -1;
  for (int64_t r = first_free_; r < plan_.ranges; ++r) {
    const RangeState& range = ranges_[static_cast<size_t>(r)];
    if (range.done) {
      if (r == first_free_) ++first_free_;
      continue;
    }
    if (range.holder == client && std::find(held.begin(), held.end(), epoch_ * plan_.ranges + r) == held.end())
      return lend(r);
    if (range.holder == kNobody) {
      free = r;
      break;
    }
  }
  if (free >= 0) return lend(free);
  return LeaseReply{LeaseState::kWait, {}};
}

Status LeaseBook::Find(uint64_t client, int64_t lease, RangeState** range) {
  *range = nullptr;
  if (!settled() || lease < 0 || lease >= plan_.ranges * plan_.epochs)
    return InvalidArgument("there is no lease {}", lease);
  const int64_t epoch = lease / plan_.ranges;
  if (epoch < epoch_) return Status::Ok();
  if (epoch > epoch_) return InvalidArgument("lease {} is of epoch {}, and epoch {} is not done", lease, epoch, epoch_);
  RangeState& found = ranges_[static_cast<size_t>(lease % plan_.ranges)];
  if (!found.done && found.holder != client && found.holder != kNobody)
    return InvalidArgument("lease {} was lent to another worker when this one was taken for lost", lease);
  *range = &found;
  return Status::Ok();
}

Status LeaseBook::Advance(uint64_t client, const LeaseShares& shares) {
  std::array<RangeState*, kMaxLeaseShares> ranges{};
  for (size_t i = 0; i < shares.size(); ++i)
    if (shares[i].lease >= 0) SLUICE_RETURN_IF_ERROR(Find(client, shares[i].lease, &ranges[i]));
  for (size_t i = 0; i < shares.size(); ++i) {
    if (shares[i].lease < 0) continue;
    RangeState* const range = ranges[i];
    if (range == nullptr || range->done) {
      const auto owed = owed_.find(client);
      if (owed != owed_.end() && (owed->second -= shares[i].samples) <= 0) owed_.erase(owed);
      continue;
    }
    range->holder = client;
    range->samples += shares[i].samples;
  }
  return Status::Ok();
}

Status LeaseBook::Finish(uint64_t client, int64_t lease) {
  RangeState* range = nullptr;
  SLUICE_RETURN_IF_ERROR(Find(client, lease, &range));
  if (range != nullptr && !range->done) End(range);
  return Status::Ok();
}

void LeaseBook::End(RangeState* range) {
  range->done = true;
  range->holder = kNobody;
  finished_samples_ += range->samples;
  if (++done_in_epoch_ < plan_.ranges) return;
  ++epoch_;
  StartEpoch();
}

std::vector<Lease> LeaseBook::Return(uint64_t client) {
  std::vector<Lease> leases;
  for (size_t r = 0; r < ranges_.size(); ++r) {
    if (ranges_[r].holder != client) continue;
    const auto range = static_cast<int64_t>(r);
    leases.push_back({epoch_ * plan_.ranges + range, epoch_, range, ranges_[r].samples});
    ranges_[r].holder = kNobody;
    first_free_ = std::min(first_free_, range);
  }
  return leases;
}

int64_t LeaseBook::OwedBy(uint64_t client) const {
  const auto found = owed_.find(client);
  return found != owed_.end() ? found->second : 0;
}

void LeaseBook::ReturnAll() {
  for (RangeState& range : ranges_) range.holder = kNobody;
  first_free_ = 0;
  owed_.clear();
}

int64_t LeaseBook::SamplesOf(int64_t lease) const {
  if (!settled() || lease < 0 || lease / plan_.ranges != epoch_) return 0;
  return ranges_[static_cast<size_t>(lease % plan_.ranges)].samples;
}

int64_t LeaseBook::claimed_samples() const {
  int64_t samples = finished_samples_;
  for (const RangeState& range : ranges_)
    if (!range.done) samples += range.samples;
  return samples;
}

LeaseBook::RangeState* LeaseBook::Unfinished(int64_t lease) {
  if (!settled() || lease < 0 || epoch_ >= plan_.epochs || lease / plan_.ranges != epoch_) return nullptr;
  RangeState& range = ranges_[static_cast<size_t>(lease % plan_.ranges)];
  return range.done ? nullptr : &range;
}

void LeaseBook::RecoverLent(int64_t lease, uint64_t client) {
  if (RangeState* const range = Unfinished(lease); range != nullptr) range->holder = client;
}

void LeaseBook::RecoverFinished(int64_t lease, int64_t samples) {
  RangeState* const range = Unfinished(lease);
  if (range == nullptr) return;
  if (samples > range->samples && range->holder != kNobody) owed_[range->holder] += samples - range->samples;
  range->samples = std::max(range->samples, samples);
  End(range);
}

void LeaseBook::RecoverReturned(int64_t lease, int64_t samples) {
  RangeState* const range = Unfinished(lease);
  if (range == nullptr) return;
  range->samples = std::max(range->samples, samples);
  range->holder = kNobody;
  first_free_ = std::min(first_free_, lease % plan_.ranges);
}

std::string LeaseBook::ToJson() const {
  Json json = {{"ranges", plan_.ranges},
               {"epochs", plan_.epochs},
               {"fingerprint", plan_.fingerprint},
               {"epoch", epoch_},
               {"finished_samples", finished_samples_}};
  Json& begun = json["begun"] = Json::array();  // [range, samples, holder, done] of those that are not as new
  for (size_t r = 0; r < ranges_.size(); ++r) {
    const RangeState& range = ranges_[r];
    if (range.holder != kNobody || range.samples > 0 || range.done)
      begun.push_back({static_cast<int64_t>(r), range.samples, range.holder, range.done});
  }
  return json.dump();
}

Result<LeaseBook> LeaseBook::FromJson(const std::string& text) {
  LeaseBook book;
  try {
    const Json json = Json::parse(text);
    book.plan_ = {json.at("ranges"), json.at("epochs"), json.at("fingerprint")};
    book.epoch_ = json.at("epoch");
    book.finished_samples_ = json.at("finished_samples");
    if (book.plan_.ranges < 0 || book.plan_.ranges > kMaxRanges || book.epoch_ < 0 || book.epoch_ > book.plan_.epochs)
      return DataLoss("leases: {} ranges, epoch {} of {}", book.plan_.ranges, book.epoch_, book.plan_.epochs);
    book.StartEpoch();
    for (const Json& entry : json.at("begun")) {
      const int64_t r = entry.at(0);
      if (r < 0 || r >= book.plan_.ranges) return DataLoss("leases: there is no range {}", r);
      RangeState& range = book.ranges_[static_cast<size_t>(r)];
      range = {entry.at(2), entry.at(1), entry.at(3)};
      book.done_in_epoch_ += range.done;
    }
  } catch (const Json::exception& error) {
    return DataLoss("leases: {}", error.what());
  }
  return book;
}

}  // namespace sluice::service
