#include "train/rank_context.h"

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/log.h"
#include "placement/partial_form.h"
#include "placement/planner.h"
#include "train/planning.h"

namespace sluice::train {
namespace {

template <class T>
Status SettleForm(const RunConfig& config, bool logs, RankContext* context, ModelState<T>* state) {
  placement::FormInput pooled, products;
  std::vector<std::string> notes;
  if (!config.deterministic) {
    SLUICE_ASSIGN_OR_RETURN(const auto net, nn::Net<T>::Build(state->spec, state->schema, nn::PartialForm::kPooled));
    pooled = placement::FormInputOf(*net);
    SLUICE_ASSIGN_OR_RETURN(const auto split,
                            nn::Net<T>::Build(state->spec, state->schema, nn::PartialForm::kProducts));
    products = placement::FormInputOf(*split);
    notes = split->form_costs().notes;
  }
  const std::vector<int>& vocabularies = state->tables->ids().vocabulary_of_fields();
  SLUICE_ASSIGN_OR_RETURN(
      const placement::FormChoice choice,
      placement::ChooseForm(config.strategy, config.deterministic, pooled, products, vocabularies,
                            config.train.batch_size, sizeof(T), context->ranks->size(), &context->strategy));
  context->form = choice.form;
  if (logs && !choice.reason.empty()) SLUICE_INFO("{}", choice.reason);
  const bool wanted = config.strategy.first_layer == "by_rows" || config.strategy.first_layer == "by_hash";
  const bool unsplit = products.weights.empty() && context->strategy.owner_computes();
  if (logs && (choice.form == nn::PartialForm::kProducts || wanted || unsplit))
    for (const std::string& note : notes) SLUICE_INFO("{}", note);
  return state->TakeForm(choice.form);
}

// What a table keeps by shard, for all its vocabularies together, cannot be kept where they live apart.
template <class T>
Status CheckHomes(const RunConfig& config, const placement::Strategy& strategy, const ModelState<T>& state) {
  for (int t = 0; t < state.tables->size(); ++t) {
    const nn::TableNeed& need = state.tables->need(t);
    const embedding::TableConfig table = TableSettings(config, need.name);
    std::set<int> vocabularies;
    bool home = false;
    for (const int field : need.fields) {
      const int v = state.tables->ids().vocabulary_of_field(field);
      vocabularies.insert(v);
      home = home || strategy.home[static_cast<size_t>(v)] >= 0;
    }
    if (!home || vocabularies.size() == 1) continue;
    const char* setting = table.expiry.max_rows > 0 ? "expiry.max_rows" : "admission.kind count";
    if (table.expiry.max_rows > 0 || table.admission.kind == "count")
      return InvalidArgument(
          "tables.{}: {} is kept by shard, over all vocabularies of the table, which placement field_a2a "
          "keeps apart; give its fields another placement, or tables of their own",
          need.name, setting);
  }
  return Status::Ok();
}

// Owners of keys learn of the others in a bag where pooling divides by them.
template <class T>
Status FindWholeBags(const RunConfig& config, const ModelState<T>& state, RankContext* context) {
  context->whole_bags = WholeBags(*state.net, state.schema);
  // The keys of others come behind one's own, so weights would add up in another order than on one rank.
  for (size_t f = 0; f < context->whole_bags.size(); ++f)
    if (config.deterministic && context->strategy.sharded_input && context->whole_bags[f] != 0 &&
        state.schema.fields[f].weighted)
      return InvalidArgument(
          "strategy.input: sharded does not go with deterministic: true where pooling divides by the sum "
          "of weights, as that of field {} does; use replicated",
          state.schema.fields[f].name);
  return Status::Ok();
}

}  // namespace

template <class T>
Status PrepareRanks(const RunConfig& config, bool logs, RankContext* context, ModelState<T>* state) {
  SLUICE_RETURN_IF_ERROR(FindWholeBags(config, *state, context));
  context->dense = {.bucket_bytes = config.strategy.dense.bucket_kib << 10,
                    .overlap = config.strategy.dense.overlap,
                    .wire = context->strategy.dense_gradients};
  SLUICE_RETURN_IF_ERROR(SettleForm(config, logs, context, state));
  return CheckHomes(config, context->strategy, *state);
}

template <class T>
Status CheckNamedHomes(const RunConfig& config, const ModelState<T>& state) {
  SLUICE_ASSIGN_OR_RETURN(const auto named, placement::NamedPlacements(config.strategy, state.schema));
  placement::Strategy strategy;
  for (const auto& placement : named) strategy.home.push_back(placement == placement::Placement::kFieldA2a ? 0 : -1);
  return CheckHomes(config, strategy, state);
}

template <class T>
Status SettleStrategy(const RunConfig& config, bool logs, const PlanStrategy& plan, RankContext* context,
                      ModelState<T>* state) {
  placement::Ranks& ranks = *context->ranks;
  SLUICE_RETURN_IF_ERROR(CheckNamedHomes(config, *state));
  SLUICE_ASSIGN_OR_RETURN(placement::Machine link, LinkOf(config.strategy.planner));
  if (config.strategy.planner.link == "measure")
    SLUICE_RETURN_IF_ERROR(placement::MeasureLink(&ranks.control(), &link));
  Result<std::string> planned = std::string();
  if (ranks.leads()) {
    auto strategy = plan(link);
    planned =
        strategy.ok() ? Result<std::string>(placement::Encode(*strategy)) : Result<std::string>(strategy.status());
  }
  SLUICE_ASSIGN_OR_RETURN(const std::string text, ranks.Share(planned));
  SLUICE_ASSIGN_OR_RETURN(const placement::Strategy chosen, placement::DecodeStrategy(text));
  SLUICE_ASSIGN_OR_RETURN(context->strategy, placement::Settle(config.strategy, state->schema, ranks.size(), chosen));
  return PrepareRanks(config, logs, context, state);
}

template Status SettleStrategy<float>(const RunConfig&, bool, const PlanStrategy&, RankContext*, ModelState<float>*);
template Status SettleStrategy<double>(const RunConfig&, bool, const PlanStrategy&, RankContext*, ModelState<double>*);
template Status CheckNamedHomes<float>(const RunConfig&, const ModelState<float>&);
template Status CheckNamedHomes<double>(const RunConfig&, const ModelState<double>&);
template Status PrepareRanks<float>(const RunConfig&, bool, RankContext*, ModelState<float>*);
template Status PrepareRanks<double>(const RunConfig&, bool, RankContext*, ModelState<double>*);

}  // namespace sluice::train
