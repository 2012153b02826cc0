#pragma once

#include <cstddef>
#include <cstdint>

#include "base/simd.h"

namespace sluice::data {

// What FindSeparators saw beside separators.
struct ScanFlags {
  bool nul_or_non_ascii = false;
  bool quote = false;
};

}  // namespace sluice::data

namespace sluice {

// FindSeparators: positions of every `separator` and newline of data[0, size) go to out[], and the index within out of
// every newline to line_ends[]. Returns the number of positions; *num_lines is the number of newlines.
// REQUIRES: room for size entries in out and in line_ends, 64 readable bytes after data + size, size < 2^32.
SLUICE_DECLARE_KERNELS(size_t FindSeparators(const char* data, size_t size, char separator, uint32_t* out,
                                             uint32_t* line_ends, size_t* num_lines, data::ScanFlags* flags);
                       size_t CountNewlines(const char* data, size_t size);)

}  // namespace sluice
