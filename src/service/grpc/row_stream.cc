#include "service/grpc/row_stream.h"

#include <charconv>
#include <utility>
#include <vector>

namespace sluice::service {
namespace {

uint64_t NumberOf(const std::multimap<grpc::string_ref, grpc::string_ref>& metadata, const char* key) {
  uint64_t number = 0;
  const auto found = metadata.find(key);
  if (found != metadata.end()) std::from_chars(found->second.begin(), found->second.end(), number);
  return number;
}

}  // namespace

bool TokenMatches(const std::multimap<grpc::string_ref, grpc::string_ref>& metadata, const std::string& token) {
  if (token.empty()) return true;
  const std::string wanted = "Bearer " + token;
  const auto found = metadata.find(kTokenKey);
  const grpc::string_ref shown = found != metadata.end() ? found->second : grpc::string_ref();
  unsigned different = shown.size() != wanted.size();
  for (size_t i = 0; i < wanted.size(); ++i)
    different |=
        static_cast<unsigned char>(wanted[i]) ^ (i < shown.size() ? static_cast<unsigned char>(shown.data()[i]) : 0u);
  return different == 0;
}

RowStream::RowStream(RowStreams* shared) : shared_(shared) {
  {
    std::lock_guard lock(shared->mutex);
    ++shared->live;
  }
  for (int o = 0; o < kNumOperations; ++o) tags_[o] = {this, static_cast<Operation>(o)};
}

RowStream::~RowStream() {
  std::lock_guard lock(shared_->mutex);
  if (--shared_->live == 0) shared_->ended.notify_all();
}

void RowStream::Accept(RowStreams* shared) {
  const std::shared_ptr<RowStream> stream(new RowStream(shared));
  stream->Hold(kAccepted);
  shared->service->RequestCall(&stream->context_, &stream->stream_, shared->queue, shared->queue,
                               &stream->tags_[kAccepted]);
}

void RowStream::Proceed(Operation operation, bool ok) {
  const std::shared_ptr<RowStream> alive = std::move(held_[operation]);
  switch (operation) {
    case kAccepted:
      if (ok) Accepted();
      return;
    case kRead:
      return Received(ok);
    case kWritten: {
      std::lock_guard lock(mutex_);
      writing_ = false;
      outgoing_.pop_front();
      --unanswered_;
      if (!ok) {  // the client is gone
        outgoing_.clear();
        read_all_ = true;
      }
      StartWrite();
      if (!reading_ && !read_all_ && !broken_ && unanswered_ < shared_->max_requests) {
        reading_ = true;
        Hold(kRead);
        stream_.Read(&incoming_, &tags_[kRead]);
      }
      return FinishIfIdle();
    }
    case kFinished:
    case kNumOperations:
      return;
  }
}

void RowStream::Accepted() {
  Accept(shared_);
  const auto& metadata = context_.client_metadata();
  if (!TokenMatches(metadata, shared_->token))
    return Finish(Status(StatusCode::kInvalidArgument, "the token is missing or wrong (service.token_file)"));
  if (context_.method() != kRowsMethod) return Finish(InvalidArgument("there is no method {}", context_.method()));
  auto session = shared_->engine->Open(NumberOf(metadata, kClientKey), NumberOf(metadata, kSessionKey));
  if (!session.ok()) return Finish(session.status());
  session_ = *session;
  std::lock_guard lock(mutex_);
  reading_ = true;
  Hold(kRead);
  stream_.Read(&incoming_, &tags_[kRead]);
}

void RowStream::Received(bool ok) {
  if (!ok) {
    std::lock_guard lock(mutex_);
    reading_ = false;
    read_all_ = true;
    return FinishIfIdle();
  }
  {
    std::lock_guard lock(mutex_);
    ++unanswered_;
  }
  const Message message = ToMessage(&incoming_);
  incoming_.Clear();
  const auto self = shared_from_this();
  const auto work =
      shared_->engine->Prepare(session_, message, [self](ReplyMessage reply) { self->Send(std::move(reply)); });
  {
    std::lock_guard lock(mutex_);
    reading_ = false;
    if (work == nullptr) {
      broken_ = true;  // what comes next might refer to keys that were not understood
      read_all_ = true;
      failure_ = InvalidArgument("a message was malformed");
      return FinishIfIdle();
    }
    // The next message is read beside the work on this one.
    if (unanswered_ < shared_->max_requests) {
      reading_ = true;
      Hold(kRead);
      stream_.Read(&incoming_, &tags_[kRead]);
    }
  }
  shared_->engine->Run(work);
}

void RowStream::Send(ReplyMessage reply) {
  shared_->engine->counters().bytes_sent.fetch_add(reply.size(), std::memory_order_relaxed);
  std::vector<grpc::Slice> slices;
  slices.emplace_back(&reply.header, sizeof(reply.header));
  if (!reply.text.empty()) slices.emplace_back(reply.text);
  for (Bytes* part : {&reply.rows, &reply.dense, &reply.buffers})
    if (part->size() > 0) slices.push_back(ToSlice(std::move(*part)));
  std::lock_guard lock(mutex_);
  if (finishing_) return;
  outgoing_.emplace_back(slices.data(), slices.size());
  StartWrite();
}

void RowStream::StartWrite() {
  if (writing_ || finishing_ || outgoing_.empty()) return;
  writing_ = true;
  Hold(kWritten);
  stream_.Write(outgoing_.front(), &tags_[kWritten]);
}

void RowStream::FinishIfIdle() {
  if (!read_all_ || reading_ || writing_ || finishing_ || !outgoing_.empty()) return;
  // A client that sends no more is gone: answers that are still to come have nobody to go to.
  finishing_ = true;
  Hold(kFinished);
  stream_.Finish(ToGrpc(failure_), &tags_[kFinished]);
}

void RowStream::Finish(const Status& status) {
  std::lock_guard lock(mutex_);
  finishing_ = true;
  Hold(kFinished);
  stream_.Finish(ToGrpc(status), &tags_[kFinished]);
}

}  // namespace sluice::service
