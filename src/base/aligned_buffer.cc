#include "base/aligned_buffer.h"

#include <cstdlib>

#include "base/huge_pages.h"

namespace sluice::internal {

void* AllocateAligned(size_t bytes) {
  const size_t alignment = bytes >= kHugePageBytes ? kHugePageBytes : 64;
  const size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  void* data = std::aligned_alloc(alignment, rounded == 0 ? alignment : rounded);
  if (data == nullptr) throw std::bad_alloc();
  if (alignment == kHugePageBytes) AdviseHugePages(data, rounded);
  return data;
}

void FreeAligned(void* data) { std::free(data); }

}  // namespace sluice::internal
