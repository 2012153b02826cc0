#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"

namespace sluice::optim {

// Learning rate as a multiple of the configured one, step by step.
struct ScheduleConfig {
  std::string kind = "constant";
  int64_t warmup_steps = 0;
  int64_t total_steps = 0;
  int64_t step_size = 0;
  double gamma = 0.1;
  double power = 1.0;
  double end_factor = 0.0;
  int64_t patience = 2;
  double min_delta = 1e-4;

  template <class V>
  void Visit(V& v) {
    v.Field("kind", kind,
            {.text = "How the learning rate changes with the steps, after warm-up.",
             .choices = {"constant", "step", "polynomial", "cosine", "plateau"}});
    v.Field("warmup_steps", warmup_steps,
            {.text = "The rate rises linearly from 1/n of itself over the first n steps; every kind has it.",
             .unit = "steps",
             .min = 0});
    v.Field("total_steps", total_steps,
            {.text = "polynomial, cosine: steps, warm-up included, after which end_factor is reached.",
             .unit = "steps",
             .min = 0});
    v.Field("step_size", step_size,
            {.text = "step: the rate is multiplied by gamma every so many steps after warm-up.",
             .unit = "steps",
             .min = 0});
    v.Field("gamma", gamma, {.text = "step, plateau: the factor of one decay.", .min = 0, .max = 1});
    v.Field("power", power, {.text = "polynomial: its exponent; 1 is linear.", .min = 0});
    v.Field("end_factor", end_factor,
            {.text = "polynomial, cosine, plateau: the rate never falls below this share of the configured one.",
             .min = 0,
             .max = 1});
    v.Field("patience", patience,
            {.text = "plateau: evaluations without improvement before a decay.", .unit = "evaluations", .min = 0});
    v.Field("min_delta", min_delta, {.text = "plateau: an improvement smaller than this counts as none.", .min = 0});
  }
};

// What a schedule must remember in a checkpoint; the other kinds are functions of the step alone.
struct ScheduleState {
  double factor = 1.0;  // product of plateau decays so far
  double best = 0.0;    // best observation, larger is better
  int64_t num_observed = 0;
  int64_t num_bad = 0;  // observations since the best or the last decay
};

// Threads      a value type; LearningRate may run concurrently with itself.
class Schedule {
 public:
  // Errors: kInvalidArgument naming the key that a kind needs and does not have.
  static Result<Schedule> Make(const ScheduleConfig& config, double learning_rate);

  // step counts from 1. Loshchilov and Hutter 2017 for cosine (one cycle).
  double LearningRate(int64_t step) const;

  // plateau: tells the outcome of an evaluation, larger is better (give the negative of a loss). Returns true when the
  // rate decayed. Other kinds ignore it.
  bool Observe(double value);

  const ScheduleState& state() const { return state_; }
  void set_state(const ScheduleState& state) { state_ = state; }

 private:
  Schedule(const ScheduleConfig& config, double learning_rate) : config_(config), learning_rate_(learning_rate) {}
  double Factor(int64_t step) const;

  ScheduleConfig config_;
  double learning_rate_;
  ScheduleState state_;
};

}  // namespace sluice::optim
