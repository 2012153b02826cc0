#include "placement/partial_form.h"

#include <algorithm>

#include <fmt/format.h>

#include "placement/column_routes.h"
#include "placement/ownership.h"

namespace sluice::placement {

int OwnerOf(const nn::OwnedWeights& weights, const Strategy& strategy, const std::vector<int>& vocabulary_of_field) {
  if (weights.read_elsewhere) return -1;
  return strategy.home[static_cast<size_t>(vocabulary_of_field[static_cast<size_t>(weights.field)])];
}

int64_t FormBytes(const FormInput& input, const Strategy& strategy, const std::vector<int>& vocabulary_of_field,
                  int64_t batch_size, int64_t scalar_bytes, int num_ranks) {
  const int64_t others = num_ranks - 1;
  const int64_t partial_bytes = strategy.partials == comm::Wire::kBf16 ? 2 : scalar_bytes;
  const int64_t dense_bytes = strategy.dense_gradients == comm::Wire::kBf16 ? 2 : scalar_bytes;
  int64_t owned = 0, spread = 0;
  for (const nn::OwnedWeights& weights : input.weights)
    (OwnerOf(weights, strategy, vocabulary_of_field) >= 0 ? owned : spread) += weights.params.size();
  if (strategy.replicated) {
    int64_t columns = 0;
    for (const nn::OperatorColumns& op : input.operators) columns += op.width;
    return 2 * others * (batch_size * columns * partial_bytes + spread * dense_bytes);
  }
  int64_t bytes = 2 * others * (input.dense_params - owned) * dense_bytes;
  for (const nn::Reduction reduction : {nn::Reduction::kSum, nn::Reduction::kMax}) {
    const ColumnRoutes routes = MakeColumnRoutes(strategy, vocabulary_of_field, input.operators, reduction, num_ranks);
    const int64_t ways = reduction == nn::Reduction::kMax ? 3 : 2;
    bytes += ways * others * batch_size * Width(routes.reduced) * partial_bytes;
    for (int r = 0; r < num_ranks; ++r)
      bytes += 2 * (batch_size - SamplesOfRank(batch_size, r, num_ranks).size()) *
               Width(routes.from[static_cast<size_t>(r)]) * partial_bytes;
  }
  return bytes;
}

namespace {

// The vocabularies whose fields have weights in first layers.
std::vector<size_t> SplitVocabularies(const FormInput& products, const std::vector<int>& vocabulary_of_field) {
  std::vector<size_t> split;
  for (const nn::OwnedWeights& weights : products.weights)
    split.push_back(static_cast<size_t>(vocabulary_of_field[static_cast<size_t>(weights.field)]));
  std::sort(split.begin(), split.end());
  split.erase(std::unique(split.begin(), split.end()), split.end());
  return split;
}

}  // namespace

Result<FormChoice> ChooseForm(const StrategyConfig& config, bool deterministic, const FormInput& pooled,
                              const FormInput& products, const std::vector<int>& vocabulary_of_field,
                              int64_t batch_size, int64_t scalar_bytes, int num_ranks, Strategy* strategy) {
  const std::string& wish = config.first_layer;
  const bool split = wish == "by_rows" || wish == "by_hash";
  if (deterministic) {
    if (split)
      return InvalidArgument(
          "strategy.first_layer: {} does not go with deterministic: true, since products over the rows "
          "that a rank owns depend on how rows are divided; use pooled",
          wish);
    return FormChoice{};
  }
  if (!strategy->owner_computes()) {
    if (split)
      return InvalidArgument(
          "strategy.first_layer: {} does not go with placement rows_a2a, where no partial results travel", wish);
    return FormChoice{};
  }
  if (wish == "pooled") return FormChoice{nn::PartialForm::kPooled, ""};
  if (products.weights.empty())
    return FormChoice{
        nn::PartialForm::kPooled,
        split ? "strategy.first_layer: no embedding meets first layers alone; embeddings stay pooled" : ""};
  if (wish == "by_rows" && strategy->replicated) {
    // Any balanced division does: rows of these vocabularies are looked up as often as those of all others.
    Strategy whole = *strategy;
    whole.of_vocabulary.assign(whole.of_vocabulary.size(), Placement::kFieldA2a);
    BalanceHomes({}, num_ranks, &whole);
    strategy->home = whole.home;
  }
  for (const size_t v : SplitVocabularies(products, vocabulary_of_field)) {
    if (wish == "by_rows" && strategy->home[v] < 0)
      return InvalidArgument(
          "strategy.first_layer: by_rows needs fields that live whole at one rank; give them placement "
          "field_a2a, or all fields des");
    if (wish == "by_hash" && strategy->home[v] >= 0)
      return InvalidArgument(
          "strategy.first_layer: by_hash needs rows that are spread over ranks; with placement field_a2a "
          "use by_rows");
  }
  const auto bytes = [&](const FormInput& input) {
    return FormBytes(input, *strategy, vocabulary_of_field, batch_size, scalar_bytes, num_ranks);
  };
  const int64_t with_pooled = bytes(pooled), with_products = bytes(products);
  const auto per_sample = [&](int64_t all) {
    return static_cast<double>(all) / static_cast<double>(std::max<int64_t>(1, batch_size));
  };
  FormChoice choice;
  choice.form = split || with_products < with_pooled ? nn::PartialForm::kProducts : nn::PartialForm::kPooled;
  choice.reason = fmt::format("partials travel {}: {:.1f} bytes per sample with the dense gradients, {} {:.1f}",
                              choice.form == nn::PartialForm::kProducts ? "as products with first layers" : "pooled",
                              per_sample(choice.form == nn::PartialForm::kProducts ? with_products : with_pooled),
                              choice.form == nn::PartialForm::kProducts ? "pooled" : "as products with first layers",
                              per_sample(choice.form == nn::PartialForm::kProducts ? with_pooled : with_products));
  return choice;
}

}  // namespace sluice::placement
