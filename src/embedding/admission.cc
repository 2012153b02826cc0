#include "embedding/admission.h"

#include <algorithm>
#include <cstring>
#include <tuple>

#include "base/rng.h"
#include "embedding/table.h"
#include "optim/update_rule.h"

namespace sluice::embedding {
namespace {

constexpr int kPeriodsPerWindow = 8;
constexpr int64_t kDefaultPeriodSteps = 256;

int64_t PeriodSteps(const Admission& admission) {
  return admission.window_steps == 0 ? kDefaultPeriodSteps
                                     : std::max<int64_t>(1, admission.window_steps / kPeriodsPerWindow);
}

}  // namespace

Result<Admission> Admission::Make(const AdmissionConfig& config) {
  Admission out;
  if (config.kind == "count") {
    out.kind = AdmissionKind::kCount;
  } else if (config.kind == "probability") {
    out.kind = AdmissionKind::kProbability;
  } else if (config.kind != "none") {
    return InvalidArgument("admission.kind: '{}' is not one of none, count, probability", config.kind);
  }
  if (config.count < 1 || config.count > 65535)
    return InvalidArgument("admission.count: {} is outside [1, 65535]", config.count);
  if (!(config.probability >= 0 && config.probability <= 1))
    return InvalidArgument("admission.probability: {} is outside [0, 1]", config.probability);
  if (config.window_steps < 0) return InvalidArgument("admission.window_steps: {} is negative", config.window_steps);
  if (config.candidates < 1) return InvalidArgument("admission.candidates: {} is below 1", config.candidates);
  out.count = static_cast<uint32_t>(config.count);
  out.probability = config.probability;
  out.window_steps = config.window_steps;
  const int64_t keys_per_set = int64_t{kNumShards} * CandidateCounts::kWays;
  out.sets_per_shard = static_cast<uint32_t>((config.candidates + keys_per_set - 1) / keys_per_set);
  return out;
}

bool AdmittedByChance(double probability, uint64_t seed, Key key, int64_t step, uint32_t sightings) {
  // At least one of the sightings: 1 - (1 - p)^sightings.
  const double missed = optim::IntegerPower(1 - probability, sightings);
  return CounterRng(MixPair(seed, 0xad317), key).Uniform(static_cast<uint64_t>(step)) >= missed;
}

uint32_t CandidateCounts::Add(const Admission& admission, uint64_t hash, int64_t step, uint32_t sightings) {
  if (sets_.empty()) sets_.resize(admission.sets_per_shard);
  // Bits 22 to 53 choose the set and, mixed with the low ones, make the fingerprint.
  const auto set_index = static_cast<uint32_t>(((hash >> 22 & 0xffffffffu) * sets_.size()) >> 32);
  const auto fingerprint = static_cast<uint32_t>(Mix64(hash));
  const auto period = static_cast<uint16_t>(step / PeriodSteps(admission));
  const auto age = [period](const Candidate& c) { return static_cast<uint16_t>(period - c.period); };

  Candidate* const begin = sets_[set_index].ways;
  Candidate* const end = begin + kWays;
  if (admission.window_steps > 0)
    for (Candidate* c = begin; c != end; ++c)
      if (age(*c) > kPeriodsPerWindow) c->count = 0;

  Candidate* found = std::find_if(begin, end, [&](const Candidate& c) {
    return c.count > 0 && c.fingerprint == fingerprint;
  });
  if (found == end) {
    found = std::min_element(begin, end, [&](const Candidate& a, const Candidate& b) {
      return std::tuple(a.count, -int{age(a)}, a.fingerprint) < std::tuple(b.count, -int{age(b)}, b.fingerprint);
    });
    *found = {fingerprint, 0, period};
  }
  const uint32_t total = found->count + std::min(sightings, 65535u);
  found->period = period;
  found->count = static_cast<uint16_t>(total >= admission.count ? 0 : total);
  return total;
}

bool CandidateCounts::Restore(const Admission& admission, std::span<const std::byte> state) {
  sets_.clear();
  if (state.empty()) return true;
  if (state.size() != admission.sets_per_shard * sizeof(Set)) return false;
  sets_.resize(admission.sets_per_shard);
  std::memcpy(static_cast<void*>(sets_.data()), state.data(), state.size());
  return true;
}

}  // namespace sluice::embedding
