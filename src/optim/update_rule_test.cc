#include "optim/update_rule.h"

#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "base/rng.h"
#include "optim/config.h"
#include "optim/update_rule_kernels.h"

namespace sluice::optim {
namespace {

constexpr RuleKind kKinds[] = {RuleKind::kSgd,  RuleKind::kMomentum, RuleKind::kAdagrad, RuleKind::kRowwiseAdagrad,
                               RuleKind::kFtrl, RuleKind::kAdam,     RuleKind::kAdamW};
constexpr uint64_t kSeed = 20240611;

// Textbook form of every rule for one row, written apart from the kernels: no shared helpers, explicit powers.
void ReferenceUpdate(const Rule& rule, int64_t step, int64_t missed, std::vector<double>& w, std::vector<double> g,
                     std::vector<double>& slots) {
  const size_t n = w.size();
  for (double& x : g)
    if (rule.clip_value > 0) x = std::max(-rule.clip_value, std::min(rule.clip_value, x));
  if (rule.kind != RuleKind::kFtrl) {
    for (size_t i = 0; i < n; ++i) {
      g[i] += rule.l2 * w[i];
      if (w[i] != 0) g[i] += w[i] > 0 ? rule.l1 : -rule.l1;
    }
  }
  const double lr = rule.learning_rate;
  switch (rule.kind) {
    case RuleKind::kSgd:
      for (size_t i = 0; i < n; ++i) w[i] -= lr * g[i];
      break;
    case RuleKind::kMomentum:
      for (size_t i = 0; i < n; ++i) {
        if (rule.lazy_decay) slots[i] *= std::pow(rule.momentum, static_cast<double>(missed));
        slots[i] = rule.momentum * slots[i] + g[i];
        w[i] -= lr * slots[i];
      }
      break;
    case RuleKind::kAdagrad:
      for (size_t i = 0; i < n; ++i) {
        slots[i] += g[i] * g[i];
        w[i] -= lr * g[i] / (std::sqrt(slots[i]) + rule.epsilon);
      }
      break;
    case RuleKind::kRowwiseAdagrad: {
      double sum = 0;
      for (double x : g) sum += x * x;
      slots[0] += sum / static_cast<double>(n);
      for (size_t i = 0; i < n; ++i) w[i] -= lr * g[i] / (std::sqrt(slots[0]) + rule.epsilon);
      break;
    }
    case RuleKind::kFtrl:
      for (size_t i = 0; i < n; ++i) {
        double& z = slots[i];
        double& sum = slots[n + i];
        const double sigma = (std::pow(sum + g[i] * g[i], rule.ftrl_power) - std::pow(sum, rule.ftrl_power)) / lr;
        z += g[i] - sigma * w[i];
        sum += g[i] * g[i];
        if (std::fabs(z) <= rule.l1) {
          w[i] = 0;
        } else {
          const double sign = z > 0 ? 1 : -1;
          w[i] = -(z - sign * rule.l1) / ((rule.ftrl_beta + std::pow(sum, rule.ftrl_power)) / lr + rule.l2);
        }
      }
      break;
    case RuleKind::kAdam:
    case RuleKind::kAdamW: {
      const double t = static_cast<double>(step);
      for (size_t i = 0; i < n; ++i) {
        double& m = slots[i];
        double& v = slots[n + i];
        if (rule.lazy_decay) {
          m *= std::pow(rule.beta1, static_cast<double>(missed));
          v *= std::pow(rule.beta2, static_cast<double>(missed));
        }
        m = rule.beta1 * m + (1 - rule.beta1) * g[i];
        v = rule.beta2 * v + (1 - rule.beta2) * g[i] * g[i];
        const double m_hat = m / (1 - std::pow(rule.beta1, t));
        const double v_hat = v / (1 - std::pow(rule.beta2, t));
        if (rule.kind == RuleKind::kAdamW) w[i] -= lr * rule.weight_decay * w[i];
        w[i] -= lr * m_hat / (std::sqrt(v_hat) + rule.epsilon);
      }
      break;
    }
  }
}

Rule FullRule(RuleKind kind) {
  Rule rule;
  rule.kind = kind;
  rule.learning_rate = 0.05;
  rule.initial_accumulator = 0.1;
  rule.l1 = 0.01;
  rule.l2 = 0.02;
  rule.weight_decay = 0.1;
  rule.clip_value = 0.8;
  rule.lazy_decay = true;
  return rule;
}

std::vector<double> RandomVector(uint64_t stream, int64_t n, double scale) {
  const CounterRng rng(kSeed, stream);
  std::vector<double> out(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) out[static_cast<size_t>(i)] = scale * rng.Normal(static_cast<uint64_t>(i));
  return out;
}

template <class T>
void ExpectFollowsReference(const Rule& rule, int64_t n, double tolerance) {
  SCOPED_TRACE(fmt::format("rule {} n {} seed {}", RuleName(rule.kind), n, kSeed));
  std::vector<double> w = RandomVector(1, n, 0.1);
  std::vector<double> slots(static_cast<size_t>(NumSlots(rule.kind, n)));
  InitSlots(rule, slots.data(), n);
  std::vector<T> w_tested(w.begin(), w.end());
  std::vector<T> slots_tested(slots.begin(), slots.end());
  const int64_t steps[] = {1, 2, 3, 7, 8, 20};
  int64_t last = 0;
  for (const int64_t step : steps) {
    const std::vector<double> g = RandomVector(static_cast<uint64_t>(100 + step), n, 0.5);
    const std::vector<T> g_tested(g.begin(), g.end());
    ReferenceUpdate(rule, step, step - last - 1, w, g, slots);
    UpdateRow(rule, step, step - last - 1, w_tested.data(), g_tested.data(), slots_tested.data(), n);
    last = step;
  }
  for (size_t i = 0; i < w.size(); ++i) ASSERT_NEAR(w_tested[i], w[i], tolerance) << "element " << i;
  for (size_t i = 0; i < slots.size(); ++i)
    ASSERT_NEAR(slots_tested[i], slots[i], tolerance * std::max(1.0, std::fabs(slots[i]))) << "slot " << i;
}

TEST(UpdateRuleTest, FollowsTextbookInDouble) {
  for (const RuleKind kind : kKinds)
    for (const int64_t n : {1, 7, 16, 33}) ExpectFollowsReference<double>(FullRule(kind), n, 1e-13);
}

TEST(UpdateRuleTest, FollowsTextbookInDoubleWithoutOptions) {
  for (const RuleKind kind : kKinds) {
    Rule rule;
    rule.kind = kind;
    ExpectFollowsReference<double>(rule, 16, 1e-13);
  }
}

TEST(UpdateRuleTest, FollowsTextbookWithOtherFtrlPower) {
  Rule rule = FullRule(RuleKind::kFtrl);
  rule.ftrl_power = 0.7;
  ExpectFollowsReference<double>(rule, 9, 1e-13);
  ExpectFollowsReference<float>(rule, 9, 2e-5);
}

// Six steps of single precision on values near one: a few hundred roundings of 6e-8 at most.
TEST(UpdateRuleTest, FollowsTextbookInFloat) {
  for (const RuleKind kind : kKinds)
    for (const int64_t n : {1, 7, 16, 128}) ExpectFollowsReference<float>(FullRule(kind), n, 2e-5);
}

TEST(UpdateRuleTest, GivesClosedFormOnIntegers) {
  Rule rule;
  rule.learning_rate = 2;
  rule.epsilon = 0;
  float w = 10, g = 3, slot = 16;
  rule.kind = RuleKind::kAdagrad;
  UpdateRow(rule, 1, 0, &w, &g, &slot, 1);  // 10 - 2 * 3 / sqrt(16 + 9)
  EXPECT_EQ(slot, 25.0f);
  EXPECT_FLOAT_EQ(w, 8.8f);
  float row[4] = {1, 2, 3, 4}, grad[4] = {1, 1, 1, 1}, accumulator = 3;
  rule.kind = RuleKind::kRowwiseAdagrad;
  UpdateRow(rule, 1, 0, row, grad, &accumulator, 4);
  EXPECT_EQ(accumulator, 4.0f);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(row[i], static_cast<float>(i));
}

TEST(UpdateRuleTest, FtrlGivesExactZerosBelowL1) {
  Rule rule;
  rule.kind = RuleKind::kFtrl;
  rule.l1 = 1.0;
  double w[2] = {0, 0};
  const double g[2] = {0.5, 1.5};
  double slots[4] = {0, 0, 0, 0};
  UpdateRow(rule, 1, 0, w, g, slots, 2);
  EXPECT_EQ(w[0], 0.0);
  EXPECT_LT(w[1], 0.0);
}

TEST(UpdateRuleTest, LazyDecayEqualsDenseStepsWithZeroGradientInTheSlots) {
  for (const RuleKind kind : {RuleKind::kMomentum, RuleKind::kAdam, RuleKind::kAdamW}) {
    Rule rule;
    rule.kind = kind;
    rule.lazy_decay = true;
    double w = 0.5, w_lazy = 0.5;
    const double g = 0.3, none = 0;
    double slots[2] = {0.2, 0.4}, lazy[2] = {0.2, 0.4};
    for (int64_t step = 1; step <= 5; ++step) UpdateRow(rule, step, 0, &w, &none, slots, 1);
    UpdateRow(rule, 6, 0, &w, &g, slots, 1);
    UpdateRow(rule, 6, 5, &w_lazy, &g, lazy, 1);
    for (int s = 0; s < SlotsPerWeight(kind); ++s) EXPECT_NEAR(lazy[s], slots[s], 1e-15) << RuleName(kind);
  }
}

TEST(UpdateRuleTest, BatchOfRowsEqualsRowByRow) {
  const int64_t dim = 19, n = 40;
  for (const RuleKind kind : kKinds) {
    const Rule rule = FullRule(kind);
    const int64_t offset = dim + 3, stride = offset + NumSlots(kind, dim) + 1;
    std::vector<double> noise = RandomVector(5, n * stride, 0.1);
    std::vector<float> rows(noise.begin(), noise.end());
    for (float& x : rows) x = std::fabs(x);
    std::vector<float> expected = rows;
    noise = RandomVector(6, n * dim, 1.0);
    const std::vector<float> grads(noise.begin(), noise.end());
    std::vector<float*> row_pointers;
    std::vector<const float*> grad_pointers;
    std::vector<int64_t> missed;
    for (int64_t i = 0; i < n; ++i) {
      row_pointers.push_back(rows.data() + ((i * 7) % n) * stride);
      grad_pointers.push_back(grads.data() + i * dim);
      missed.push_back(i % 3);
    }
    UpdateRows(Prepare<float>(rule, 4), {row_pointers.data(), grad_pointers.data(), missed.data(), n, dim, offset});
    for (int64_t i = 0; i < n; ++i) {
      float* row = expected.data() + ((i * 7) % n) * stride;
      UpdateRow(rule, 4, i % 3, row, grads.data() + i * dim, row + offset, dim);
    }
    EXPECT_EQ(rows, expected) << RuleName(kind);
  }
}

TEST(UpdateRuleTest, SpanEqualsRowWhereverItIsCut) {
  const int64_t n = 101;
  for (const RuleKind kind : kKinds) {
    const Rule rule = FullRule(kind);
    Rule row_rule = rule;
    row_rule.kind = SpanKind(kind);
    const std::vector<double> w0 = RandomVector(7, n, 0.1), g0 = RandomVector(8, n, 1.0);
    std::vector<float> w(w0.begin(), w0.end()), g(g0.begin(), g0.end());
    std::vector<float> slots(static_cast<size_t>(NumSpanSlots(kind, n)));
    InitSpanSlots(rule, slots.data(), n);
    std::vector<float> w_row = w, slots_row = slots;
    for (const auto& [begin, end] : {std::pair{0, 13}, {13, 64}, {64, 101}})
      UpdateSpan(rule, 3, w.data(), g.data(), slots.data(), n, begin, end);
    UpdateRow(row_rule, 3, 0, w_row.data(), g.data(), slots_row.data(), n);
    EXPECT_EQ(w, w_row) << RuleName(kind);
    EXPECT_EQ(slots, slots_row) << RuleName(kind);
  }
}

#if defined(__x86_64__)
TEST(UpdateRuleTest, EveryInstructionSetGivesTheSameBits) {
  for (const RuleKind kind : kKinds) {
    for (const int64_t n : {1, 5, 16, 21, 64}) {
      const PreparedRule<float> rule = Prepare<float>(FullRule(kind), 5);
      const std::vector<double> w0 = RandomVector(9, n, 0.3), g0 = RandomVector(10, n, 1.0);
      const std::vector<float> g(g0.begin(), g0.end());
      std::vector<std::vector<float>> results;
      const auto run = [&](auto kernel) {
        std::vector<float> state(w0.begin(), w0.end());
        state.resize(static_cast<size_t>(3 * n), 0.25f);
        kernel(rule, 2, state.data(), g.data(), state.data() + n, state.data() + 2 * n, n);
        results.push_back(state);
      };
      run(plain::UpdateElementsKernel<float>);
      if (BestIsa() >= Isa::kAvx2) run(avx2::UpdateElementsKernel<float>);
      if (BestIsa() >= Isa::kAvx512) run(avx512::UpdateElementsKernel<float>);
      for (const auto& result : results) EXPECT_EQ(result, results[0]) << RuleName(kind) << " n " << n;
      const double sum = plain::SumOfSquaresKernel(g.data(), n);
      if (BestIsa() >= Isa::kAvx2) {
        EXPECT_EQ(avx2::SumOfSquaresKernel(g.data(), n), sum);
      }
      if (BestIsa() >= Isa::kAvx512) {
        EXPECT_EQ(avx512::SumOfSquaresKernel(g.data(), n), sum);
      }
    }
  }
}
#endif

TEST(UpdateRuleTest, NanGradientReachesTheWeights) {
  for (const RuleKind kind : kKinds) {
    const Rule rule = FullRule(kind);
    float w = 1, g = std::numeric_limits<float>::quiet_NaN();
    float slots[2] = {0.1f, 0.1f};
    UpdateRow(rule, 1, 0, &w, &g, slots, 1);
    EXPECT_TRUE(std::isnan(w)) << RuleName(kind);
  }
}

TEST(UpdateRuleTest, ClippingByNormScalesToTheNorm) {
  std::vector<float> g(37, 2.0f);
  const double norm = std::sqrt(SumOfSquares(g.data(), 37));
  EXPECT_DOUBLE_EQ(norm, std::sqrt(148.0));
  EXPECT_EQ(ClipFactor(norm, 0), 1.0);
  EXPECT_EQ(ClipFactor(norm, 13), 1.0);
  ScaleSpan(g.data(), 37, static_cast<float>(ClipFactor(norm, 3)));
  EXPECT_NEAR(std::sqrt(SumOfSquares(g.data(), 37)), 3.0, 1e-6);
}

}  // namespace
}  // namespace sluice::optim
