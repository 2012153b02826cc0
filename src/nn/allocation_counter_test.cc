// Counts every allocation of the test executable; in a file of its own so that the compiler sees plain calls elsewhere.

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace sluice::nn {

std::atomic<int64_t> allocations{0};

int64_t NumAllocations() { return allocations.load(); }

}  // namespace sluice::nn

void* operator new(size_t size) {
  sluice::nn::allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
