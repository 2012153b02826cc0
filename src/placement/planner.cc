#include "placement/planner.h"

#include <algorithm>
#include <array>
#include <limits>
#include <sstream>
#include <utility>

#include <fmt/format.h>

namespace sluice::placement {
namespace {

// Dense work that every rank can as well do for all samples.
constexpr double kReplicableFlops = 4096;
// Shared columns beyond so many are taken as paid for, all together.
constexpr size_t kMaxFreeShared = 8;
constexpr int kMaxPasses = 4;
constexpr size_t kFew = 32;  // vocabularies, for the searches that try every start or every pair
constexpr Placement kDivided[] = {Placement::kRowsA2a, Placement::kFieldA2a, Placement::kDesRs};
constexpr double kInfinity = std::numeric_limits<double>::infinity();

bool Sharded(InputMode mode, const Strategy& strategy) {
  if (strategy.replicated) return false;
  return mode == InputMode::kSharded || (mode == InputMode::kAuto && !strategy.owner_computes());
}

double RowMemory(const VocabularyCost& vocabulary) {
  return vocabulary.rows * static_cast<double>(vocabulary.row_bytes);
}

bool MayHaveHome(const PlanInput& input, size_t v) {
  const VocabularyCost& vocabulary = input.vocabularies[v];
  return vocabulary.no_home.empty() && (input.largest_home <= 0 || RowMemory(vocabulary) <= input.largest_home);
}

std::string Mebibytes(double bytes) {
  return bytes >= 1073741824.0 ? fmt::format("{:.2f} GiB", bytes / 1073741824.0)
                               : fmt::format("{:.1f} MiB", bytes / 1048576.0);
}

// What a vocabulary's own columns and rows cost under a placement: the cost of a model with nothing else in it, less
// that of one with nothing at all.
class OwnCosts {
 public:
  OwnCosts(const PlanInput& input, InputMode mode) : single_(input), mode_(mode) {
    single_.dense_params = single_.dense_slots = single_.batch_sums = single_.gathered_labels = 0;
    single_.flops_per_sample = 0;
    single_.shared.clear();
    // The latency of a collective belongs to a placement, not to one of its vocabularies.
    single_.machine.latency_s = 0;
  }
  Alternative Of(const VocabularyCost& vocabulary, Placement placement) {
    VocabularyCost nothing;
    nothing.home_key_bytes.assign(static_cast<size_t>(single_.num_ranks), 0.0);
    const StepCost with = CostOfOne(vocabulary, placement), without = CostOfOne(nothing, placement);
    Alternative own{.placement = placement};
    own.bytes_per_sample =
        (with.total_bytes() - without.total_bytes()) / static_cast<double>(std::max<int64_t>(1, single_.batch_size));
    own.step_s = with.mean_s - without.mean_s;
    return own;
  }

 private:
  StepCost CostOfOne(const VocabularyCost& vocabulary, Placement placement) {
    single_.vocabularies = {vocabulary};
    single_.vocabularies[0].shared.clear();
    single_.dense_params = vocabulary.layer_params;
    Strategy strategy = Uniform(placement, 1);
    strategy.home[0] = placement == Placement::kFieldA2a ? 0 : -1;
    strategy.sharded_input = Sharded(mode_, strategy);
    return CostOf(single_, strategy);
  }

  PlanInput single_;
  InputMode mode_;
};

// The search for the best strategy among those allowed.
class Search {
 public:
  Search(const PlanInput& input, const PlanOptions& options) : input_(input), options_(options) {
    OwnCosts own(input, options.input);
    for (const VocabularyCost& vocabulary : input.vocabularies) {
      auto& costs = own_.emplace_back();
      for (size_t p = 0; p < std::size(kDivided); ++p) costs[p] = own.Of(vocabulary, kDivided[p]);
    }
  }

  const std::array<Alternative, 3>& own(size_t v) const { return own_[v]; }

