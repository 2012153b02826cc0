#include "embedding/reservation.h"

#include <sys/mman.h>
#include <sys/sysinfo.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/huge_pages.h"
#include "base/status.h"

namespace sluice::embedding {
namespace {

constexpr size_t kMaxCommitStep = size_t{256} << 20;

size_t RoundUp(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

}  // namespace

size_t MemoryBound() {
  struct sysinfo info {};
  if (::sysinfo(&info) != 0) return size_t{1} << 40;
  const size_t total = (static_cast<size_t>(info.totalram) + info.totalswap) * info.mem_unit;
  return std::max(total + total / 4, size_t{1} << 30);
}

Reservation::Reservation(size_t bytes) {
  for (size_ = RoundUp(std::max(bytes, kMinBytes), kHugePageBytes); size_ >= kMinBytes;
       size_ = RoundUp(size_ / 2, kHugePageBytes)) {
    map_size_ = size_ + kHugePageBytes;
    void* map = ::mmap(nullptr, map_size_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map != MAP_FAILED) {
      map_ = static_cast<std::byte*>(map);
      data_ = reinterpret_cast<std::byte*>(RoundUp(reinterpret_cast<uintptr_t>(map), kHugePageBytes));
      return;
    }
    if (size_ == kMinBytes) break;
  }
  throw StatusError(ResourceExhausted("no {} MiB of address space for a table (ulimit -v?): {}", kMinBytes >> 20,
                                      std::strerror(errno)));
}

Reservation::~Reservation() {
  if (map_ != nullptr) ::munmap(map_, map_size_);
}

bool Reservation::Commit(size_t bytes) {
  if (bytes <= committed_) return true;
  if (bytes > size_) return false;
  const size_t step = std::clamp(committed_, kHugePageBytes, kMaxCommitStep);
  const size_t target = std::min(size_, RoundUp(std::max(bytes, committed_ + step), kHugePageBytes));
  if (::mprotect(data_ + committed_, target - committed_, PROT_READ | PROT_WRITE) != 0)
    throw StatusError(ResourceExhausted("no memory for {} MiB more of a table of {} MiB: {}",
                                        (target - committed_) >> 20, committed_ >> 20, std::strerror(errno)));
  const size_t huge_begin = std::max(committed_, kHugePageBytes);  // a small table takes small pages
  if (target > huge_begin) AdviseHugePages(data_ + huge_begin, target - huge_begin);
  committed_ = target;
  return true;
}

void Reservation::Reset() {
  if (committed_ > 0) ::madvise(data_, committed_, MADV_DONTNEED);
}

}  // namespace sluice::embedding
