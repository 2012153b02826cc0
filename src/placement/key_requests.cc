#include "placement/key_requests.h"

#include <cstring>
#include <span>

#include "comm/messages.h"
#include "embedding/table.h"

namespace sluice::placement {
namespace {

template <class V>
void Append(const V* values, size_t n, std::vector<std::byte>* out) {
  const size_t old = out->size();
  out->resize(old + n * sizeof(V));
  if (n > 0) std::memcpy(out->data() + old, values, n * sizeof(V));
}

}  // namespace

KeyRequests::KeyRequests(const Strategy& strategy, const Ownership& ownership, comm::Communicator* comm)
    : num_vocabularies_(strategy.of_vocabulary.size()),
      ownership_(ownership),
      comm_(comm),
      out_(static_cast<size_t>(comm->size())),
      in_(static_cast<size_t>(comm->size())) {
  for (size_t v = 0; v < num_vocabularies_; ++v)
    if (strategy.of_vocabulary[v] == Placement::kRowsA2a) vocabularies_.push_back(v);
}

void KeyRequests::Encode(const embedding::VirtualIds& mine, RowRoutes* routes) {
  const size_t parts = out_.size() * num_vocabularies_;
  std::vector<int32_t> rank_of_key(mine.unique.size());
  routes->ask_begin.assign(parts + 1, 0);
  for (const size_t v : vocabularies_) {
    for (int32_t i = mine.block_begin[v]; i < mine.block_begin[v + 1]; ++i) {
      const int rank = ownership_.OfShard(embedding::ShardOf(mine.unique[static_cast<size_t>(i)]));
      rank_of_key[static_cast<size_t>(i)] = rank;
      ++routes->ask_begin[static_cast<size_t>(rank) * num_vocabularies_ + v + 1];
    }
  }
  for (size_t p = 0; p < parts; ++p) routes->ask_begin[p + 1] += routes->ask_begin[p];
  routes->ask.resize(static_cast<size_t>(routes->ask_begin[parts]));
  std::vector<int64_t> next(routes->ask_begin.begin(), routes->ask_begin.end() - 1);
  for (const size_t v : vocabularies_)
    for (int32_t i = mine.block_begin[v]; i < mine.block_begin[v + 1]; ++i)
      routes->ask[static_cast<size_t>(
          next[static_cast<size_t>(rank_of_key[static_cast<size_t>(i)]) * num_vocabularies_ + v]++)] = i;
  for (size_t r = 0; r < out_.size(); ++r) {
    std::vector<std::byte>& message = out_[r];
    message.clear();
    for (const size_t v : vocabularies_) {
      const size_t p = r * num_vocabularies_ + v;
      const auto n = static_cast<uint32_t>(routes->ask_begin[p + 1] - routes->ask_begin[p]);
      Append(&n, 1, &message);
    }
    const auto begin = routes->ask.begin() + routes->ask_begin[r * num_vocabularies_];
    const auto end = routes->ask.begin() + routes->ask_begin[(r + 1) * num_vocabularies_];
    for (auto i = begin; i != end; ++i) Append(&mine.unique[static_cast<size_t>(*i)], 1, &message);
    for (auto i = begin; i != end; ++i) Append(&mine.counts[static_cast<size_t>(*i)], 1, &message);
  }
}

Status KeyRequests::Decode(AskedKeys* asked, RowRoutes* routes) const {
  asked->keys.resize(num_vocabularies_);
  asked->counts.resize(num_vocabularies_);
  for (auto& keys : asked->keys) keys.clear();
  for (auto& counts : asked->counts) counts.clear();
  routes->give_begin.assign(in_.size() * num_vocabularies_ + 1, 0);
  const size_t head = vocabularies_.size() * sizeof(uint32_t);
  std::vector<uint32_t> sizes(vocabularies_.size());
  for (size_t r = 0; r < in_.size(); ++r) {
    const std::vector<std::byte>& message = in_[r];
    uint64_t total = 0;
    if (message.size() >= head) {
      std::memcpy(sizes.data(), message.data(), head);
      for (const uint32_t n : sizes) total += n;
    }
    if (message.size() != head + total * (sizeof(Key) + sizeof(int32_t)))
      return DataLoss("the keys that rank {} asks for are damaged: {} bytes", r, message.size());
    const std::byte* keys = message.data() + head;
    const std::byte* counts = keys + total * sizeof(Key);
    for (size_t i = 0; i < vocabularies_.size(); ++i) {
      const size_t v = vocabularies_[i], n = sizes[i];
      const size_t old = asked->keys[v].size();
      asked->keys[v].resize(old + n);
      asked->counts[v].resize(old + n);
      if (n > 0) {
        std::memcpy(asked->keys[v].data() + old, keys, n * sizeof(Key));
        std::memcpy(asked->counts[v].data() + old, counts, n * sizeof(int32_t));
      }
      for (size_t at = old; at < old + n; ++at)
        if (asked->counts[v][at] < 1)
          return DataLoss("the keys that rank {} asks for are damaged: one occurs {} times", r, asked->counts[v][at]);
      keys += n * sizeof(Key);
      counts += n * sizeof(int32_t);
      routes->give_begin[r * num_vocabularies_ + v + 1] = static_cast<int64_t>(n);
    }
  }
  for (size_t p = 0; p + 1 < routes->give_begin.size(); ++p) routes->give_begin[p + 1] += routes->give_begin[p];
  return Status::Ok();
}

Status KeyRequests::Run(const embedding::VirtualIds& mine, AskedKeys* asked, RowRoutes* routes) {
  Encode(mine, routes);
  SLUICE_RETURN_IF_ERROR(comm::ExchangeMessages(comm_, {out_.begin(), out_.end()}, comm::Traffic::kInputKeys, &in_));
  return Decode(asked, routes);
}

}  // namespace sluice::placement
