#include "optim/update_rule.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "optim/update_rule_kernels.h"

namespace sluice::optim {

int SlotsPerWeight(RuleKind kind) {
  switch (kind) {
    case RuleKind::kSgd:
    case RuleKind::kRowwiseAdagrad:
      return 0;
    case RuleKind::kMomentum:
    case RuleKind::kAdagrad:
      return 1;
    case RuleKind::kFtrl:
    case RuleKind::kAdam:
    case RuleKind::kAdamW:
      return 2;
  }
  return 0;
}

double IntegerPower(double base, int64_t exponent) {
  double result = 1;
  for (; exponent > 0; exponent /= 2, base *= base)
    if (exponent % 2 != 0) result *= base;
  return result;
}

int SlotsPerRow(RuleKind kind) { return kind == RuleKind::kRowwiseAdagrad ? 1 : 0; }

template <class T>
PreparedRule<T> Prepare(const Rule& rule, int64_t step) {
  PreparedRule<T> out;
  out.kind = rule.kind;
  out.learning_rate = static_cast<T>(rule.learning_rate);
  out.momentum = static_cast<T>(rule.momentum);
  out.beta1 = static_cast<T>(rule.beta1);
  out.beta2 = static_cast<T>(rule.beta2);
  out.epsilon = static_cast<T>(rule.epsilon);
  out.ftrl_beta = static_cast<T>(rule.ftrl_beta);
  out.ftrl_power = static_cast<T>(rule.ftrl_power);
  out.l1 = static_cast<T>(rule.l1);
  out.l2 = static_cast<T>(rule.l2);
  out.clip = rule.clip_value > 0 ? static_cast<T>(rule.clip_value) : std::numeric_limits<T>::infinity();
  out.lazy_decay = rule.lazy_decay;
  if (rule.kind == RuleKind::kAdamW) out.weight_scale = static_cast<T>(1 - rule.learning_rate * rule.weight_decay);
  if (rule.kind == RuleKind::kAdam || rule.kind == RuleKind::kAdamW) {
    out.step_size = static_cast<T>(rule.learning_rate / (1 - IntegerPower(rule.beta1, step)));
    out.inverse_root_correction = static_cast<T>(1 / std::sqrt(1 - IntegerPower(rule.beta2, step)));
  }
  return out;
}

template <class T>
void UpdateRows(const PreparedRule<T>& rule, const RowsUpdate<T>& update) {
  SLUICE_DISPATCH(UpdateRowsKernel<T>)(rule, update);
}

template <class T>
void UpdateRow(const Rule& rule, int64_t step, int64_t missed, T* w, const T* g, T* slots, int64_t n) {
  T* second = SlotsPerWeight(rule.kind) > 1 ? slots + n : nullptr;
  SLUICE_DISPATCH(UpdateElementsKernel<T>)(Prepare<T>(rule, step), missed, w, g, slots, second, n);
}

template <class T>
void UpdateSpan(const Rule& rule, int64_t step, T* w, const T* g, T* slots, int64_t span_size, int64_t begin,
                int64_t end) {
  PreparedRule<T> prepared = Prepare<T>(rule, step);
  prepared.kind = SpanKind(rule.kind);
  const int num_slots = SlotsPerWeight(prepared.kind);
  T* first = num_slots > 0 ? slots + begin : nullptr;
  T* second = num_slots > 1 ? slots + span_size + begin : nullptr;
  SLUICE_DISPATCH(UpdateElementsKernel<T>)(prepared, 0, w + begin, g + begin, first, second, end - begin);
}

template <class T>
void InitSlots(const Rule& rule, T* slots, int64_t n) {
  std::fill(slots, slots + NumSlots(rule.kind, n), T(0));
  const T initial = static_cast<T>(rule.initial_accumulator);
  if (rule.kind == RuleKind::kAdagrad) std::fill(slots, slots + n, initial);
  if (rule.kind == RuleKind::kRowwiseAdagrad) slots[0] = initial;
  if (rule.kind == RuleKind::kFtrl) std::fill(slots + n, slots + 2 * n, initial);
}

template <class T>
void InitSpanSlots(const Rule& rule, T* slots, int64_t span_size) {
  Rule span_rule = rule;
  span_rule.kind = SpanKind(rule.kind);
  InitSlots(span_rule, slots, span_size);
}

template <class T>
double SumOfSquares(const T* x, int64_t n) {
  return SLUICE_DISPATCH(SumOfSquaresKernel<T>)(x, n);
}

template <class T>
void ScaleSpan(T* x, int64_t n, T factor) {
  SLUICE_DISPATCH(ScaleKernel<T>)(x, n, factor);
}

double ClipFactor(double norm, double max_norm) { return max_norm > 0 && norm > max_norm ? max_norm / norm : 1.0; }

#define SLUICE_INSTANTIATE(T)                                                                     \
  template PreparedRule<T> Prepare<T>(const Rule&, int64_t);                                      \
  template void UpdateRows<T>(const PreparedRule<T>&, const RowsUpdate<T>&);                      \
  template void UpdateRow<T>(const Rule&, int64_t, int64_t, T*, const T*, T*, int64_t);           \
  template void UpdateSpan<T>(const Rule&, int64_t, T*, const T*, T*, int64_t, int64_t, int64_t); \
  template void InitSlots<T>(const Rule&, T*, int64_t);                                           \
  template void InitSpanSlots<T>(const Rule&, T*, int64_t);                                       \
  template double SumOfSquares<T>(const T*, int64_t);                                             \
  template void ScaleSpan<T>(T*, int64_t, T);
SLUICE_INSTANTIATE(float)
SLUICE_INSTANTIATE(double)
#undef SLUICE_INSTANTIATE

}  // namespace sluice::optim
