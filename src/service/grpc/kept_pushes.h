#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>

#include "service/grpc/transport.h"

namespace sluice::service {

// A push as it can be sent again: its keys and the numbers as they travel.
struct KeptPush {
  RequestHeader header;  // of the push's part
  std::shared_ptr<const KeyList> keys;
  grpc::Slice row_gradients, dense_gradients, buffers;
  int64_t bytes() const {
    return static_cast<int64_t>(row_gradients.size() + dense_gradients.size() + buffers.size() +
                                (keys != nullptr ? keys->keys.size() * (sizeof(Key) + sizeof(int32_t)) : 0));
  }
};

// A client's pushes to one server that a restart of the server may make it send again: numbered from 1 on in the order
// in which they are sent, kept until a checkpoint holds them or there is no more room.
// Threads      one at a time (the link's lock).
class KeptPushes {
 public:
  // Before the first push: the server has applied those of a client before it came back.
  void BeginAfter(uint64_t sequence) { next_sequence_ = sequence + 1; }
  // Gives the push its number. From here on its header is read only.
  void Add(std::shared_ptr<KeptPush> push);
  // A checkpoint holds the pushes up to this one.
  void Durable(uint64_t sequence);
  // Forgets the oldest where they are over `bytes`, up to the first one under way.
  void TrimTo(int64_t bytes, const std::function<bool(uint64_t sequence)>& under_way);

  bool all_durable() const { return durable_ + 1 >= next_sequence_; }
  bool empty() const { return pushes_.empty(); }
  const KeptPush& oldest() const { return *pushes_.front(); }
  // The oldest one kept, or the next one to be sent.
  uint64_t first_sequence() const { return empty() ? next_sequence_ : oldest().header.sequence; }
  const std::deque<std::shared_ptr<KeptPush>>& list() const { return pushes_; }

 private:
  void DropOldest();

  std::deque<std::shared_ptr<KeptPush>> pushes_;
  int64_t bytes_ = 0;
  uint64_t next_sequence_ = 1;
  uint64_t durable_ = 0;
};

}  // namespace sluice::service
