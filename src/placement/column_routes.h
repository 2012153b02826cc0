#pragma once

#include <cstdint>
#include <vector>

#include "base/chunks.h"
#include "nn/net.h"
#include "placement/strategy.h"

namespace sluice::placement {

// How the columns of the partials that are reduced alike (summed, or maximised) reach the ranks with the samples, where
// the batch is divided. A column is in one of `reduced`, `from` and `pulled` alone, but for sums over fields of several
// placements, which are in `reduced` and `pulled`.
struct ColumnRoutes {
  int64_t columns = 0;                   // all of them
  std::vector<Range> reduced;            // owners that hold some of the rows add to them
  std::vector<std::vector<Range>> from;  // [rank]: columns of fields whose rows that rank holds alone
  std::vector<Range> pulled;             // rows that travel add to them
};

int64_t Width(const std::vector<Range>& columns);

// The routes of the columns with that reduction. `vocabulary_of_field` as by embedding::VirtualIdBuilder.
ColumnRoutes MakeColumnRoutes(const Strategy& strategy, const std::vector<int>& vocabulary_of_field,
                              const std::vector<nn::OperatorColumns>& operators, nn::Reduction reduction,
                              int num_ranks);

}  // namespace sluice::placement
