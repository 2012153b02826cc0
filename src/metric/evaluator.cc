#include "metric/evaluator.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <utility>

#include "metric/auc.h"

namespace sluice::metric {
namespace {

constexpr int64_t kBlock = 4096;
constexpr double kClip = 1e-15;

// Cross entropy of label y with the logistic function of x: log(1 + exp(x)) - y x, without overflow.
double LogisticLoss(double x, double y) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))) - y * x; }

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

Evaluator::Evaluator(const EvaluatorOptions& options) : options_(options) {
  SLUICE_CHECK(options.num_labels >= 1, "{} labels", options.num_labels);
  if (options_.spill_folder.empty()) options_.spill_folder = DefaultFolder();
  for (int i = 0; i < options_.num_labels; ++i) labels_.push_back(MakeLabel());
}

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
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t end = std::min(n, begin + kBlock);
    for (int label = 0; label < options_.num_labels; ++label)
      SLUICE_RETURN_IF_ERROR(AddBlock(samples, begin, end, label));
    samples_ += end - begin;
  }
  return Status::Ok();
}

Status Evaluator::AddBlock(const Scored& samples, int64_t begin, int64_t end, int label) {
  const bool ranked = options_.scores != ScoreKind::kValue;
  Sums sums = labels_[label].sums;
  records_.clear();
  group_records_.clear();
  for (int64_t i = begin; i < end; ++i) {
    const float score = samples.scores[i * options_.num_labels + label];
    const float y = samples.labels[i * options_.num_labels + label];
    const float w = samples.weights.empty() ? 1.0f : samples.weights[i];
    if (!std::isfinite(score))
      return NumericError("the score of sample {}, label {}, is {}", samples_ + i - begin, label, score);
    if (!(w >= 0) || std::isinf(w)) return InvalidArgument("the weight of sample {} is {}", samples_ + i - begin, w);
    if (ranked ? !(y >= 0 && y <= 1) : !std::isfinite(y))
      return InvalidArgument("label {} of sample {} is {}", label, samples_ + i - begin, y);

    const double x = score;
    double prediction = x;
    if (options_.scores == ScoreKind::kLogit) {
      prediction = 1 / (1 + std::exp(-x));
      sums.loss += w * LogisticLoss(x, y);
    } else if (options_.scores == ScoreKind::kProbability) {
      sums.loss += w * CrossEntropy(x, y);
    }
    sums.weight += w;
    sums.label += static_cast<double>(w) * y;
    sums.prediction += w * prediction;
    sums.squared_error += w * (prediction - y) * (prediction - y);
    if (!ranked) continue;
    if (y > 0) records_.push_back(MakeRecord(score, true, w * y));
    if (y < 1) records_.push_back(MakeRecord(score, false, w * (1 - y)));
    if (!options_.grouped) continue;
    if (y > 0) group_records_.push_back({MakeRecord(score, true, w * y), samples.groups[i]});
    if (y < 1) group_records_.push_back({MakeRecord(score, false, w * (1 - y)), samples.groups[i]});
  }
  labels_[label].sums = sums;
  SLUICE_RETURN_IF_ERROR(labels_[label].by_score.Add(records_));
  return labels_[label].by_group.Add(group_records_);
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
