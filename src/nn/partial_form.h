#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/chunks.h"

namespace sluice::nn {

// In which form a model's operators hand their partials to other ranks. The function, its parameters, their names and
// places, and the tables are the same in all of them; docs/algorithms/des.md, operators.
enum class PartialForm {
  kWhole,     // the graph as written: what one rank runs
  kPooled,    // pooled embeddings travel, F k columns; a factorisation machine over the same factors adds one per label
  kProducts,  // where an embedding meets only first layers, its products with their weights travel, H0 columns
};
const char* PartialFormName(PartialForm form);

// Weights that the owners of rows multiply with what they pooled (kProducts): one field's rows of one layer.
struct OwnedWeights {
  int field = -1;               // schema index
  Range params;                 // in the flat buffer
  bool read_elsewhere = false;  // ranks without rows of the field read them too (the constants of a cross network)
};

// What a form sends per sample, for a planner.
struct FormCosts {
  PartialForm form = PartialForm::kWhole;
  int64_t sum_columns = 0, max_columns = 0;
  // Elements of OwnedWeights: their gradient is summed over ranks where a field's rows are spread over them; where each
  // field lives whole at one rank, only those read elsewhere are.
  int64_t owned_weights = 0, owned_weights_read_elsewhere = 0;
  // In words: what was split into products, and what was not and why. Empty for kWhole.
  std::vector<std::string> notes;
};

}  // namespace sluice::nn
