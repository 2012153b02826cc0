#include "placement/ranks.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

#include "comm/messages.h"

namespace sluice::placement {
namespace {

using comm::Traffic;

// A status as text, and back.
std::string Encode(const Status& status) { return std::string(1, static_cast<char>(status.code())) + status.message(); }
Status Decode(const std::string& text) {
  if (text.empty()) return DataLoss("a rank sent an empty status");
  if (text[0] < 0 || text[0] > static_cast<char>(StatusCode::kInternal))
    return DataLoss("a rank sent a status of unknown code {}", static_cast<int>(text[0]));
  return Status(static_cast<StatusCode>(text[0]), text.substr(1));
}

std::span<std::byte> Bytes(std::string* text) { return {reinterpret_cast<std::byte*>(text->data()), text->size()}; }

}  // namespace

Result<std::unique_ptr<Ranks>> Ranks::Make(std::unique_ptr<comm::Transport> transport,
                                           std::chrono::milliseconds timeout) {
  std::unique_ptr<Ranks> ranks(new Ranks());
  SLUICE_ASSIGN_OR_RETURN(ranks->heartbeat_transport_, transport->Split(0));
  ranks->control_ =
      std::make_unique<comm::Communicator>(std::move(transport), std::make_shared<comm::Ledger>(), timeout);
  SLUICE_ASSIGN_OR_RETURN(ranks->worker_, ranks->control_->Duplicate());
  SLUICE_ASSIGN_OR_RETURN(ranks->host_, ranks->control_->Duplicate());
  SLUICE_ASSIGN_OR_RETURN(ranks->dense_, ranks->control_->Duplicate());
  return ranks;
}

void Ranks::WatchPeers(comm::Heartbeat::OnLost on_lost) {
  const auto timeout = control_->timeout();
  const auto interval = std::clamp(timeout / 10, std::chrono::milliseconds(20), std::chrono::milliseconds(1000));
  heartbeat_ =
      std::make_unique<comm::Heartbeat>(std::move(heartbeat_transport_), interval, timeout, std::move(on_lost));
}

Status Ranks::Leave(const Status& status) {
  if (status.ok() || status.code() == StatusCode::kCancelled || agreed_) return status;
  agreed_ = true;
  const std::string name = fmt::format("rank {}", rank());
  if (heartbeat_ == nullptr) return control_->Fail(status.WithContext(name));
  if (status.code() == StatusCode::kUnavailable)
    heartbeat_->WaitForWord(std::min(control_->timeout(), std::chrono::milliseconds(1000)));
  heartbeat_->Abort(status);
  // Nobody answers any more: what other threads of this rank wait for would end at its deadline only.
  return control_->Fail(status.WithContext(name));
}

Result<std::string> Ranks::Share(const Result<std::string>& leaders) {
  std::string text;
  if (leads()) text = leaders.ok() ? std::string(1, char{0}) + leaders.value() : Encode(leaders.status());
  int64_t length = static_cast<int64_t>(text.size());
  SLUICE_RETURN_IF_ERROR(control_->Broadcast(std::as_writable_bytes(std::span(&length, 1)), 0, Traffic::kControl));
  if (length < 1 || length > (int64_t{1} << 32)) return DataLoss("rank 0 announces {} bytes", length);
  text.resize(static_cast<size_t>(length));
  SLUICE_RETURN_IF_ERROR(control_->Broadcast(Bytes(&text), 0, Traffic::kControl));
  SLUICE_RETURN_IF_ERROR(LeaveTogether(Decode(text)));
  return text.substr(1);
}

Result<std::vector<std::string>> Ranks::Exchange(const std::string& mine, const std::vector<uint8_t>& to) {
  const auto bytes = std::as_bytes(std::span(mine));
  std::vector<std::span<const std::byte>> send;
  for (const uint8_t sent : to) send.push_back(sent ? bytes : bytes.first(0));
  std::vector<std::string> texts;
  SLUICE_RETURN_IF_ERROR(comm::ExchangeMessages(control_.get(), send, Traffic::kControl, &texts));
  return texts;
}

Result<std::vector<std::string>> Ranks::Collect(const std::string& mine) {
  return Exchange(mine, std::vector<uint8_t>(static_cast<size_t>(size()), 1));
}

Result<std::vector<std::string>> Ranks::Gather(const std::string& mine) {
  std::vector<uint8_t> to(static_cast<size_t>(size()), 0);
  to[0] = 1;
  return Exchange(mine, to);
}

Status Ranks::Agree(const Status& mine) {
  // A rank that lost a peer can agree on nothing.
  if (mine.code() == StatusCode::kUnavailable) return mine;
  SLUICE_ASSIGN_OR_RETURN(const auto texts, Collect(Encode(mine)));
  for (int r = 0; r < size(); ++r) {
    const Status status = Decode(texts[static_cast<size_t>(r)]);
    if (!status.ok()) return LeaveTogether(status.WithContext(fmt::format("rank {}", r)));
  }
  return Status::Ok();
}

}  // namespace sluice::placement
