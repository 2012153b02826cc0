#include "service/row_order.h"

namespace sluice::service {

RowOrder::RowOrder(const ModelLayout& layout) : serves_(layout.tables.size(), std::vector<bool>(layout.salts.size())) {
  for (size_t t = 0; t < layout.tables.size(); ++t) {
    dims_.push_back(layout.tables[t].dim);
    for (const int v : layout.tables[t].vocabularies) serves_[t][static_cast<size_t>(v)] = true;
  }
}

int64_t RowOrder::Rows(const KeyList& keys) const {
  int64_t rows = 0;
  ForEachBlock(keys, [&](size_t, Range block) { rows += block.size(); });
  return rows;
}

int64_t RowOrder::Scalars(const KeyList& keys) const {
  int64_t scalars = 0;
  ForEachBlock(keys, [&](size_t t, Range block) { scalars += block.size() * dims_[t]; });
  return scalars;
}

}  // namespace sluice::service
