#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "nn/net.h"
#include "placement/strategy.h"

namespace sluice::placement {

// What a net sends in one of its forms (nn/partial_form.h).
struct FormInput {
  nn::PartialForm form = nn::PartialForm::kWhole;
  std::vector<nn::OperatorColumns> operators;
  std::vector<nn::OwnedWeights> weights;
  int64_t dense_params = 0;
};
template <class T>
FormInput FormInputOf(const nn::Net<T>& net) {
  return {net.form_costs().form, net.operator_columns(), net.owned_weights(), net.params().size()};
}

// The rank that alone applies the gradient of some weights, or -1: they are summed over ranks. Where a field's rows
// live at one rank, so do its rows of first layers.
int OwnerOf(const nn::OwnedWeights& weights, const Strategy& strategy, const std::vector<int>& vocabulary_of_field);

// Payload of the partials, their gradients and the dense gradients of one training step of B samples, summed over
// ranks: the part of a step's bytes that the form changes. docs/algorithms/des.md, costs of forms.
int64_t FormBytes(const FormInput& input, const Strategy& strategy, const std::vector<int>& vocabulary_of_field,
                  int64_t batch_size, int64_t scalar_bytes, int num_ranks);

// Settles `strategy.first_layer`.
// `pooled`, `products`  the model in those forms, on this data.
// Semantics    pooled: kPooled. by_hash, by_rows: kProducts, where fields' rows are spread over ranks, or live whole at
//              one each; by_rows with placement des gives every vocabulary a home (`strategy`). auto: the form that
//              sends fewer bytes with the homes that there are. Where no operator takes another form, or rows travel to
//              the samples altogether, and in deterministic mode, kWhole or kPooled with a reason.
// Errors       kInvalidArgument where by_rows or by_hash contradicts the placements or deterministic mode.
struct FormChoice {
  nn::PartialForm form = nn::PartialForm::kWhole;
  std::string reason;  // for the log; empty: nothing to say
};
Result<FormChoice> ChooseForm(const StrategyConfig& config, bool deterministic, const FormInput& pooled,
                              const FormInput& products, const std::vector<int>& vocabulary_of_field,
                              int64_t batch_size, int64_t scalar_bytes, int num_ranks, Strategy* strategy);

}  // namespace sluice::placement
