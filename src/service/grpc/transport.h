#pragma once

// What client and server share of gRPC. Included by src/service/grpc alone.

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <grpcpp/grpcpp.h>
#include <grpcpp/support/byte_buffer.h>

#include "base/file.h"
#include "base/status.h"
#include "service/config.h"
#include "service/engine.h"
#include "service/grpc/hand_over.h"
#include "service/parameter_server.h"
#include "service/wire.h"

namespace sluice::service {

inline constexpr const char* kRowsMethod = "/sluice.ParameterRows/Exchange";
inline constexpr const char* kTokenKey = "authorization";
inline constexpr const char* kClientKey = "sluice-client";
inline constexpr const char* kSessionKey = "sluice-session";

// Failures over the wire and back. kCancelled stands for a client that was taken for lost and must not come back.
inline grpc::Status ToGrpc(const Status& status) {
  switch (status.code()) {
    case StatusCode::kOk:
      return grpc::Status::OK;
    case StatusCode::kInvalidArgument:
      return {grpc::StatusCode::INVALID_ARGUMENT, status.message()};
    case StatusCode::kNotFound:
      return {grpc::StatusCode::NOT_FOUND, status.message()};
    case StatusCode::kDataLoss:
      return {grpc::StatusCode::DATA_LOSS, status.message()};
    case StatusCode::kIo:
      return {grpc::StatusCode::FAILED_PRECONDITION, status.message()};
    case StatusCode::kNumeric:
      return {grpc::StatusCode::OUT_OF_RANGE, status.message()};
    case StatusCode::kResourceExhausted:
      return {grpc::StatusCode::RESOURCE_EXHAUSTED, status.message()};
    case StatusCode::kUnavailable:
      return {grpc::StatusCode::UNAVAILABLE, status.message()};
    case StatusCode::kCancelled:
      return {grpc::StatusCode::ABORTED, status.message()};
    case StatusCode::kInternal:
      break;
  }
  return {grpc::StatusCode::INTERNAL, status.message()};
}

inline Status FromGrpc(const grpc::Status& status) {
  const std::string text = status.error_message().empty() ? "no reason given" : status.error_message();
  switch (status.error_code()) {
    case grpc::StatusCode::OK:
      return Status::Ok();
    case grpc::StatusCode::INVALID_ARGUMENT:
    case grpc::StatusCode::UNIMPLEMENTED:
      return {StatusCode::kInvalidArgument, text};
    case grpc::StatusCode::UNAUTHENTICATED:
      return {StatusCode::kInvalidArgument, text};
    case grpc::StatusCode::NOT_FOUND:
      return {StatusCode::kNotFound, text};
    case grpc::StatusCode::DATA_LOSS:
      return {StatusCode::kDataLoss, text};
    case grpc::StatusCode::FAILED_PRECONDITION:
      return {StatusCode::kIo, text};
    case grpc::StatusCode::OUT_OF_RANGE:
      return {StatusCode::kNumeric, text};
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return {StatusCode::kResourceExhausted, text};
    case grpc::StatusCode::ABORTED:
      return {StatusCode::kCancelled, text};
    case grpc::StatusCode::INTERNAL:
      return {StatusCode::kInternal, text};
    default:
      return {StatusCode::kUnavailable, text};
  }
}

// A message where it lies: in as many pieces as it was read in.
inline Message ToMessage(grpc::ByteBuffer* buffer) {
  auto slices = std::make_shared<std::vector<grpc::Slice>>();
  if (!buffer->Dump(slices.get()).ok()) return {};
  Message message;
  for (const grpc::Slice& slice : *slices)
    message.bytes.Add({reinterpret_cast<const std::byte*>(slice.begin()), slice.size()});
  message.owner = std::move(slices);
  return message;
}

// Hands the memory over without a copy. gRPC promises to call the function once, when nobody holds the slice any more:
// after all that was done to the memory before it was handed over.
inline grpc::Slice ToSlice(Bytes bytes) {
  const size_t size = bytes.size();
  if (size == 0) return {};
  void* const all = bytes.release();
  HappensBefore(all);
  return grpc::Slice(all, size, [](void* memory) {
    HappensAfter(memory);
    std::free(memory);
  });
}

// Limits and buffers of a channel or server: messages of up to max_message_bytes, in large frames, so that few system
// calls move them.
template <class SetInt>
void TuneTransport(const ServiceConfig& config, const SetInt& set) {
  set("grpc.max_receive_message_length", static_cast<int>(config.max_message_bytes));
  set("grpc.max_send_message_length", -1);
  set("grpc.http2.max_frame_size", 1 << 20);
  set("grpc.http2.lookahead_bytes", 8 << 20);
  set("grpc.http2.write_buffer_size", 1 << 20);
  set("grpc.experimental.tcp_read_chunk_size", 256 << 10);
  set("grpc.experimental.tcp_min_read_chunk_size", 64 << 10);
  set("grpc.experimental.tcp_max_read_chunk_size", 4 << 20);
  set("grpc.so_reuseport", 0);
}

// A channel to a server, as the configuration says. Errors: kInvalidArgument naming the file.
inline Result<std::shared_ptr<grpc::Channel>> OpenChannel(const std::string& address, const ServiceConfig& config) {
  grpc::ChannelArguments arguments;
  TuneTransport(config, [&](const char* name, int value) { arguments.SetInt(name, value); });
  arguments.SetInt("grpc.use_local_subchannel_pool", 1);
  arguments.SetInt("grpc.initial_reconnect_backoff_ms", 100);
  // The time of an attempt to connect, in spite of its name: a busy server needs more than 100 ms to answer.
  arguments.SetInt("grpc.min_reconnect_backoff_ms", static_cast<int>(std::min(config.connect_timeout_s, 1e6) * 1e3));
  arguments.SetInt("grpc.max_reconnect_backoff_ms", 500);
  arguments.SetInt("grpc.enable_http_proxy", 0);
  std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
  if (!config.tls_ca.empty()) {
    auto ca = ReadWholeFile(config.tls_ca);
    if (!ca.ok()) return ca.status().WithContext("service.tls_ca");
    credentials = grpc::SslCredentials({.pem_root_certs = *ca});
    if (!config.tls_name.empty()) arguments.SetSslTargetNameOverride(config.tls_name);
  }
  return grpc::CreateCustomChannel(address, credentials, arguments);
}

inline std::chrono::system_clock::time_point DeadlineIn(double seconds) {
  return std::chrono::system_clock::now() + std::chrono::microseconds(static_cast<int64_t>(seconds * 1e6));
}

}  // namespace sluice::service
