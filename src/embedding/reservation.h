#pragma once

#include <cstddef>
#include <cstdint>

namespace sluice::embedding {

// A run of address space that turns into zeroed memory from its beginning on, as asked for. Its address never changes,
// so what lives in it never moves, and growing copies nothing.
// Memory       address space is neither memory nor counted as such; pages are taken when first touched, in huge pages
//              beyond the first 2 MiB where the kernel grants them.
// Threads      Commit by one thread at a time.
// Errors       StatusError kResourceExhausted: no address space, or no memory.
class Reservation {
 public:
  // As much of `bytes` as the system allows, at least kMinBytes.
  explicit Reservation(size_t bytes);
  ~Reservation();
  Reservation(const Reservation&) = delete;
  Reservation& operator=(const Reservation&) = delete;

  std::byte* data() const { return data_; }
  size_t size() const { return size_; }

  // Makes [0, bytes) usable. False where that is beyond size().
  bool Commit(size_t bytes);

  // Gives all memory back; the next Commit starts from zeroed memory again.
  void Reset();

  static constexpr size_t kMinBytes = size_t{64} << 20;

 private:
  std::byte* map_ = nullptr;
  size_t map_size_ = 0;
  std::byte* data_ = nullptr;
  size_t size_ = 0;
  size_t committed_ = 0;
};

// Bytes that a table could fill on this machine: its memory and swap, and a little more.
size_t MemoryBound();

}  // namespace sluice::embedding
