#include "optim/config.h"

namespace sluice::optim {
namespace {

constexpr RuleKind kAllKinds[] = {RuleKind::kSgd,  RuleKind::kMomentum, RuleKind::kAdagrad, RuleKind::kRowwiseAdagrad,
                                  RuleKind::kFtrl, RuleKind::kAdam,     RuleKind::kAdamW};

}  // namespace

const char* RuleName(RuleKind kind) {
  switch (kind) {
    case RuleKind::kSgd:
      return "sgd";
    case RuleKind::kMomentum:
      return "momentum";
    case RuleKind::kAdagrad:
      return "adagrad";
    case RuleKind::kRowwiseAdagrad:
      return "rowwise_adagrad";
    case RuleKind::kFtrl:
      return "ftrl";
    case RuleKind::kAdam:
      return "adam";
    case RuleKind::kAdamW:
      return "adamw";
  }
  return "unknown";
}

Result<Rule> MakeRule(const OptimizerConfig& config) {
  Rule rule;
  bool known = false;
  for (const RuleKind kind : kAllKinds) {
    if (config.name != RuleName(kind)) continue;
    rule.kind = kind;
    known = true;
  }
  if (!known) {
    return InvalidArgument("optimizer.name: '{}' is none of sgd, momentum, adagrad, rowwise_adagrad, ftrl, adam, adamw",
                           config.name);
  }
  const bool adam = rule.kind == RuleKind::kAdam || rule.kind == RuleKind::kAdamW;
  if (!(config.learning_rate >= 0))
    return InvalidArgument("optimizer.learning_rate: {} is below 0", config.learning_rate);
  if (rule.kind == RuleKind::kFtrl && config.learning_rate == 0)
    return InvalidArgument("optimizer.learning_rate: ftrl divides by it, so it must be above 0");
  if (rule.kind == RuleKind::kFtrl && config.schedule.end_factor == 0 &&
      (config.schedule.kind == "polynomial" || config.schedule.kind == "cosine"))
    return InvalidArgument("optimizer.schedule.end_factor: ftrl divides by the learning rate, so it must stay above 0");
  if (adam && (config.beta1 >= 1 || config.beta2 >= 1))
    return InvalidArgument("optimizer.beta1, beta2: {} and {} must be below 1", config.beta1, config.beta2);
  rule.learning_rate = config.learning_rate;
  rule.momentum = config.momentum;
  rule.beta1 = config.beta1;
  rule.beta2 = config.beta2;
  rule.epsilon = config.epsilon;
  rule.initial_accumulator = config.initial_accumulator;
  rule.ftrl_beta = config.ftrl_beta;
  rule.ftrl_power = config.ftrl_power;
  rule.l1 = config.l1;
  rule.l2 = config.l2;
  rule.weight_decay = config.weight_decay;
  rule.clip_value = config.clip_value;
  rule.lazy_decay = config.lazy_decay;
  const Result<Schedule> schedule = Schedule::Make(config.schedule, config.learning_rate);
  if (!schedule.ok()) return schedule.status().WithContext("optimizer");
  return rule;
}

}  // namespace sluice::optim
