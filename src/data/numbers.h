#pragma once

#include <charconv>
#include <cmath>
#include <cstdint>

namespace sluice::data {

// Reads [begin, end) as a finite decimal number, all of it. Short integers take a fast path.
inline bool ParseNumber(const char* begin, const char* end, double* value) {
  const char* p = begin;
  const bool negative = p != end && *p == '-';
  if (negative || (p != end && *p == '+')) ++p;
  if (p == end) return false;
  if (end - p <= 15) {
    int64_t integer = 0;
    const char* q = p;
    for (; q != end; ++q) {
      const unsigned digit = static_cast<unsigned char>(*q) - unsigned{'0'};
      if (digit > 9) break;
      integer = integer * 10 + digit;
    }
    if (q == end) {
      *value = static_cast<double>(negative ? -integer : integer);
      return true;
    }
  }
  if (*p == '-' || *p == '+') return false;
  double x = 0;
  const auto [stop, error] = std::from_chars(p, end, x);
  if (error != std::errc() || stop != end || !std::isfinite(x)) return false;
  *value = negative ? -x : x;
  return true;
}

}  // namespace sluice::data