  bool Allowed(size_t v, Placement placement) const {
    if (options_.without_des && placement == Placement::kDesRs) return false;
    if (options_.fixed.empty() || !options_.fixed[v]) return true;
    const Placement fixed = *options_.fixed[v];
    return fixed == placement || (fixed == Placement::kDes && placement == Placement::kDesRs);
  }

  // Completes homes and input; infinite where it does not fit.
  double Price(Strategy* strategy, StepCost* cost) const {
    if (!PlaceHomes(input_, strategy)) return kInfinity;
    strategy->sharded_input = Sharded(options_.input, *strategy);
    *cost = CostOf(input_, *strategy);
    if (input_.memory_per_rank > 0 && cost->largest_memory() > input_.memory_per_rank) return kInfinity;
    return ObjectiveOf(input_, *cost);
  }

  // The best strategy that divides the batch; infinite where there is none.
  double Divided(Strategy* best, StepCost* best_cost) const {
    double best_price = kInfinity;
    const size_t free_shared = input_.shared.size() <= kMaxFreeShared ? input_.shared.size() : 0;
    for (unsigned kinds = 1; kinds < 1u << std::size(kDivided); ++kinds) {
      for (unsigned paid = 0; paid < 1u << free_shared; ++paid) {
        Strategy strategy;
        if (!Cheapest(kinds, free_shared == 0 ? ~0u : paid, &strategy)) continue;
        StepCost cost;
        double price = PriceInMemory(kinds, &strategy, &cost);
        // Where vocabularies are few, which rank is the slowest weighs more, and every start is worth a search.
        if (price < kInfinity && input_.vocabularies.size() <= kFew) price = Improve(price, &strategy, &cost);
        if (price < best_price) {
          best_price = price;
          *best = strategy;
          *best_cost = cost;
        }
      }
    }
    if (best_price == kInfinity) return best_price;
    best_price = Improve(best_price, best, best_cost);
    return input_.vocabularies.size() <= kFew ? ImprovePairs(best_price, best, best_cost) : best_price;
  }

 private:
  double OwnOf(size_t v, size_t p) const {
    return input_.machine.knows_link() ? own_[v][p].step_s : own_[v][p].bytes_per_sample;
  }

  // Every vocabulary where it costs least by itself, among `kinds`, where rows_a2a alone leaves a shared column unpaid.
  bool Cheapest(unsigned kinds, unsigned paid, Strategy* strategy) const {
    *strategy = Uniform(Placement::kRowsA2a, static_cast<int>(input_.vocabularies.size()));
    for (size_t v = 0; v < input_.vocabularies.size(); ++v) {
      const auto& shared = input_.vocabularies[v].shared;
      const bool free =
          std::all_of(shared.begin(), shared.end(), [&](int s) { return s >= 32 || (paid >> s & 1u) != 0; });
      double least = kInfinity;
      for (size_t p = 0; p < std::size(kDivided); ++p) {
        if ((kinds >> p & 1u) == 0 || !Allowed(v, kDivided[p])) continue;
        if (kDivided[p] != Placement::kRowsA2a && !free) continue;
        if (OwnOf(v, p) >= least) continue;
        least = OwnOf(v, p);
        strategy->of_vocabulary[v] = kDivided[p];
      }
      if (least == kInfinity) return false;
    }
    return true;
  }

  // Vocabularies that no rank has memory for go to their next best placement, the largest first.
  double PriceInMemory(unsigned kinds, Strategy* strategy, StepCost* cost) const {
    for (;;) {
      const double price = Price(strategy, cost);
      if (price < kInfinity) return price;
      size_t largest = input_.vocabularies.size();
      for (size_t v = 0; v < input_.vocabularies.size(); ++v) {
        if (strategy->of_vocabulary[v] != Placement::kFieldA2a || (!options_.fixed.empty() && options_.fixed[v]))
          continue;
        if (largest == input_.vocabularies.size() ||
            HomeMemory(input_, input_.vocabularies[v]) > HomeMemory(input_, input_.vocabularies[largest]))
          largest = v;
      }
      if (largest == input_.vocabularies.size()) return kInfinity;
      double least = kInfinity;
      for (const size_t p : {size_t{0}, size_t{2}}) {
        if (!Allowed(largest, kDivided[p]) || (kinds >> p & 1u) == 0 || OwnOf(largest, p) >= least) continue;
        least = OwnOf(largest, p);
        strategy->of_vocabulary[largest] = kDivided[p];
      }
      if (least == kInfinity) return kInfinity;
    }
  }

