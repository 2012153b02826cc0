#include "optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace sluice::optim {

Result<Schedule> Schedule::Make(const ScheduleConfig& config, double learning_rate) {
  const std::string& kind = config.kind;
  if (kind != "constant" && kind != "step" && kind != "polynomial" && kind != "cosine" && kind != "plateau")
    return InvalidArgument("schedule.kind: '{}' is none of constant, step, polynomial, cosine, plateau", kind);
  if (kind == "step" && config.step_size <= 0)
    return InvalidArgument("schedule.step_size: kind 'step' needs it above 0");
  if ((kind == "polynomial" || kind == "cosine") && config.total_steps <= config.warmup_steps)
    return InvalidArgument("schedule.total_steps: kind '{}' needs more than warmup_steps ({}), got {}", kind,
                           config.warmup_steps, config.total_steps);
  return Schedule(config, learning_rate);
}

double Schedule::Factor(int64_t step) const {
  const ScheduleConfig& c = config_;
  if (step <= c.warmup_steps) return static_cast<double>(step) / static_cast<double>(c.warmup_steps);
  const int64_t after_warmup = step - c.warmup_steps;
  if (c.kind == "step") return std::pow(c.gamma, static_cast<double>((after_warmup - 1) / c.step_size));
  if (c.kind == "polynomial" || c.kind == "cosine") {
    const double span = static_cast<double>(c.total_steps - c.warmup_steps);
    const double progress = std::min(1.0, static_cast<double>(after_warmup) / span);
    const double shape =
        c.kind == "cosine" ? 0.5 * (1 + std::cos(std::numbers::pi * progress)) : std::pow(1 - progress, c.power);
    return c.end_factor + (1 - c.end_factor) * shape;
  }
  return 1.0;
}

double Schedule::LearningRate(int64_t step) const { return learning_rate_ * Factor(step) * state_.factor; }

bool Schedule::Observe(double value) {
  if (config_.kind != "plateau") return false;
  const bool improved = state_.num_observed == 0 || value > state_.best + config_.min_delta;
  ++state_.num_observed;
  if (improved) {
    state_.best = value;
    state_.num_bad = 0;
    return false;
  }
  if (++state_.num_bad <= config_.patience) return false;
  state_.num_bad = 0;
  const double before = state_.factor;
  state_.factor = std::max(config_.end_factor, before * config_.gamma);
  return state_.factor < before;
}

}  // namespace sluice::optim
