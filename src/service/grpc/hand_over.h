#pragma once

// What the thread sanitizer has to be told of gRPC. Its libraries are not instrumented, so that what they do to hand
// something from one thread to another is invisible, and each hand-over would be reported as a race. Here stands what
// gRPC promises, one line where the promise is made use of; nothing where there is no promise, and nothing that stands
// between two threads of ours. Without the thread sanitizer none of this is there.

#if defined(__SANITIZE_THREAD__)
#define SLUICE_THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SLUICE_THREAD_SANITIZER 1
#endif
#endif

#ifdef SLUICE_THREAD_SANITIZER
#include <sanitizer/tsan_interface.h>
#endif

namespace sluice::service {

// All that this thread did up to HappensBefore(address) is done for whoever calls HappensAfter(address) later.
inline void HappensBefore([[maybe_unused]] void* address) {
#ifdef SLUICE_THREAD_SANITIZER
  __tsan_release(address);
#endif
}
inline void HappensAfter([[maybe_unused]] void* address) {
#ifdef SLUICE_THREAD_SANITIZER
  __tsan_acquire(address);
#endif
}

}  // namespace sluice::service
