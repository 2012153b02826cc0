#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <type_traits>
#include <utility>

namespace sluice {

// Uninitialised 64-byte aligned memory for trivially copyable T that only ever grows; large buffers ask the kernel for
// huge pages. Resize keeps nothing: contents are undefined after it grew.
template <class T>
class AlignedBuffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(int64_t size) { Resize(size); }
  AlignedBuffer(AlignedBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)),
        capacity_(std::exchange(other.capacity_, 0)) {}
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
    return *this;
  }
  ~AlignedBuffer();

  void Resize(int64_t size);
  void Zero() {
    if (size_ > 0) std::memset(data_, 0, static_cast<size_t>(size_) * sizeof(T));
  }

  T* data() { return data_; }
  const T* data() const { return data_; }
  int64_t size() const { return size_; }
  T& operator[](int64_t i) { return data_[i]; }
  const T& operator[](int64_t i) const { return data_[i]; }

 private:
  T* data_ = nullptr;
  int64_t size_ = 0;
  int64_t capacity_ = 0;
};

namespace internal {
void* AllocateAligned(size_t bytes);  // throws std::bad_alloc
void FreeAligned(void* data);
}  // namespace internal

template <class T>
AlignedBuffer<T>::~AlignedBuffer() {
  internal::FreeAligned(data_);
}

template <class T>
void AlignedBuffer<T>::Resize(int64_t size) {
  if (size > capacity_) {
    const int64_t capacity = size > 2 * capacity_ ? size : 2 * capacity_;
    internal::FreeAligned(std::exchange(data_, nullptr));
    capacity_ = 0;
    size_ = 0;
    data_ = static_cast<T*>(internal::AllocateAligned(static_cast<size_t>(capacity) * sizeof(T)));
    capacity_ = capacity;
  }
  size_ = size;
}

}  // namespace sluice
