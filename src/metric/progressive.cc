#include "metric/progressive.h"

#include <algorithm>

namespace sluice::metric {
namespace {

// Samples [begin, begin + n).
Scored Cut(const Scored& samples, int64_t begin, int64_t n, int64_t num_labels) {
  const auto cut = [](auto span, int64_t at, int64_t size) {
    return span.empty() ? span : span.subspan(static_cast<size_t>(at), static_cast<size_t>(size));
  };
  return {cut(samples.scores, begin * num_labels, n * num_labels), cut(samples.labels, begin * num_labels, n * num_labels),
          cut(samples.weights, begin, n), cut(samples.groups, begin, n)};
}

}  // namespace

ProgressiveEvaluator::ProgressiveEvaluator(const EvaluatorOptions& options, int64_t window)
    : options_(options), window_(window), current_(options), whole_(options) {
  SLUICE_CHECK(window >= 1, "a window of {} samples", window);
}

Status ProgressiveEvaluator::Add(const Scored& samples, std::vector<Window>* finished) {
  const int64_t size = static_cast<int64_t>(samples.labels.size()) / options_.num_labels;
  for (int64_t begin = 0; begin < size;) {
    const int64_t n = std::min(size - begin, window_ - current_.samples());
    const Scored part = Cut(samples, begin, n, options_.num_labels);
    SLUICE_RETURN_IF_ERROR(whole_.Add(part));
    SLUICE_RETURN_IF_ERROR(current_.Add(part));
    begin += n;
    if (current_.samples() < window_) continue;
    SLUICE_ASSIGN_OR_RETURN(Metrics metrics, current_.Finish());
    finished->push_back({whole_.samples() - window_, std::move(metrics)});
  }
  return Status::Ok();
}

Result<std::optional<Window>> ProgressiveEvaluator::FinishWindow() {
  if (current_.samples() == 0) return std::optional<Window>{};
  SLUICE_ASSIGN_OR_RETURN(Metrics metrics, current_.Finish());
  return std::optional(Window{whole_.samples() - metrics.samples, std::move(metrics)});
}

Result<Metrics> ProgressiveEvaluator::Finish() {
  current_ = Evaluator(options_);
  return whole_.Finish();
}

Status ProgressiveEvaluator::Save(SectionWriter* writer, const std::string& prefix) const {
  SLUICE_RETURN_IF_ERROR(current_.Save(writer, prefix + "/window"));
  return whole_.Save(writer, prefix + "/whole");
}

Status ProgressiveEvaluator::Load(const SectionReader& reader, const std::string& prefix) {
  SLUICE_RETURN_IF_ERROR(current_.Load(reader, prefix + "/window"));
  return whole_.Load(reader, prefix + "/whole");
}

}  // namespace sluice::metric
