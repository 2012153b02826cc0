#include "base/aligned_buffer.h"

#include <sys/mman.h>

#include <cstdlib>

namespace sluice::internal {

void* AllocateAligned(size_t bytes) {
  constexpr size_t kHugePage = size_t{2} << 20;
  const size_t alignment = bytes >= kHugePage ? kHugePage : 64;
  const size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  void* data = std::aligned_alloc(alignment, rounded == 0 ? alignment : rounded);
  if (data == nullptr) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
  if (alignment == kHugePage) ::madvise(data, rounded, MADV_HUGEPAGE);  // advice only
#endif
  return data;
}

void FreeAligned(void* data) { std::free(data); }

}  // namespace sluice::internal
