#pragma once

#include <string>

#include "base/status.h"
#include "optim/schedule.h"
#include "optim/update_rule.h"

namespace sluice::optim {

// An optimizer as configured, for one table or for the dense net.
struct OptimizerConfig {
  std::string name = "adagrad";
  double learning_rate = 0.02;
  double momentum = 0.9;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double initial_accumulator = 0.0;
  double ftrl_beta = 1.0;
  double ftrl_power = 0.5;
  double l1 = 0.0;
  double l2 = 0.0;
  double weight_decay = 0.0;
  double clip_value = 0.0;
  double clip_norm = 0.0;
  bool lazy_decay = false;
  ScheduleConfig schedule;

  template <class V>
  void Visit(V& v) {
    v.Field("name", name,
            {.text = "The update rule.",
             .choices = {"sgd", "momentum", "adagrad", "rowwise_adagrad", "ftrl", "adam", "adamw"}});
    v.Field("learning_rate", learning_rate, {.text = "Learning rate, before the schedule.", .min = 0});
    v.Field("momentum", momentum, {.text = "momentum: decay of the velocity.", .min = 0, .max = 1});
    v.Field("beta1", beta1, {.text = "adam, adamw: decay of the first moment.", .min = 0, .max = 1});
    v.Field("beta2", beta2, {.text = "adam, adamw: decay of the second moment.", .min = 0, .max = 1});
    v.Field("epsilon", epsilon,
            {.text = "adagrad, rowwise_adagrad, adam, adamw: added to the square root in the denominator.", .min = 0});
    v.Field("initial_accumulator", initial_accumulator,
            {.text = "adagrad, rowwise_adagrad, ftrl: the sum of squares before the first step.", .min = 0});
    v.Field("ftrl_beta", ftrl_beta, {.text = "ftrl: beta of the per-coordinate rate.", .min = 0});
    v.Field("ftrl_power", ftrl_power,
            {.text = "ftrl: power of the sum of squares in the per-coordinate rate.", .min = 0, .max = 1});
    v.Field("l1", l1, {.text = "L1 penalty on the rows, or dense weights, that a step touches.", .min = 0});
    v.Field("l2", l2, {.text = "L2 penalty on the rows, or dense weights, that a step touches.", .min = 0});
    v.Field("weight_decay", weight_decay,
            {.text = "adamw: decoupled decay of the rows, or dense weights, that a step touches.", .min = 0});
    v.Field("clip_value", clip_value, {.text = "Every gradient element is cut to [-c, c]; 0 turns it off.", .min = 0});
    v.Field("clip_norm", clip_norm,
            {.text = "Dense gradients are scaled down to this global norm; 0 turns it off. Not for tables.", .min = 0});
    v.Field("lazy_decay", lazy_decay,
            {.text = "Rows: momentum, adam and adamw first decay a row's slots for the steps that it missed."});
    v.Struct("schedule", schedule, {.text = "How the learning rate changes during training."});
  }
};

// The rule that a configuration stands for, at its undecayed learning rate.
// Errors       kInvalidArgument naming the key: an unknown name, a range that the rule forbids (a beta of 1, a learning
//              rate of 0 for FTRL), a schedule that lacks what its kind needs.
Result<Rule> MakeRule(const OptimizerConfig& config);

// The configured name of a rule.
const char* RuleName(RuleKind kind);

}  // namespace sluice::optim
