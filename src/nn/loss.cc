#include "nn/loss.h"

#include <cmath>

namespace sluice::nn {

template <class T>
LossSums LossAndGradient(LossKind kind, int64_t n, int64_t num_labels, const T* logits, const float* labels,
                         const float* weights, double grad_scale, T* logit_grads) {
  LossSums sums;
  for (int64_t i = 0; i < n; ++i) {
    const double weight = weights == nullptr ? 1.0 : static_cast<double>(weights[i]);
    const double scale = weight * grad_scale;
    double loss = 0;
    for (int64_t l = 0; l < num_labels; ++l) {
      const double s = static_cast<double>(logits[i * num_labels + l]);
      const double y = static_cast<double>(labels[i * num_labels + l]);
      double slope;
      if (kind == LossKind::kBce) {
        const double t = std::exp(-std::fabs(s));
        loss += std::fmax(s, 0.0) - s * y + std::log1p(t);
        slope = (s >= 0 ? 1.0 : t) / (1.0 + t) - y;
      } else {
        slope = s - y;
        loss += 0.5 * slope * slope;
      }
      logit_grads[i * num_labels + l] = static_cast<T>(scale * slope);
    }
    sums.loss += weight * loss;
    sums.weight += weight;
  }
  return sums;
}

template LossSums LossAndGradient<float>(LossKind, int64_t, int64_t, const float*, const float*, const float*, double,
                                         float*);
template LossSums LossAndGradient<double>(LossKind, int64_t, int64_t, const double*, const float*, const float*, double,
                                          double*);

}  // namespace sluice::nn
