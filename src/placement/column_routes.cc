#include "placement/column_routes.h"

#include <algorithm>

#include "base/check.h"

namespace sluice::placement {
namespace {

// Adds a range behind those that are there.
void Add(Range columns, std::vector<Range>* to) {
  if (columns.empty()) return;
  if (!to->empty() && to->back().end == columns.begin)
    to->back().end = columns.end;
  else
    to->push_back(columns);
}

}  // namespace

int64_t Width(const std::vector<Range>& columns) {
  int64_t width = 0;
  for (const Range& range : columns) width += range.size();
  return width;
}

ColumnRoutes MakeColumnRoutes(const Strategy& strategy, const std::vector<int>& vocabulary_of_field,
                              const std::vector<nn::OperatorColumns>& operators, nn::Reduction reduction,
                              int num_ranks) {
  ColumnRoutes routes;
  routes.from.resize(static_cast<size_t>(num_ranks));
  for (const nn::OperatorColumns& op : operators) {
    if (op.reduction != reduction) continue;
    routes.columns += op.width;
    bool owners_add = false, rows_add = false;
    for (size_t p = 0; p < op.fields.size(); ++p) {
      const auto v = static_cast<size_t>(vocabulary_of_field[static_cast<size_t>(op.fields[p])]);
      const Placement placement = strategy.of_vocabulary[v];
      (placement == Placement::kRowsA2a ? rows_add : owners_add) = true;
      if (op.per_field == 0) continue;
      const int64_t begin = op.begin + static_cast<int64_t>(p) * op.per_field;
      const Range columns{begin, begin + op.per_field};
      if (placement == Placement::kRowsA2a)
        Add(columns, &routes.pulled);
      else if (placement == Placement::kFieldA2a)
        Add(columns, &routes.from[static_cast<size_t>(strategy.home[v])]);
      else
        Add(columns, &routes.reduced);
    }
    if (op.per_field > 0) continue;
    // An owner could not tell which rows attain a maximum of which it knows its share alone.
    SLUICE_CHECK(reduction == nn::Reduction::kSum || !(owners_add && rows_add), "{}: a maximum over several placements",
                 op.name);
    if (owners_add) Add({op.begin, op.begin + op.width}, &routes.reduced);
    if (rows_add) Add({op.begin, op.begin + op.width}, &routes.pulled);
  }
  return routes;
}

}  // namespace sluice::placement
