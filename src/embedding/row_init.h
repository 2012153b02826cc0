#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/hash.h"
#include "base/status.h"
#include "embedding/config.h"

namespace sluice::embedding {

enum class InitKind { kZero, kUniform, kNormal };

// Initial weights of columns [begin, end) of a row.
struct ColumnInit {
  int64_t begin = 0, end = 0;
  InitKind kind = InitKind::kNormal;
  double scale = 0.01;
};

Result<InitKind> ParseInitKind(const std::string& name);

// Initial weights of rows: column c of a key's row is a function of (seed, key, c) alone, so rows are the same whenever
// and wherever they come into being, and a column does not depend on the row's width.
// Numerics     normal numbers by Box-Muller; the same bits on every instruction set; float is the rounded double.
class RowInit {
 public:
  // Columns that no element of `columns` covers take the table's own setting.
  // Errors: kInvalidArgument naming the column range that is empty, outside [0, dim) or overlaps another.
  static Result<RowInit> Make(const InitConfig& config, int64_t dim, std::vector<ColumnInit> columns, uint64_t seed);

  // Fills weights [dim].
  template <class T>
  void Fill(Key key, T* weights) const;

  // Make(any config, dim, columns(), seed()) makes an equal one.
  const std::vector<ColumnInit>& columns() const { return columns_; }
  uint64_t seed() const { return seed_; }
  uint64_t Fingerprint() const;  // of what Fill depends on

 private:
  std::vector<ColumnInit> columns_;   // disjoint, covering [0, dim)
  uint64_t seed_ = 0;
};

}  // namespace sluice::embedding