  // Takes `strategy` for *best where it costs less.
  bool TakeIfBetter(Strategy strategy, double* price, Strategy* best, StepCost* best_cost) const {
    StepCost cost;
    const double other = Price(&strategy, &cost);
    if (other >= *price * (1 - 1e-12)) return false;
    *price = other;
    *best = std::move(strategy);
    *best_cost = std::move(cost);
    return true;
  }

  // One vocabulary after another to where the whole then costs least, until nothing changes.
  double Improve(double price, Strategy* best, StepCost* best_cost) const {
    bool changed = true;
    for (int pass = 0; pass < kMaxPasses && changed; ++pass) {
      changed = false;
      for (size_t v = 0; v < input_.vocabularies.size(); ++v) {
        for (const Placement placement : kDivided) {
          if (placement == best->of_vocabulary[v] || !Allowed(v, placement)) continue;
          Strategy strategy = *best;
          strategy.of_vocabulary[v] = placement;
          changed = TakeIfBetter(std::move(strategy), &price, best, best_cost) || changed;
        }
      }
    }
    return price;
  }

  // The same with two at a time.
  double ImprovePairs(double price, Strategy* best, StepCost* best_cost) const {
    bool changed = true;
    for (int pass = 0; pass < kMaxPasses && changed; ++pass) {
      changed = false;
      for (size_t v = 0; v < input_.vocabularies.size(); ++v) {
        for (size_t w = 0; w < v; ++w) {
          for (const Placement first : kDivided) {
            for (const Placement second : kDivided) {
              if (first == best->of_vocabulary[v] || second == best->of_vocabulary[w]) continue;
              if (!Allowed(v, first) || !Allowed(w, second)) continue;
              Strategy strategy = *best;
              strategy.of_vocabulary[v] = first;
              strategy.of_vocabulary[w] = second;
              changed = TakeIfBetter(std::move(strategy), &price, best, best_cost) || changed;
            }
          }
        }
      }
    }
    return price;
  }

