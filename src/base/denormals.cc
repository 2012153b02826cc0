#include "base/denormals.h"

#include <cstdint>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace sluice {

void FlushDenormals() {
#if defined(__SSE2__)
  constexpr unsigned kFlushToZero = 1u << 15, kDenormalsAreZero = 1u << 6;
  _mm_setcsr(_mm_getcsr() | kFlushToZero | kDenormalsAreZero);
#elif defined(__aarch64__)
  uint64_t control;
  asm volatile("mrs %0, fpcr" : "=r"(control));
  asm volatile("msr fpcr, %0" : : "r"(control | (uint64_t{1} << 24)));
#endif
}

}  // namespace sluice
