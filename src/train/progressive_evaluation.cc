#include "train/progressive_evaluation.h"

#include "data/open.h"
#include "train/api.h"

namespace sluice::train {

ProgressiveEvaluation::ProgressiveEvaluation(const RunConfig& config, int num_labels, Sink log)
    : num_labels_(num_labels),
      negative_keep_rate_(config.data.negative_keep_rate),
      logit_correction_(data::LogitCorrection(config.data)),
      log_(std::move(log)) {
  if (config.train.progressive.window == 0) return;
  metric::EvaluatorOptions options;
  options.scores = config.model.loss == "mse" ? metric::ScoreKind::kValue : metric::ScoreKind::kLogit;
  options.num_labels = num_labels;
  evaluator_ = std::make_unique<metric::ProgressiveEvaluator>(options, config.train.progressive.window);
}

template <class T>
Status ProgressiveEvaluation::Add(const data::Batch& batch, const T* logits) {
  scores_.resize(batch.labels.size());
  for (size_t i = 0; i < scores_.size(); ++i)
    scores_[i] = static_cast<float>(static_cast<double>(logits[i]) + logit_correction_);
  if (evaluator_ == nullptr) return Status::Ok();
  windows_.clear();
  SLUICE_RETURN_IF_ERROR(evaluator_->Add({scores_, batch.labels, PopulationWeights(batch), {}}, &windows_));
  return LogWindows();
}

Result<metric::Metrics> ProgressiveEvaluation::Finish() {
  if (evaluator_ == nullptr) return metric::Metrics{};
  windows_.clear();
  SLUICE_ASSIGN_OR_RETURN(auto last, evaluator_->FinishWindow());
  if (last) windows_.push_back(*last);
  SLUICE_RETURN_IF_ERROR(LogWindows());
  SLUICE_ASSIGN_OR_RETURN(metric::Metrics whole, evaluator_->Finish());
  if (whole.samples > 0) {
    const auto values = ByName(whole);
    SLUICE_RETURN_IF_ERROR(log_("progressive", {values.begin(), values.end()}));
  }
  return whole;
}

Status ProgressiveEvaluation::LogWindows() {
  for (const metric::Window& window : windows_) {
    Values values = {{"first_sample", static_cast<double>(window.first_sample)}};
    for (const auto& [name, value] : ByName(window.metrics)) values.emplace_back(name, value);
    SLUICE_RETURN_IF_ERROR(log_("window", std::move(values)));
  }
  return Status::Ok();
}

std::span<const float> ProgressiveEvaluation::PopulationWeights(const data::Batch& batch) {
  if (negative_keep_rate_ >= 1) return batch.sample_weights;
  weights_.resize(static_cast<size_t>(batch.size));
  for (size_t i = 0; i < weights_.size(); ++i) {
    const double weight = batch.sample_weights.empty() ? 1.0 : batch.sample_weights[i];
    const bool positive = batch.labels[i * static_cast<size_t>(num_labels_)] > 0;
    weights_[i] = static_cast<float>(positive ? weight : weight / negative_keep_rate_);
  }
  return weights_;
}

template Status ProgressiveEvaluation::Add(const data::Batch&, const float*);
template Status ProgressiveEvaluation::Add(const data::Batch&, const double*);

}  // namespace sluice::train
