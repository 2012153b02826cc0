#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "comm/heartbeat.h"
#include "data/fingerprint.h"
#include "placement/key_exchange.h"
#include "placement/key_requests.h"
#include "placement/ownership.h"
#include "placement/ranks.h"

// What ranks say to one another, from a peer that says anything. Every message is understood or refused, and what was
// understood holds together. The first byte chooses the kind of message.
namespace {

using namespace sluice;

// What the peer still has to say. Its first word is a length: that of the rest, or one that no message may have.
struct Script {
  const uint8_t* data;
  size_t size;
  bool length_told = false;
};

class Told : public comm::Request {
 public:
  Told(Script* script, std::span<std::byte> bytes) : script_(script), bytes_(bytes) {}
  Status Wait(comm::Deadline) override {
    if (bytes_.empty()) return Status::Ok();
    if (!script_->length_told && bytes_.size() == sizeof(int64_t)) {
      script_->length_told = true;
      const uint8_t way = script_->size > 0 ? script_->data[0] : 0;
      Skip(std::min<size_t>(1, script_->size));
      const int64_t length = way == 255 ? int64_t{1} << 40 : way == 254 ? -1 : static_cast<int64_t>(script_->size);
      std::memcpy(bytes_.data(), &length, sizeof length);
      return Status::Ok();
    }
    if (bytes_.size() > script_->size) return DataLoss("a message is cut short");
    std::memcpy(bytes_.data(), script_->data, bytes_.size());
    Skip(bytes_.size());
    return Status::Ok();
  }

 private:
  void Skip(size_t n) {
    script_->data += n;
    script_->size -= n;
  }

  Script* script_;
  std::span<std::byte> bytes_;
};

class ScriptedTransport : public comm::Transport {
 public:
  ScriptedTransport(Script* script, int rank) : script_(script), rank_(rank) {}
  int rank() const override { return rank_; }
  int size() const override { return 2; }
  std::unique_ptr<comm::Request> Send(int, std::span<const std::byte>) override {
    return std::make_unique<Told>(script_, std::span<std::byte>());
  }
  std::unique_ptr<comm::Request> Receive(int, std::span<std::byte> bytes) override {
    return std::make_unique<Told>(script_, bytes);
  }
  Result<std::unique_ptr<Transport>> Split(int) override {
    return std::unique_ptr<Transport>(std::make_unique<ScriptedTransport>(script_, rank_));
  }

