// Requests as a client with a right token may send them: any bytes, in any order, within one session. None may crash
// the server, wait for ever, grow its memory beyond its limits or change what another client reads of rows that were
// not asked for.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "embedding/make_table.h"
#include "optim/config.h"
#include "service/engine.h"

namespace sluice::service {
namespace {

constexpr int64_t kParams = 40, kBuffers = 20;

void Require(bool holds) {
  if (!holds) std::abort();
}

// Two tables over two vocabularies, a dense span, and one server.
struct Server {
  Server() {
    embedding::TableConfig config;
    config.optimizer.name = "adagrad";
    rule = optim::MakeRule(config.optimizer).value();
    ModelLayout layout;
    layout.salts = {1, 2};
    layout.tables = {{"wide", 1, {0, 1}}, {"deep", 4, {1}}};
    layout.params = kParams;
    layout.buffers = kBuffers;
    for (const auto& table : layout.tables)
      tables.push_back(embedding::MakeTable<float>(table.name, table.dim, config, 7).value());
    values.assign(kParams, 1);
    slots.assign(static_cast<size_t>(optim::NumSpanSlots(rule.kind, kParams)), 0);
    buffers.assign(kBuffers, 0);
    ServedModel<float> served;
    served.layout = layout;
    for (auto& table : tables) served.tables.push_back(table.get());
    served.table_rule = [this](int, int64_t) { return rule; };
    served.dense_rule = [this](int64_t) { return rule; };
    served.params = values.data();
    served.slots = slots.data();
    served.buffers = buffers.data();
    EngineOptions options;
    options.config.max_request_rows = 256;
    options.config.max_handles = 1024;
    options.config.max_open_batches = 4;
    options.config.max_memory_bytes = int64_t{64} << 20;
    text = LayoutText(layout);
    engine = Engine::Make(MakeBackend<float>(std::move(served)), layout, options);
  }

  optim::Rule rule;
  std::vector<std::unique_ptr<embedding::Table<float>>> tables;
  std::vector<float> values, slots, buffers;
  std::string text;
  std::unique_ptr<Engine> engine;
};

Server& TheServer() {
  static Server server;
  return server;
}

// Gives a message a header that says what it holds, so that what is behind the check of lengths is reached.
void MakeLengthsFit(std::vector<uint8_t>* message) {
  RequestHeader header;
  if (message->size() < sizeof(header)) return;
  std::memcpy(&header, message->data(), sizeof(header));
  header.magic = kRequestMagic;
  header.flags &= kAllFlags;
  uint64_t rest = message->size() - sizeof(header);
  for (uint64_t* bytes :
       {&header.pull_key_bytes, &header.push_key_bytes, &header.row_gradient_bytes, &header.dense_gradient_bytes}) {
    *bytes %= rest + 1;
    rest -= *bytes;
  }
  header.buffer_bytes = rest;
  std::memcpy(message->data(), &header, sizeof(header));
}

}  // namespace
}  // namespace sluice::service

// The input is a row of messages, each after its length in two bytes and one that says whether its header is made to
// fit.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sluice::service;
  Server& server = TheServer();
  auto joined = server.engine->Join({"fuzz", "here", true, server.text, 1, 0, 0, 0});
  Require(joined.ok());
  auto session = server.engine->Open(joined->client_id, joined->session);
  Require(session.ok());
  size_t at = 0;
  while (at + 3 <= size) {
    size_t length = (data[at] | (size_t{data[at + 1]} << 8)) % 4096;
    const bool patch = (data[at + 2] & 1) != 0;
    at += 3;
    length = length < size - at ? length : size - at;
    auto message = std::make_shared<std::vector<uint8_t>>(data + at, data + at + length);
    at += length;
    if (patch) MakeLengthsFit(message.get());
    int answers = 0;
    const auto work =
        server.engine->Prepare(*session, {std::as_bytes(std::span(message->data(), message->size())), message},
                               [&](ReplyMessage) { ++answers; });
    if (work != nullptr) server.engine->Run(work);
    Require(answers <= 1);
    if (work == nullptr) break;  // the session is broken
  }
  Require(server.engine->Leave(joined->client_id).ok());
  for (const float value : server.values) Require(value == value);
  return 0;
}
