#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "embedding/row_init.h"
#include "service/row_order.h"
#include "service/wire.h"

namespace sluice::service {

// Rows that nobody has trained yet do not travel: their values are functions of seed and key (embedding/row_init.h),
// and servers tell clients the functions when they join. The rows of a reply are then those that differ from their
// initial values, and after them a bit per row, set where the row was left out.
// Shapes       one RowInit per table of the layout; rows in the order of RowOrder.
// Numerics     a row that was left out is, in the wire's format, bit for bit the one that would have come.
// Threads      immutable: any number at once.
template <class T>
class InitialRows {
 public:
  InitialRows() = default;
  explicit InitialRows(std::vector<embedding::RowInit> tables) : tables_(std::move(tables)) {}

  // Equal where initial rows are, for servers and clients to compare; 0: there are none.
  uint64_t fingerprint() const;
  static int64_t MarkBytes(int64_t rows) { return (rows + 7) / 8; }

  // What the wire would bring of a row of which nobody has trained: row [dim of the table].
  void Fill(size_t table, Key key, int64_t dim, bool bf16, T* row) const;
  // Leaves initial rows out of a message, and appends the marks. Looks at keys that the session named for the first
  // time: others were pulled before, and are trained by now.
  // REQUIRES: message->size() is that of all rows and the marks.
  void LeaveOut(const RowOrder& order, const KeyList& keys, bool bf16, Bytes* message) const;

 private:
  std::vector<embedding::RowInit> tables_;
};

// The marks behind a message's rows.
class RowMarks {
 public:
  // Takes them off *rows. False where it is shorter than they are.
  bool Take(int64_t num_rows, Pieces* rows);
  bool Has(int64_t row) const {
    return !marks_.empty() && (static_cast<unsigned>(marks_[static_cast<size_t>(row / 8)]) >> (row % 8) & 1) != 0;
  }

 private:
  std::vector<std::byte> marks_;
};

}  // namespace sluice::service
