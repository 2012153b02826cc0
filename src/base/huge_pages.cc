#include "base/huge_pages.h"

#include <sys/mman.h>
#include <sys/prctl.h>

namespace sluice {

void AdviseHugePages([[maybe_unused]] void* begin, [[maybe_unused]] size_t bytes) {
#ifdef MADV_HUGEPAGE
  ::madvise(begin, bytes, MADV_HUGEPAGE);
#endif
}

void RefuseHugePages() {
#ifdef PR_SET_THP_DISABLE
  ::prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
#endif
}

}  // namespace sluice
