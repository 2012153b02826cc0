#include "metric/evaluator.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <utility>

#include "metric/auc.h"
#include "metric/logistic_kernels.h"

namespace sluice::metric {
namespace {

constexpr int64_t kBlock = 1024;
constexpr double kClip = 1e-15;

double CrossEntropy(double p, double y) {
  const double q = std::clamp(p, kClip, 1 - kClip);
  return -(y * std::log(q) + (1 - y) * std::log1p(-q));
}

double Entropy(double p) { return p > 0 && p < 1 ? -(p * std::log(p) + (1 - p) * std::log1p(-p)) : 0.0; }

std::string DefaultFolder() {
  std::error_code error;
  const auto folder = std::filesystem::temp_directory_path(error);
  return error ? "/tmp" : folder.string();
}

}  // namespace

// One label of up to kBlock consecutive samples.
struct Evaluator::Block {
  int64_t size = 0;
  int label = 0;
  const float* scores = nullptr;
  const float* labels = nullptr;
  const float* weights = nullptr;
  const uint64_t* groups = nullptr;
};

struct Evaluator::Scratch {
  Scratch() { std::fill_n(ones, kBlock, 1.0f); }

  float scores[kBlock], labels[kBlock], ones[kBlock];
  double prediction[kBlock], loss[kBlock];
  ScoreRecord records[2 * kBlock + 1];
  int32_t source[2 * kBlock + 1];  // sample of a record
};

Evaluator::Evaluator(const EvaluatorOptions& options) : options_(options), scratch_(std::make_unique<Scratch>()) {
  SLUICE_CHECK(options.num_labels >= 1, "{} labels", options.num_labels);
  if (options_.spill_folder.empty()) options_.spill_folder = DefaultFolder();
  for (int i = 0; i < options_.num_labels; ++i) labels_.push_back(MakeLabel());
}

Evaluator::~Evaluator() = default;
Evaluator::Evaluator(Evaluator&&) noexcept = default;
Evaluator& Evaluator::operator=(Evaluator&&) noexcept = default;

Evaluator::Label Evaluator::MakeLabel() const {
  return {{},
          ExternalSorter<ScoreRecord>(options_.max_in_memory, options_.spill_folder),
          ExternalSorter<GroupRecord>(options_.max_in_memory, options_.spill_folder)};
}

Status Evaluator::Add(const Scored& samples) {
  const auto n = static_cast<int64_t>(samples.labels.size()) / options_.num_labels;
  SLUICE_CHECK(samples.scores.size() == samples.labels.size(), "{} scores, {} labels", samples.scores.size(),
               samples.labels.size());
  SLUICE_CHECK(samples.weights.empty() || static_cast<int64_t>(samples.weights.size()) == n, "{} weights for {} samples",
               samples.weights.size(), n);
  SLUICE_CHECK(!options_.grouped || static_cast<int64_t>(samples.groups.size()) == n, "{} groups for {} samples",
               samples.groups.size(), n);
  const int64_t labels = options_.num_labels;
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t size = std::min(n - begin, kBlock);
    Block block{.size = size, .scores = &samples.scores[begin * labels], .labels = &samples.labels[begin * labels],
                .weights = samples.weights.empty() ? scratch_->ones : &samples.weights[begin],
                .groups = options_.grouped ? &samples.groups[begin] : nullptr};
    for (; block.label < labels; ++block.label) {
      if (labels > 1) {  // one column at a time
        for (int64_t i = 0; i < size; ++i) {
          scratch_->scores[i] = samples.scores[(begin + i) * labels + block.label];
          scratch_->labels[i] = samples.labels[(begin + i) * labels + block.label];
        }
        block.scores = scratch_->scores;
        block.labels = scratch_->labels;
      }
      SLUICE_RETURN_IF_ERROR(AddBlock(block));
    }
    samples_ += size;
  }
  return Status::Ok();
}

Status Evaluator::CheckBlock(const Block& block) const {
  const bool ranked = options_.scores != ScoreKind::kValue;
  for (int64_t i = 0; i < block.size; ++i) {
    const float score = block.scores[i], label = block.labels[i], weight = block.weights[i];
    if (!std::isfinite(score))
      return NumericError("the score of sample {}, label {}, is {}", samples_ + i, block.label, score);
    if (!(weight >= 0) || std::isinf(weight)) return InvalidArgument("the weight of sample {} is {}", samples_ + i, weight);
    if (ranked ? !(label >= 0 && label <= 1) : !std::isfinite(label))
      return InvalidArgument("label {} of sample {} is {}", block.label, samples_ + i, label);
    if (options_.scores == ScoreKind::kProbability && !(score >= 0 && score <= 1))
      return InvalidArgument("the score of sample {}, label {}, is {}; a probability was expected", samples_ + i,
                             block.label, score);
  }
  return Status::Ok();
}

