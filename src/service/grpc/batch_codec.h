#pragma once

#include <memory>
#include <vector>

#include "service/grpc/kept_pushes.h"
#include "service/initial_rows.h"
#include "service/parameter_client.h"
#include "service/row_order.h"
#include "service/wire.h"

namespace sluice::service {

// The part of a batch's keys that one server holds.
struct ServerKeys {
  std::shared_ptr<KeyList> keys = std::make_shared<KeyList>();
  std::vector<int32_t> unique;  // [keys]: in the batch's virtual ids
};

// A client's batches as its servers read them, and the servers' answers back into the batches: which server holds
// which keys, rows and gradients in the order of a server's keys, each server's part of the dense spans.
// Shapes       as the requests say (parameter_client.h); rows of a key list go table by table, each with those blocks
//              that it serves.
// Memory       reads a request's buffers and writes a pull's, only within the calls; what it makes owns its bytes.
// Threads      immutable once made: any number at once. Scatter from several threads at once writes one pull's buffers
//              at places of their own where the servers differ.
// Errors       Scatter's alone, for replies that are not what was asked for; requests are checked before
//              (ParameterClient).
template <class T>
class BatchCodec {
 public:
  // groups: into how many lock groups the servers sort a vocabulary's keys, 1 for not at all. For the servers and wire
  // formats of `options`.
  // initial: of rows that servers need not send.
  BatchCodec(const ModelLayout& layout, const ClientOptions& options, int groups, InitialRows<T> initial);
  BatchCodec() = default;

  // [servers]: the batch's keys; those of a vocabulary sorted by lock group where the servers have such.
  std::vector<ServerKeys> Partition(const embedding::VirtualIds& ids) const;
  RequestFlag PullFlags(const PullRequest<T>& request) const;
  uint64_t initial_rows() const { return initial_fingerprint_; }  // RequestHeader::initial_rows of a pull
  // Without a sequence number: its link gives it one.
  std::shared_ptr<KeptPush> MakePush(const PushRequest<T>& request, const ServerKeys& keys, int server) const;
  // What a server answered to a pull, to where the request wants it. Errors: kDataLoss where it is not what was asked
  // for.
  Status Scatter(const PullRequest<T>& request, const ServerKeys& keys, int server, const Reply& reply) const;

 private:
  grpc::Slice EncodeSpan(const T* span, int64_t size, int server, Wire wire) const;
  Status ScatterRows(const PullRequest<T>& request, const ServerKeys& keys, const Reply& reply) const;

  ModelLayout layout_;
  RowOrder order_;
  InitialRows<T> initial_;
  uint64_t initial_fingerprint_ = 0;
  int servers_ = 0, groups_ = 1;
  Wire rows_ = Wire::kNative, row_gradients_ = Wire::kNative;
  Wire dense_ = Wire::kNative, dense_gradients_ = Wire::kNative;
};

}  // namespace sluice::service
