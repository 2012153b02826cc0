#include <bit>
#include <cstring>

#if defined(SLUICE_ISA_avx2) || defined(SLUICE_ISA_avx512)
#include <immintrin.h>
#endif

#include "data/scan.h"

namespace sluice::SLUICE_ISA {
namespace {

using data::ScanFlags;

// What 64 bytes hold, one bit per byte.
struct Masks {
  uint64_t separator;
  uint64_t newline;
  uint64_t quote;
  uint64_t odd;  // NUL or above 127
};

#if defined(SLUICE_ISA_avx512)

inline Masks LoadMasks(const char* p, char separator) {
  const __m512i v = _mm512_loadu_si512(p);
  return {_mm512_cmpeq_epi8_mask(v, _mm512_set1_epi8(separator)), _mm512_cmpeq_epi8_mask(v, _mm512_set1_epi8('\n')),
          _mm512_cmpeq_epi8_mask(v, _mm512_set1_epi8('"')), _mm512_cmple_epi8_mask(v, _mm512_setzero_si512())};
}
inline uint64_t NewlineMask(const char* p) {
  return _mm512_cmpeq_epi8_mask(_mm512_loadu_si512(p), _mm512_set1_epi8('\n'));
}

#elif defined(SLUICE_ISA_avx2)

inline uint64_t Bits(__m256i low, __m256i high) {
  return static_cast<uint32_t>(_mm256_movemask_epi8(low)) |
         (static_cast<uint64_t>(static_cast<uint32_t>(_mm256_movemask_epi8(high))) << 32);
}
inline uint64_t EqualMask(__m256i low, __m256i high, char c) {
  const __m256i pattern = _mm256_set1_epi8(c);
  return Bits(_mm256_cmpeq_epi8(low, pattern), _mm256_cmpeq_epi8(high, pattern));
}
inline Masks LoadMasks(const char* p, char separator) {
  const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  const __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 32));
  return {EqualMask(low, high, separator), EqualMask(low, high, '\n'), EqualMask(low, high, '"'),
          Bits(low, high) | EqualMask(low, high, '\0')};
}
inline uint64_t NewlineMask(const char* p) {
  return EqualMask(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)),
                   _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 32)), '\n');
}

#else

inline Masks LoadMasks(const char* p, char separator) {
  Masks masks = {};
  for (int i = 0; i < 64; ++i) {
    const uint64_t bit = uint64_t{1} << i;
    masks.separator |= p[i] == separator ? bit : 0;
    masks.newline |= p[i] == '\n' ? bit : 0;
    masks.quote |= p[i] == '"' ? bit : 0;
    masks.odd |= static_cast<signed char>(p[i]) <= 0 ? bit : 0;
  }
  return masks;
}
inline uint64_t NewlineMask(const char* p) {
  uint64_t mask = 0;
  for (int i = 0; i < 64; ++i) mask |= p[i] == '\n' ? uint64_t{1} << i : 0;
  return mask;
}

#endif

// Bits below the first `n`, all for n >= 64.
inline uint64_t LowBits(size_t n) { return n >= 64 ? ~uint64_t{0} : (uint64_t{1} << n) - 1; }

}  // namespace

size_t FindSeparators(const char* data, size_t size, char separator, uint32_t* out, uint32_t* line_ends,
                      size_t* num_lines, ScanFlags* flags) {
  size_t count = 0;
  size_t lines = 0;
  uint64_t odd = 0;
  uint64_t quote = 0;
  for (size_t base = 0; base < size; base += 64) {
    Masks masks = LoadMasks(data + base, separator);
    const uint64_t inside = LowBits(size - base);
    odd |= masks.odd & inside;
    quote |= masks.quote & inside;
    uint64_t newline = masks.newline & inside;
    uint64_t all = (masks.separator & inside) | newline;
    for (uint64_t bits = newline; bits != 0; bits &= bits - 1) {
      const int bit = std::countr_zero(bits);
      line_ends[lines++] = static_cast<uint32_t>(count + static_cast<size_t>(std::popcount(all & LowBits(bit))));
    }
    const int found = std::popcount(all);
    uint32_t* next = out + count;
    for (int i = 0; i < found; ++i) {
      next[i] = static_cast<uint32_t>(base) + static_cast<uint32_t>(std::countr_zero(all));
      all &= all - 1;
    }
    count += static_cast<size_t>(found);
  }
  *num_lines = lines;
  flags->nul_or_non_ascii = odd != 0;
  flags->quote = quote != 0;
  return count;
}

size_t CountNewlines(const char* data, size_t size) {
  size_t count = 0;
  size_t base = 0;
  for (; base + 64 <= size; base += 64) count += static_cast<size_t>(std::popcount(NewlineMask(data + base)));
  for (; base < size; ++base) count += data[base] == '\n';
  return count;
}

}  // namespace sluice::SLUICE_ISA
