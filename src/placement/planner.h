#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "placement/cost_model.h"
#include "placement/strategy.h"

namespace sluice::placement {

enum class InputMode { kAuto, kReplicated, kSharded };

struct PlanOptions {
  std::vector<std::optional<Placement>> fixed;  // [vocabulary] what the configuration names; empty: nothing
  InputMode input = InputMode::kAuto;           // auto: sharded where no rank computes for others' samples
  bool may_divide = true;                       // batch and dense net may be divided among ranks
  bool may_replicate = true;                    // the dense net may run on all samples on every rank (des)
  bool without_des = false;                     // rows_a2a and field_a2a only
};

// One placement of a vocabulary: its own share of a step, apart from what placements pay once (shared columns,
// messages' heads, latency).
struct Alternative {
  Placement placement = Placement::kRowsA2a;
  bool possible = true;
  std::string why_not;
  double bytes_per_sample = 0;
  double step_s = 0;  // of an average rank; 0 without a machine
};

struct PlannedVocabulary {
  std::vector<Alternative> alternatives;  // rows_a2a, field_a2a, des_rs
  Placement choice = Placement::kRowsA2a;
  std::string reason;  // in words, with numbers
};

// A whole model under one placement, or under the best of some.
struct WholePlan {
  std::string name;
  bool possible = true;
  std::string why_not;
  Strategy strategy;
  StepCost cost;
};

struct Plan {
  Strategy strategy;
  StepCost cost;
  bool by_time = false;
  std::string reason;  // of the plan as a whole
  std::vector<PlannedVocabulary> vocabularies;
  std::vector<WholePlan> rivals;  // rows_a2a, field_a2a, best mix without DES, des_rs, des
};

// Chooses a placement for every vocabulary, by the time of a step where the machine's link is known, else by bytes.
// Semantics    the least cost over all assignments that fit input.memory_per_rank (docs/algorithms/planner.md says for
//              which part of the problem that is exact). `des` takes part where it may: by time always, by bytes where
//              the dense net is next to nothing, since it computes all samples on every rank.
// Errors       kInvalidArgument where nothing fits the memory, naming what the smallest needs; kInvalidArgument where
//              no placement is allowed.
Result<Plan> MakePlan(const PlanInput& input, const PlanOptions& options);

// The cost of a strategy that was chosen elsewhere, with words.
double ObjectiveOf(const PlanInput& input, const StepCost& cost);

// Homes for the vocabularies of kFieldA2a, all anew: the costliest first, each to the rank with the least cost among
// those with memory for it. False where some vocabulary finds no rank; its home is then -1.
bool PlaceHomes(const PlanInput& input, Strategy* strategy);
// Work of a vocabulary at its home: keys pooled and columns sent, per sample.
std::vector<double> HomeCosts(const PlanInput& input);

// A strategy as a line of text for the other ranks, and back. Errors: kDataLoss.
std::string Encode(const Strategy& strategy);
Result<Strategy> DecodeStrategy(const std::string& text);

// The plan as tables and sentences.
std::string ToText(const PlanInput& input, const Plan& plan);

}  // namespace sluice::placement
