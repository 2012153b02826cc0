#pragma once

#include <cstddef>

namespace sluice {

inline constexpr size_t kHugePageBytes = size_t{2} << 20;

// Asks the kernel for huge pages in [begin, begin + bytes), which begins on one. Advice only: where there are none it
// changes nothing. Source: madvise(2), MADV_HUGEPAGE.
void AdviseHugePages(void* begin, size_t bytes);

// This process and those it starts take small pages from now on, whatever is advised. For machines whose hypervisor
// takes freed memory back: a fresh huge page may then be cleared at a tenth of the rate of small ones, which come from
// memory that the machine still holds. Source: prctl(2), PR_SET_THP_DISABLE.
void RefuseHugePages();

}  // namespace sluice