Status Evaluator::AddBlock(const Block& block) {
  SLUICE_RETURN_IF_ERROR(CheckBlock(block));
  Sums sums = labels_[block.label].sums;
  switch (options_.scores) {
    case ScoreKind::kLogit:
      SLUICE_DISPATCH(Logistic)(block.scores, scratch_->prediction, scratch_->loss, block.size);
      // The cross entropy of label y is softplus(x) - y x.
      for (int64_t i = 0; i < block.size; ++i)
        scratch_->loss[i] -= static_cast<double>(block.labels[i]) * block.scores[i];
      break;
    case ScoreKind::kProbability:
      for (int64_t i = 0; i < block.size; ++i) {
        scratch_->prediction[i] = block.scores[i];
        scratch_->loss[i] = CrossEntropy(block.scores[i], block.labels[i]);
      }
      break;
    case ScoreKind::kValue:
      for (int64_t i = 0; i < block.size; ++i) scratch_->prediction[i] = block.scores[i];
      std::fill_n(scratch_->loss, block.size, 0.0);
      break;
  }
  // One sample after another, so that the sums do not depend on how the stream is cut.
  for (int64_t i = 0; i < block.size; ++i) {
    const double w = block.weights[i], y = block.labels[i], p = scratch_->prediction[i];
    sums.weight += w;
    sums.label += w * y;
    sums.prediction += w * p;
    sums.loss += w * scratch_->loss[i];
    sums.squared_error += w * (p - y) * (p - y);
  }
  labels_[block.label].sums = sums;
  return options_.scores == ScoreKind::kValue ? Status::Ok() : AddRecords(block);
}

Status Evaluator::AddRecords(const Block& block) {
  size_t n = 0;
  for (int64_t i = 0; i < block.size; ++i) {
    const float y = block.labels[i], w = block.weights[i];
    // Written in any case, kept where the class has weight: labels of 0 and 1 give one record without a branch.
    scratch_->records[n] = MakeRecord(block.scores[i], true, w * y);
    scratch_->source[n] = static_cast<int32_t>(i);
    n += y > 0;
    scratch_->records[n] = MakeRecord(block.scores[i], false, w * (1 - y));
    scratch_->source[n] = static_cast<int32_t>(i);
    n += y < 1;
  }
  Label& label = labels_[block.label];
  SLUICE_RETURN_IF_ERROR(label.by_score.Add(std::span(scratch_->records, n)));
  if (!options_.grouped) return Status::Ok();
  group_records_.clear();
  for (size_t r = 0; r < n; ++r) group_records_.push_back({scratch_->records[r], block.groups[scratch_->source[r]]});
  return label.by_group.Add(group_records_);
}

Status Evaluator::Merge(Evaluator&& other) {
  SLUICE_CHECK(options_.num_labels == other.options_.num_labels && options_.scores == other.options_.scores &&
                   options_.grouped == other.options_.grouped,
               "evaluators of different kinds");
  for (int i = 0; i < options_.num_labels; ++i) {
    Label &to = labels_[i], &from = other.labels_[i];
    to.sums.weight += from.sums.weight;
    to.sums.label += from.sums.label;
    to.sums.prediction += from.sums.prediction;
    to.sums.loss += from.sums.loss;
    to.sums.squared_error += from.sums.squared_error;
    from.sums = {};
    SLUICE_RETURN_IF_ERROR(to.by_score.Absorb(std::move(from.by_score)));
    SLUICE_RETURN_IF_ERROR(to.by_group.Absorb(std::move(from.by_group)));
  }
  samples_ += std::exchange(other.samples_, 0);
  return Status::Ok();
}

Status Evaluator::FinishLabel(Label* label, LabelMetrics* metrics) const {
  const Sums& sums = label->sums;
  if (sums.weight > 0) {
    metrics->base_rate = sums.label / sums.weight;
    metrics->mean_prediction = sums.prediction / sums.weight;
    metrics->rmse = std::sqrt(sums.squared_error / sums.weight);
  }
  if (sums.label != 0) metrics->calibration = sums.prediction / sums.label;
  if (options_.scores == ScoreKind::kValue) return Status::Ok();
  if (sums.weight > 0) {
    metrics->logloss = sums.loss / sums.weight;
    const double entropy = Entropy(metrics->base_rate);
    if (entropy > 0) metrics->ne = metrics->logloss / entropy;
  }
  AucSweep auc;
  SLUICE_RETURN_IF_ERROR(label->by_score.Drain([&auc](std::span<const ScoreRecord> records) { auc.Add(records); }));
  metrics->auc = auc.Finish();
  if (!options_.grouped) return Status::Ok();
  GroupedAucSweep grouped;
  SLUICE_RETURN_IF_ERROR(
      label->by_group.Drain([&grouped](std::span<const GroupRecord> records) { grouped.Add(records); }));
  grouped.Finish(metrics);
  return Status::Ok();
}

Result<Metrics> Evaluator::Finish() {
  Metrics metrics;
  metrics.samples = std::exchange(samples_, 0);
  metrics.weight = labels_[0].sums.weight;
  for (Label& label : labels_) {
    SLUICE_RETURN_IF_ERROR(FinishLabel(&label, &metrics.labels.emplace_back()));
    label = MakeLabel();
  }
  const auto mean = [&metrics](double LabelMetrics::*member) {
    double sum = 0;
    int64_t n = 0;
    for (const LabelMetrics& label : metrics.labels) {
      if (std::isnan(label.*member)) continue;
      sum += label.*member;
      ++n;
    }
    metrics.*member = n > 0 ? sum / static_cast<double>(n) : kUndefined;
  };
  for (auto member : {&LabelMetrics::auc, &LabelMetrics::logloss, &LabelMetrics::ne, &LabelMetrics::calibration,
                      &LabelMetrics::rmse, &LabelMetrics::mean_prediction, &LabelMetrics::base_rate, &LabelMetrics::gauc})
    mean(member);
  for (const LabelMetrics& label : metrics.labels) {
    metrics.groups += label.groups;
    metrics.groups_left_out += label.groups_left_out;
  }
  return metrics;
}

}  // namespace sluice::metric
