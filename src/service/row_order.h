#pragma once

#include <cstdint>
#include <vector>

#include "service/wire.h"

namespace sluice::service {

// The order of rows and row gradients in messages: table by table, each with those blocks of a key list whose
// vocabulary it serves, a block's keys in the list's order.
// Threads      immutable: any number at once.
class RowOrder {
 public:
  RowOrder() = default;
  explicit RowOrder(const ModelLayout& layout);

  bool Serves(size_t table, int vocabulary) const { return serves_[table][static_cast<size_t>(vocabulary)]; }
  int64_t dim(size_t table) const { return dims_[table]; }

  // body(table, keys of the list) for every block of every table.
  template <class Body>
  void ForEachBlock(const KeyList& keys, const Body& body) const {
    for (size_t t = 0; t < dims_.size(); ++t)
      for (const auto& block : keys.blocks)
        if (Serves(t, block.vocabulary)) body(t, block.keys);
  }
  int64_t Rows(const KeyList& keys) const;     // of a message about all keys
  int64_t Scalars(const KeyList& keys) const;  // and the numbers of these

 private:
  std::vector<std::vector<bool>> serves_;  // [tables][vocabularies]
  std::vector<int64_t> dims_;
};

}  // namespace sluice::service
