#pragma once

#include <cstdint>
#include <string>

namespace sluice::optim {

enum class RuleKind { kSgd, kMomentum, kAdagrad, kRowwiseAdagrad, kFtrl, kAdam, kAdamW };

// Everything an update needs beside weights, gradient and slots. Learning rate comes from the schedule, step by step.
// l1 and l2   act on the rows (or dense weights) that the step touches and on no others: a row without a gradient in a
//             batch is not shrunk by it. For FTRL they are the closed-form terms of its proximal step (l1 gives exact
//             zeros); for the others their subgradient l2 * w + l1 * sign(w) is added to the (clipped) gradient.
// FTRL        weights are a function of the slots: an initial weight other than zero enters through sigma * w only, as
//             published, so rows trained by it are best initialised with zeros.
struct Rule {
  RuleKind kind = RuleKind::kAdagrad;
  double learning_rate = 0.01;
  double momentum = 0.9;
  double beta1 = 0.9, beta2 = 0.999;
  double epsilon = 1e-8;             // added outside the square root
  double initial_accumulator = 0.0;  // Adagrad, FTRL
  double ftrl_beta = 1.0;
  double ftrl_power = 0.5;  // learning-rate power, 0.5 as published
  double l1 = 0.0, l2 = 0.0;
  double weight_decay = 0.0;  // AdamW, decoupled: w -= learning_rate * weight_decay * w
  double clip_value = 0.0;    // each gradient element to [-c, c]; 0: off
  bool lazy_decay = false;    // rows: momentum, Adam and AdamW first decay slots for the steps a row missed
};

// Slots kept beside `n` weights of one row or span: SlotsPerWeight(rule) * n + SlotsPerRow(rule) scalars.
int SlotsPerWeight(RuleKind kind);
int SlotsPerRow(RuleKind kind);  // 1 for row-wise Adagrad (its accumulator), else 0
inline int64_t NumSlots(RuleKind kind, int64_t n) { return SlotsPerWeight(kind) * n + SlotsPerRow(kind); }

// A flat span has no rows: row-wise Adagrad acts on it as Adagrad.
inline RuleKind SpanKind(RuleKind kind) { return kind == RuleKind::kRowwiseAdagrad ? RuleKind::kAdagrad : kind; }
inline int64_t NumSpanSlots(RuleKind kind, int64_t n) { return SlotsPerWeight(SpanKind(kind)) * n; }

// base^exponent for exponent >= 0, by repeated squaring: the same bits with every libm.
double IntegerPower(double base, int64_t exponent);

// A rule at one step: every coefficient in the type of the weights, bias corrections done. Made once per step.
template <class T>
struct PreparedRule {
  RuleKind kind = RuleKind::kSgd;
  T learning_rate = 0, momentum = 0, beta1 = 0, beta2 = 0, epsilon = 0, ftrl_beta = 0, l1 = 0, l2 = 0;
  T clip = 0;                     // infinity when off
  T weight_scale = 1;             // AdamW: 1 - learning_rate * weight_decay
  T step_size = 0;                // Adam: learning_rate / (1 - beta1^step)
  T inverse_root_correction = 1;  // Adam: 1 / sqrt(1 - beta2^step)
  T ftrl_power = 0;
  bool lazy_decay = false;
};
template <class T>
PreparedRule<T> Prepare(const Rule& rule, int64_t step);

// Many rows of one table at once, each row's weights and slots in one run of memory.
// Shapes       rows[i] points at weights [dim]; its slots [NumSlots(kind, dim)] begin at rows[i] + slots_offset.
//              grads[i] points at the row's gradient [dim]. missed [n], or null: 0 for each.
// Semantics    rows are distinct. Rows some places ahead are prefetched, so the caller needs no prefetch of its own.
template <class T>
struct RowsUpdate {
  T* const* rows = nullptr;
  const T* const* grads = nullptr;
  const int64_t* missed = nullptr;
  int64_t n = 0;
  int64_t dim = 0;
  int64_t slots_offset = 0;
};

// One optimizer step on rows. A row's result does not depend on which other rows share the call.
// Semantics    g is the summed gradient of the whole batch for this row. `step` counts from 1; `missed` is the number
//              of steps between the row's last update and this one (0: it was updated in the step before, or is new),
//              used by lazy_decay only.
// Threads      pure; rows may be updated concurrently.
// Numerics     the same bits on every instruction set, for float. (An ftrl_power other than 0.5 takes libm's pow.)
template <class T>
void UpdateRows(const PreparedRule<T>& rule, const RowsUpdate<T>& update);

// One row: w, g [n]; slots [NumSlots(kind, n)], slot-major: Adam is m[n] then v[n]; FTRL is z[n] then n[n].
template <class T>
void UpdateRow(const Rule& rule, int64_t step, int64_t missed, T* w, const T* g, T* slots, int64_t n);

// The same for a flat span of dense weights (kRowwiseAdagrad acts as kAdagrad). Slots are slot-major over `span_size`:
// slot s of element i lies at slots[s * span_size + i]; updates elements [begin, end). Result per element; so ranges
// may be cut anywhere and run concurrently.
template <class T>
void UpdateSpan(const Rule& rule, int64_t step, T* w, const T* g, T* slots, int64_t span_size, int64_t begin,
                int64_t end);

// Sets the slots of one row to their initial values (initial_accumulator where the rule has one, else 0).
template <class T>
void InitSlots(const Rule& rule, T* slots, int64_t n);
// The slots of a span, [NumSpanSlots(kind, span_size)].
template <class T>
void InitSpanSlots(const Rule& rule, T* slots, int64_t span_size);

// Clipping by global norm: the caller sums the squares of all gradients (spans in a fixed order), takes
// ClipFactor(sqrt(sum), max_norm) and scales each span by it.
// Numerics     sums run in double over kLanes partial sums: the same bits on every instruction set.
template <class T>
double SumOfSquares(const T* x, int64_t n);
template <class T>
void ScaleSpan(T* x, int64_t n, T factor);
// max_norm / norm where norm exceeds a positive max_norm, else 1.
double ClipFactor(double norm, double max_norm);

}  // namespace sluice::optim