 private:
  Script* script_;
  int rank_;
};

void Require(bool condition) {
  if (!condition) std::abort();
}

// A message is understood, or is damaged.
bool Understood(const Status& status) {
  Require(status.ok() || status.code() == StatusCode::kDataLoss);
  return status.ok();
}

constexpr std::chrono::seconds kTimeout{1};
constexpr int64_t kBatch = 29;

void TryKeys(Script script) {
  data::Schema schema;
  for (const char* name : {"home", "one_hot", "multi", "bags"})
    schema.fields.push_back({.name = name, .vocabulary = name, .salt = 1});
  schema.fields[2].one_hot = schema.fields[3].one_hot = false;
  comm::Communicator comm(std::make_unique<ScriptedTransport>(&script, 0), std::make_shared<comm::Ledger>(), kTimeout);
  placement::KeyExchange exchange(
      schema, {{.field = 0, .owner = 0}, {.field = 1}, {.field = 2}, {.field = 3, .whole_bags = true}}, &comm);
  data::Batch local;
  local.size = placement::SamplesOfRank(kBatch, 0, 2).size();
  local.fields.resize(schema.fields.size());
  for (size_t f = 0; f < schema.fields.size(); ++f) {
    auto& column = local.fields[f];
    for (int64_t i = 0; i < local.size; ++i) column.keys.push_back(static_cast<Key>(i) << 58);
    for (int64_t i = 0; !schema.fields[f].one_hot && i <= local.size; ++i)
      column.offsets.push_back(static_cast<int32_t>(i));
  }
  data::Batch owned;
  std::vector<std::vector<int32_t>> present;
  if (!Understood(exchange.Run(local, kBatch, &owned, &present))) return;
  for (size_t f = 0; f < owned.fields.size(); ++f) {
    const auto& column = owned.fields[f];
    Require(column.weights.empty() || column.weights.size() == column.keys.size());
    if (column.offsets.empty()) {
      Require(static_cast<int64_t>(column.keys.size()) == kBatch);
      continue;
    }
    Require(column.offsets.size() == kBatch + 1 && column.offsets.front() == 0);
    Require(std::is_sorted(column.offsets.begin(), column.offsets.end()));
    Require(static_cast<size_t>(column.offsets.back()) == column.keys.size());
    for (const int32_t at : present[f]) Require(at >= 0 && static_cast<size_t>(at) < column.keys.size());
  }
}

void TryRequests(Script script) {
  placement::Strategy strategy = placement::Uniform(placement::Placement::kRowsA2a, 3);
  strategy.of_vocabulary[1] = placement::Placement::kDesRs;
  strategy.home.assign(3, -1);
  comm::Communicator comm(std::make_unique<ScriptedTransport>(&script, 0), std::make_shared<comm::Ledger>(), kTimeout);
  const placement::Ownership ownership(strategy, 0, 2);
  placement::KeyRequests requests(strategy, ownership, &comm);
  embedding::VirtualIds mine;
  mine.unique = {Key{1}, Key{2} << 60, Key{15} << 60};
  mine.counts = {1, 2, 1};
  mine.block_begin = {0, 2, 2, 3};
  placement::AskedKeys asked;
  placement::RowRoutes routes;
  if (!Understood(requests.Run(mine, &asked, &routes))) return;
  Require(asked.keys[1].empty() && asked.keys.size() == 3);
  size_t keys = 0;
  for (size_t v = 0; v < 3; ++v) {
    Require(asked.keys[v].size() == asked.counts[v].size());
    for (const int32_t count : asked.counts[v]) Require(count > 0);
    keys += asked.keys[v].size();
  }
  Require(routes.give_begin.size() == 7 && std::is_sorted(routes.give_begin.begin(), routes.give_begin.end()));
  Require(static_cast<size_t>(routes.give_begin.back()) == keys);
}

// Texts of the leader and of all; any failure may be another rank's.
void TryTexts(Script script, bool shared) {
  auto ranks = placement::Ranks::Make(std::make_unique<ScriptedTransport>(&script, shared ? 1 : 0), kTimeout);
  Require(ranks.ok());
  if (shared) {
    auto text = (*ranks)->Share(std::string());
    Require(!text.ok() || text->size() < 5000);
  } else {
    (void)(*ranks)->Agree(Status::Ok()).ok();
  }
}

void TryLastWord(const uint8_t* data, size_t size) {
  std::vector<std::byte> word(comm::kLastWordBytes + (size % 64 == 7 ? 1 : 0));
  std::memcpy(word.data(), data, std::min(size, word.size()));
  int about = 0;
  Status status;
  if (!Understood(comm::DecodeLastWord(word, 3, &about, &status))) return;
  Require(about >= 0 && about < 3 && !status.ok() && status.message().size() <= comm::kLastWordBytes);
}

void TryFingerprints(const std::string& text) {
  auto files = data::ParseFingerprints(text);
  if (!Understood(files.status())) return;
  auto again = data::ParseFingerprints(data::FormatFingerprints(*files));
  Require(again.ok() && data::DifferenceOfFiles(*files, *again).empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const Script script{data + 1, size - 1};
  switch (data[0] % 6) {
    case 0:
      TryKeys(script);
      break;
    case 1:
      TryRequests(script);
      break;
    case 2:
      TryTexts(script, true);
      break;
    case 3:
      TryTexts(script, false);
      break;
    case 4:
      TryLastWord(data + 1, size - 1);
      break;
    default:
      TryFingerprints(std::string(reinterpret_cast<const char*>(data) + 1, size - 1));
  }
  return 0;
}
