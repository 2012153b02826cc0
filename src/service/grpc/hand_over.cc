#include "service/grpc/hand_over.h"

#ifdef SLUICE_THREAD_SANITIZER
#include <dlfcn.h>

#include <grpc/grpc.h>

// gRPC's promise of completion queues (grpc/grpc.h, and grpcpp/completion_queue.h over it): an operation is given a tag
// when it is started, and the queue gives the tag back after the operation; so whatever the thread that started it had
// done before lies before whatever the thread that took the tag does then. The C++ library's templates, which are
// compiled here and so are instrumented, write the tag's object before the start and read it inside of Next, before our
// code has the tag: hence the promise is stated where the C++ library calls the C library. These functions stand in
// front of the library's own, in programs under the thread sanitizer alone.
namespace {

template <class Function>
Function* Real(Function*, const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

}  // namespace

#define SLUICE_REAL(function) static auto* const real = Real(&function, #function)

extern "C" {

grpc_call_error grpc_call_start_batch(grpc_call* call, const grpc_op* ops, size_t nops, void* tag, void* reserved) {
  SLUICE_REAL(grpc_call_start_batch);
  sluice::service::HappensBefore(tag);
  return real(call, ops, nops, tag, reserved);
}

grpc_call_error grpc_server_request_call(grpc_server* server, grpc_call** call, grpc_call_details* details,
                                         grpc_metadata_array* metadata, grpc_completion_queue* bound,
                                         grpc_completion_queue* notified, void* tag) {
  SLUICE_REAL(grpc_server_request_call);
  sluice::service::HappensBefore(tag);
  return real(server, call, details, metadata, bound, notified, tag);
}

grpc_event grpc_completion_queue_next(grpc_completion_queue* queue, gpr_timespec deadline, void* reserved) {
  SLUICE_REAL(grpc_completion_queue_next);
  const grpc_event event = real(queue, deadline, reserved);
  if (event.type == GRPC_OP_COMPLETE) sluice::service::HappensAfter(event.tag);
  return event;
}

}  // extern "C"

// The programs' link asks for this name (cmake/service.cmake): without it nothing would take this file from its
// archive.
extern "C" const int sluice_grpc_hand_over = 1;
#endif  // SLUICE_THREAD_SANITIZER
