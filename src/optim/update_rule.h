#pragma once

#include <cstdint>
#include <string>

namespace sluice::optim {

enum class RuleKind { kSgd, kMomentum, kAdagrad, kRowwiseAdagrad, kFtrl, kAdam, kAdamW };

// Everything an update needs beside weights, gradient and slots. Learning rate comes from the schedule, step by step.
struct Rule {
  RuleKind kind = RuleKind::kAdagrad;
  double learning_rate = 0.01;
  double momentum = 0.9;
  double beta1 = 0.9, beta2 = 0.999;
  double epsilon = 1e-8;              // added outside the square root
  double initial_accumulator = 0.0;   // Adagrad, FTRL
  double ftrl_beta = 1.0;
  double ftrl_power = 0.5;            // learning-rate power, 0.5 as published
  double l1 = 0.0, l2 = 0.0;          // of the rows (or dense weights) that the step touches
  double weight_decay = 0.0;          // AdamW, decoupled
  double clip_value = 0.0;            // each gradient element to [-c, c]; 0: off
  bool lazy_decay = false;            // rows: momentum, Adam and AdamW first decay slots for the steps a row missed
};

// Slots kept beside `n` weights of one row or span: SlotsPerWeight(rule) * n + SlotsPerRow(rule) scalars.
int SlotsPerWeight(RuleKind kind);
int SlotsPerRow(RuleKind kind);      // 1 for row-wise Adagrad (its accumulator), else 0
inline int64_t NumSlots(RuleKind kind, int64_t n) { return SlotsPerWeight(kind) * n + SlotsPerRow(kind); }

// One optimizer step on `n` weights that form one row.
// Shapes       w, g [n]; slots [NumSlots(kind, n)], slot-major: Adam is m[n] then v[n]; FTRL is z[n] then n[n].
// Semantics    g is the summed gradient of the whole batch for this row. `step` counts from 1; `missed` is how many
//              steps passed since the row's last update, used by lazy_decay only.
// Threads      pure; rows may be updated concurrently.
// Numerics     element-wise results are the same bits on every instruction set.
template <class T>
void UpdateRow(const Rule& rule, int64_t step, int64_t missed, T* w, const T* g, T* slots, int64_t n);

// The same for a flat span of dense weights (kRowwiseAdagrad acts as kAdagrad). Slots are slot-major over `span_size`:
// slot s of element i lies at slots[s * span_size + i]; updates elements [begin, end).
template <class T>
void UpdateSpan(const Rule& rule, int64_t step, T* w, const T* g, T* slots, int64_t span_size, int64_t begin,
                int64_t end);

// Sets slots to their initial values (initial_accumulator where the rule has one, else 0).
template <class T>
void InitSlots(const Rule& rule, T* slots, int64_t n);

}  // namespace sluice::optim
