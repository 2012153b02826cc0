#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>

#include <grpcpp/generic/async_generic_service.h>

#include "service/grpc/transport.h"

namespace sluice::service {

// What streams share.
struct RowStreams {
  grpc::AsyncGenericService* service = nullptr;
  grpc::ServerCompletionQueue* queue = nullptr;
  Engine* engine = nullptr;
  std::string token;
  int64_t max_requests = 32;  // of one stream, read and not yet answered

  // Streams that live. The queue may be shut down once there are none: each may begin another operation on it.
  std::mutex mutex;
  std::condition_variable ended;
  int64_t live = 0;
};

// One stream of requests of one client: reads, hands to the engine, writes answers as they come. Reading stops while
// max_requests are unanswered, so a client that does not read its answers fills its own queue only.
// Threads      those of the completion queue.
class RowStream : public std::enable_shared_from_this<RowStream> {
 public:
  enum Operation { kAccepted, kRead, kWritten, kFinished, kNumOperations };
  // What the completion queue gives back.
  struct Tag {
    RowStream* stream = nullptr;
    Operation operation = kAccepted;
  };

  // Waits for the next stream that a client opens.
  static void Accept(RowStreams* shared);
  ~RowStream();
  void Proceed(Operation operation, bool ok);

 private:
  explicit RowStream(RowStreams* shared);
  void Accepted();
  void Received(bool ok);
  void Send(ReplyMessage reply);
  void Finish(const Status& status);
  // REQUIRES: mutex_.
  void StartWrite();
  void FinishIfIdle();
  void Hold(Operation operation) { held_[operation] = shared_from_this(); }

  RowStreams* shared_;
  Tag tags_[kNumOperations];
  std::shared_ptr<RowStream> held_[kNumOperations];  // alive while the operation is under way
  grpc::GenericServerContext context_;
  grpc::GenericServerAsyncReaderWriter stream_{&context_};
  std::shared_ptr<Engine::Session> session_;
  grpc::ByteBuffer incoming_;

  std::mutex mutex_;
  std::deque<grpc::ByteBuffer> outgoing_;
  int64_t unanswered_ = 0;
  bool reading_ = false, writing_ = false, read_all_ = false, finishing_ = false, broken_ = false;
  Status failure_;
};

// Whether a caller's token is the server's, in a time that does not depend on it.
bool TokenMatches(const std::multimap<grpc::string_ref, grpc::string_ref>& metadata, const std::string& token);

}  // namespace sluice::service