  const PlanInput& input_;
  const PlanOptions& options_;
  std::vector<std::array<Alternative, 3>> own_;
};

double PerSample(const PlanInput& input, double bytes) {
  return bytes / static_cast<double>(std::max<int64_t>(1, input.batch_size));
}

WholePlan Rival(const PlanInput& input, const PlanOptions& options, const std::string& name, Placement placement) {
  WholePlan rival{.name = name};
  rival.strategy = Uniform(placement, static_cast<int>(input.vocabularies.size()));
  rival.possible = placement != Placement::kFieldA2a || PlaceHomes(input, &rival.strategy);
  if (!rival.possible) {
    rival.why_not = "some table is larger than a rank may hold";
    return rival;
  }
  rival.strategy.sharded_input = Sharded(options.input, rival.strategy);
  rival.cost = CostOf(input, rival.strategy);
  if (input.memory_per_rank > 0 && rival.cost.largest_memory() > input.memory_per_rank) {
    rival.possible = false;
    rival.why_not = fmt::format("a rank would need {}", Mebibytes(rival.cost.largest_memory()));
  }
  return rival;
}

// "1,027 B (0.41 ms) by field_a2a", with the time where that decides.
std::string Shown(const Alternative& one, bool by_time) {
  return by_time ? fmt::format("{:.0f} B and {:.3g} ms by {}", one.bytes_per_sample, 1e3 * one.step_s,
                               PlacementName(one.placement))
                 : fmt::format("{:.0f} B by {}", one.bytes_per_sample, PlacementName(one.placement));
}

std::string ReasonOf(const PlanInput& input, const PlanOptions& options, const Plan& plan, size_t v) {
  const VocabularyCost& vocabulary = input.vocabularies[v];
  const PlannedVocabulary& planned = plan.vocabularies[v];
  const double keys = PerSample(input, vocabulary.keys), rows = PerSample(input, vocabulary.unique_of_ranks);
  const int64_t columns = vocabulary.sum_columns + vocabulary.max_columns;
  std::string reason;
  switch (planned.choice) {
    case Placement::kRowsA2a:
      reason =
          fmt::format("{:.3g} keys a sample are {:.3g} unique rows of {} numbers", keys, rows, vocabulary.row_scalars);
      break;
    case Placement::kFieldA2a:
      reason = fmt::format("rank {} holds the table ({}) and sends {} pooled numbers for {:.3g} keys a sample",
                           plan.strategy.home[v], Mebibytes(RowMemory(vocabulary)), columns, keys);
      break;
    case Placement::kDes:
    case Placement::kDesRs:
      reason = columns > 0
                   ? fmt::format("{:.3g} keys a sample ({:.3g} unique rows) pool to {} numbers, reduced over {} ranks",
                                 keys, rows, columns, input.num_ranks)
                   : fmt::format("{:.3g} keys a sample add to columns that are reduced once for all fields", keys);
      break;
  }
  if (!options.fixed.empty() && options.fixed[v]) return reason + "; set by the configuration";
  std::string others;
  const Alternative* chosen = nullptr;
  for (const Alternative& one : planned.alternatives) {
    const Placement choice = planned.choice == Placement::kDes ? Placement::kDesRs : planned.choice;
    if (one.placement == choice)
      chosen = &one;
    else
      others += (others.empty() ? "" : ", ") +
                (one.possible ? Shown(one, plan.by_time)
                              : fmt::format("not {}: {}", PlacementName(one.placement), one.why_not));
  }
  reason += ": " + Shown(*chosen, plan.by_time) + " against " + others;
  std::string shared;
  for (const int s : vocabulary.shared)
    shared += (shared.empty() ? "" : ", ") + input.shared[static_cast<size_t>(s)].name;
  if (!shared.empty())
    reason += planned.choice == Placement::kRowsA2a
                  ? "; columns of " + shared + " need no reduction then"
                  : "; columns of " + shared + " are reduced once for all that add to them";
  return reason;
}

std::string WhyNoHome(const PlanInput& input, size_t v) {
  if (!input.vocabularies[v].no_home.empty()) return input.vocabularies[v].no_home;
  const std::string rows = Mebibytes(RowMemory(input.vocabularies[v]));
  return MayHaveHome(input, v)
             ? fmt::format("its {} do not fit one rank of {}", rows, Mebibytes(input.memory_per_rank))
             : fmt::format("its {} are more than the {} that one rank may hold", rows, Mebibytes(input.largest_home));
}

void Explain(const PlanInput& input, const PlanOptions& options, const Search& search, Plan* plan) {
  for (size_t v = 0; v < input.vocabularies.size(); ++v) {
    PlannedVocabulary& planned = plan->vocabularies.emplace_back();
    planned.choice = plan->strategy.of_vocabulary[v];
    for (Alternative one : search.own(v)) {
      if (one.placement == Placement::kFieldA2a && planned.choice != Placement::kFieldA2a) {
        // Alone on a rank that holds a share of everything else.
        Strategy alone = plan->strategy;
        alone.replicated = false;
        std::replace(alone.of_vocabulary.begin(), alone.of_vocabulary.end(), Placement::kDes, Placement::kDesRs);
        alone.of_vocabulary[v] = Placement::kFieldA2a;
        if (!PlaceHomes(input, &alone)) {
          one.possible = false;
          one.why_not = WhyNoHome(input, v);
        }
      }
      planned.alternatives.push_back(std::move(one));
    }
  }
  for (size_t v = 0; v < input.vocabularies.size(); ++v)
    plan->vocabularies[v].reason = ReasonOf(input, options, *plan, v);
}

std::string SummaryOf(const PlanInput& input, const Plan& plan) {
  int counts[4] = {0, 0, 0, 0};
  for (const Placement placement : plan.strategy.of_vocabulary) ++counts[static_cast<int>(placement)];
  std::string mix;
  for (int p = 0; p < 4; ++p)
    if (counts[p] > 0)
      mix += fmt::format("{}{} of {}", mix.empty() ? "" : ", ", PlacementName(static_cast<Placement>(p)), counts[p]);
  std::string text =
      fmt::format("{} of {} vocabularies: {:.1f} bytes per sample", mix.empty() ? "dense net alone, none" : mix,
                  input.vocabularies.size(), PerSample(input, plan.cost.total_bytes()));
  if (plan.by_time) text += fmt::format(", {:.3g} ms per step", 1e3 * plan.cost.time.total_s());
  text += plan.by_time ? "; chosen by time. Others: " : "; chosen by bytes. Others: ";
  for (size_t i = 0; i < plan.rivals.size(); ++i) {
    const WholePlan& rival = plan.rivals[i];
    text += i > 0 ? ", " : "";
    if (!rival.possible)
      text += rival.name + " does not fit";
    else if (plan.by_time)
      text += fmt::format("{} {:.3g} ms", rival.name, 1e3 * rival.cost.time.total_s());
    else
      text += fmt::format("{} {:.1f}", rival.name, PerSample(input, rival.cost.total_bytes()));
  }
  return text;
}

}  // namespace

double ObjectiveOf(const PlanInput& input, const StepCost& cost) {
  return input.machine.knows_link() ? cost.time.total_s() : cost.total_bytes();
}

std::vector<double> HomeCosts(const PlanInput& input) {
  std::vector<double> costs;
  for (const VocabularyCost& vocabulary : input.vocabularies)
    costs.push_back(PerSample(input, vocabulary.keys) * static_cast<double>(vocabulary.row_scalars) +
                    2 * static_cast<double>(vocabulary.sum_columns + vocabulary.max_columns));
  return costs;
}

bool PlaceHomes(const PlanInput& input, Strategy* strategy) {
  const size_t n = input.vocabularies.size();
  strategy->home.assign(n, -1);
  std::vector<size_t> homeless;
  for (size_t v = 0; v < n; ++v)
    if (strategy->of_vocabulary[v] == Placement::kFieldA2a) homeless.push_back(v);
  if (homeless.empty()) return true;
  const std::vector<double> costs = HomeCosts(input);
  const std::vector<double> without = MemoryOf(input, *strategy);
  // By cost, for balance; where that leaves one without room, by memory.
  for (const bool by_memory : {false, true}) {
    const auto weight = [&](size_t v) { return by_memory ? HomeMemory(input, input.vocabularies[v]) : costs[v]; };
    std::stable_sort(homeless.begin(), homeless.end(), [&](size_t a, size_t b) { return weight(a) > weight(b); });
    std::vector<double> memory = without, load(static_cast<size_t>(input.num_ranks), 0.0);
    bool all = true;
    for (const size_t v : homeless) {
      const double bytes = HomeMemory(input, input.vocabularies[v]);
      int best = -1;
      for (int r = 0; r < input.num_ranks && MayHaveHome(input, v); ++r) {
        if (input.memory_per_rank > 0 && memory[static_cast<size_t>(r)] + bytes > input.memory_per_rank) continue;
        if (best < 0 || load[static_cast<size_t>(r)] < load[static_cast<size_t>(best)]) best = r;
      }
      strategy->home[v] = best;
      all = all && best >= 0;
      if (best < 0) continue;
      memory[static_cast<size_t>(best)] += bytes;
      load[static_cast<size_t>(best)] += costs[v];
    }
    if (all) return true;
    if (!by_memory) strategy->home.assign(n, -1);
  }
  return false;
}

Result<Plan> MakePlan(const PlanInput& input, const PlanOptions& options) {
  const Search search(input, options);
  Plan plan;
  plan.by_time = input.machine.knows_link();
  double price = kInfinity;
  if (options.may_divide) price = search.Divided(&plan.strategy, &plan.cost);
  const int vocabularies = static_cast<int>(input.vocabularies.size());
  bool des = options.may_replicate && !options.without_des && options.input != InputMode::kSharded &&
             (plan.by_time || input.flops_per_sample <= kReplicableFlops || !options.may_divide);
  bool named_des = !options.fixed.empty();
  for (const auto& fixed : options.fixed) {
    des = des && (!fixed || *fixed == Placement::kDes);
    named_des = named_des && fixed && *fixed == Placement::kDes;
  }
  // Named for every field it is the configuration's wish, whatever the dense net.
  des = des || (named_des && options.may_replicate && options.input != InputMode::kSharded);
  const WholePlan replicated = Rival(input, options, "des", Placement::kDes);
  if (des && replicated.possible && (named_des || ObjectiveOf(input, replicated.cost) < price)) {
    plan.strategy = replicated.strategy;
    plan.cost = replicated.cost;
    price = ObjectiveOf(input, replicated.cost);
  }
  if (price == kInfinity) {
    const StepCost least = CostOf(input, Uniform(Placement::kRowsA2a, vocabularies));
    if (input.memory_per_rank > 0)
      return InvalidArgument(
          "strategy.planner.memory_per_rank: {} ranks of {} do not hold the model; with rows divided evenly each "
          "needs {}: use more ranks, or more memory",
          input.num_ranks, Mebibytes(input.memory_per_rank), Mebibytes(least.largest_memory()));
    return InvalidArgument("strategy: no placement is left to choose from");
  }
  for (const auto& [name, placement] :
       {std::pair{"rows_a2a", Placement::kRowsA2a}, {"field_a2a", Placement::kFieldA2a}, {"des_rs", Placement::kDesRs}})
    plan.rivals.push_back(Rival(input, options, name, placement));
  plan.rivals.push_back(replicated);
  if (!options.without_des) {
    WholePlan mix{.name = "best mix without DES"};
    PlanOptions others = options;
    others.without_des = true;
    others.fixed.clear();
    const Search rows_or_fields(input, others);
    mix.possible = rows_or_fields.Divided(&mix.strategy, &mix.cost) < kInfinity;
    if (!mix.possible) mix.why_not = "does not fit";
    plan.rivals.push_back(std::move(mix));
  }
  Explain(input, options, search, &plan);
  plan.reason = SummaryOf(input, plan);
  return plan;
}

std::string Encode(const Strategy& strategy) {
  std::string text = fmt::format("{} {} {} {} {} {}", int{strategy.replicated}, int{strategy.sharded_input},
                                 static_cast<int>(strategy.partials), static_cast<int>(strategy.rows),
                                 static_cast<int>(strategy.dense_gradients), strategy.of_vocabulary.size());
  for (size_t v = 0; v < strategy.of_vocabulary.size(); ++v)
    text += fmt::format(" {} {}", static_cast<int>(strategy.of_vocabulary[v]), strategy.home[v]);
  return text;
}

Result<Strategy> DecodeStrategy(const std::string& text) {
  std::istringstream in(text);
  Strategy strategy;
  int wires[3] = {0, 0, 0};
  size_t n = 0;
  in >> strategy.replicated >> strategy.sharded_input >> wires[0] >> wires[1] >> wires[2] >> n;
  for (size_t v = 0; v < n && in; ++v) {
    int placement = 0, home = -1;
    in >> placement >> home;
    if (placement < 0 || placement > static_cast<int>(Placement::kRowsA2a)) in.setstate(std::ios::failbit);
    strategy.of_vocabulary.push_back(static_cast<Placement>(placement));
    strategy.home.push_back(home);
  }
  for (const int wire : wires)
    if (wire < 0 || wire > static_cast<int>(comm::Wire::kBf16)) in.setstate(std::ios::failbit);
  if (!in) return DataLoss("rank 0's strategy is damaged");
  strategy.partials = static_cast<comm::Wire>(wires[0]);
  strategy.rows = static_cast<comm::Wire>(wires[1]);
  strategy.dense_gradients = static_cast<comm::Wire>(wires[2]);
  return strategy;
}

}  // namespace sluice::placement
