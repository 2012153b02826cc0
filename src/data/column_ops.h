#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "data/batch.h"
#include "data/plan.h"

namespace sluice::data {

// The values of lines of text: value (row, column) is text[begins[rows[row] + column], ends[...]).
struct TextRows {
  const char* text = nullptr;
  const uint32_t* begins = nullptr;
  const uint32_t* ends = nullptr;
  const uint32_t* rows = nullptr;

  const char* begin(int64_t row, int column) const { return text + begins[rows[row] + static_cast<uint32_t>(column)]; }
  const char* end(int64_t row, int column) const { return text + ends[rows[row] + static_cast<uint32_t>(column)]; }
};

// Called for a value that cannot be read; the row still gets some value and is taken out later.
using BadValue = std::function<void(int64_t row, const std::string& what)>;

// Runs one operation over rows [begin, end) of `column`, writing batch rows of the same numbers (columns of several keys
// are appended to). One-key and numeric columns must have been sized by the caller.
void RunColumnOp(const ColumnOp& op, const Plan& plan, const TextRows& rows, int column, int64_t begin, int64_t end,
                 Batch* batch, const BadValue& bad);

// Whether the text means a missing value.
inline bool IsMissing(const Plan& plan, const char* begin, const char* end) {
  if (begin == end) return true;
  const size_t size = static_cast<size_t>(end - begin);
  if (size > plan.longest_missing) return false;
  for (const auto& text : plan.missing)
    if (text.size() == size && std::char_traits<char>::compare(text.data(), begin, size) == 0) return true;
  return false;
}

// A label as a number in [label_min, label_max]; -1 is 0 where `minus_one_is_zero`. False, and what is wrong, otherwise.
bool ParseLabel(const Plan& plan, const char* begin, const char* end, bool minus_one_is_zero, float* label,
                std::string* what);

// The first characters of a value, printable, for messages.
std::string Excerpt(const char* begin, const char* end);

}  // namespace sluice::data
