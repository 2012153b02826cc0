#include "placement/key_requests.h"

#include <algorithm>
#include <cstring>

#include "embedding/table.h"
#include "placement/ownership.h"

namespace sluice::placement {
namespace {

template <class V>
void Append(const V* values, size_t n, std::vector<std::byte>* out) {
  const size_t old = out->size();
  out->resize(old + n * sizeof(V));
  if (n > 0) std::memcpy(out->data() + old, values, n * sizeof(V));
}

}  // namespace

KeyRequests::KeyRequests(const data::Schema& schema, comm::Communicator* comm)
    : builder_(schema), comm_(comm), rank_of_shard_(embedding::kNumShards) {
  for (int s = 0; s < embedding::kNumShards; ++s)
    rank_of_shard_[static_cast<size_t>(s)] = RankOfShard(s, comm->size());
  out_.resize(static_cast<size_t>(comm->size()));
  in_.resize(static_cast<size_t>(comm->size()));
  asked_.fields.resize(schema.fields.size());
  counts_.resize(static_cast<size_t>(builder_.num_vocabularies()));
}

void KeyRequests::Encode(const embedding::VirtualIds& mine, RowRoutes* routes) {
  const auto vocabularies = static_cast<size_t>(builder_.num_vocabularies());
  const size_t parts = out_.size() * vocabularies;
  std::vector<int32_t> rank_of_key(mine.unique.size());
  routes->ask_begin.assign(parts + 1, 0);
  for (size_t v = 0; v < vocabularies; ++v) {
    for (int32_t i = mine.block_begin[v]; i < mine.block_begin[v + 1]; ++i) {
      const int32_t rank = rank_of_shard_[static_cast<size_t>(embedding::ShardOf(mine.unique[static_cast<size_t>(i)]))];
      rank_of_key[static_cast<size_t>(i)] = rank;
      ++routes->ask_begin[static_cast<size_t>(rank) * vocabularies + v + 1];
    }
  }
  for (size_t p = 0; p < parts; ++p) routes->ask_begin[p + 1] += routes->ask_begin[p];
  routes->ask.resize(mine.unique.size());
  std::vector<int64_t> next(routes->ask_begin.begin(), routes->ask_begin.end() - 1);
  for (size_t v = 0; v < vocabularies; ++v)
    for (int32_t i = mine.block_begin[v]; i < mine.block_begin[v + 1]; ++i)
      routes->ask[static_cast<size_t>(
          next[static_cast<size_t>(rank_of_key[static_cast<size_t>(i)]) * vocabularies + v]++)] = i;
  for (size_t r = 0; r < out_.size(); ++r) {
    std::vector<std::byte>& message = out_[r];
    message.clear();
    for (size_t v = 0; v < vocabularies; ++v) {
      const size_t p = r * vocabularies + v;
      const auto n = static_cast<uint32_t>(routes->ask_begin[p + 1] - routes->ask_begin[p]);
      Append(&n, 1, &message);
    }
    const auto begin = routes->ask.begin() + routes->ask_begin[r * vocabularies];
    const auto end = routes->ask.begin() + routes->ask_begin[(r + 1) * vocabularies];
    for (auto i = begin; i != end; ++i) Append(&mine.unique[static_cast<size_t>(*i)], 1, &message);
    for (auto i = begin; i != end; ++i) Append(&mine.counts[static_cast<size_t>(*i)], 1, &message);
  }
}

Status KeyRequests::Decode(RowRoutes* routes) {
  const auto vocabularies = static_cast<size_t>(builder_.num_vocabularies());
  asked_.size = 1;
  for (auto& column : asked_.fields) {
    column.keys.clear();
    column.offsets.assign(2, 0);
  }
  for (auto& counts : counts_) counts.clear();
  routes->give_begin.assign(in_.size() * vocabularies + 1, 0);
  for (size_t r = 0; r < in_.size(); ++r) {
    const std::vector<std::byte>& message = in_[r];
    const size_t head = vocabularies * sizeof(uint32_t);
    std::vector<uint32_t> sizes(vocabularies);
    uint64_t total = 0;
    if (message.size() >= head) {
      std::memcpy(sizes.data(), message.data(), head);
      for (const uint32_t n : sizes) total += n;
    }
    if (message.size() != head + total * (sizeof(Key) + sizeof(int32_t)))
      return DataLoss("the keys that rank {} asks for are damaged: {} bytes", r, message.size());
    const std::byte* keys = message.data() + head;
    const std::byte* counts = keys + total * sizeof(Key);
    for (size_t v = 0; v < vocabularies; ++v) {
      const size_t n = sizes[v];
      std::vector<Key>& to = asked_.fields[static_cast<size_t>(builder_.fields_of_vocabulary(static_cast<int>(v))[0])].keys;
      const size_t old = to.size();
      to.resize(old + n);
      counts_[v].resize(old + n);
      if (n > 0) {
        std::memcpy(to.data() + old, keys, n * sizeof(Key));
        std::memcpy(counts_[v].data() + old, counts, n * sizeof(int32_t));
      }
      keys += n * sizeof(Key);
      counts += n * sizeof(int32_t);
      const size_t p = r * vocabularies + v;
      routes->give_begin[p + 1] = routes->give_begin[p] + static_cast<int64_t>(n);
    }
  }
  for (auto& column : asked_.fields) column.offsets[1] = static_cast<int32_t>(column.keys.size());
  return Status::Ok();
}

Status KeyRequests::Run(const embedding::VirtualIds& mine, embedding::VirtualIds* owned, RowRoutes* routes) {
  Encode(mine, routes);
  std::vector<int64_t> lengths;
  for (const auto& message : out_) lengths.push_back(static_cast<int64_t>(message.size()));
  SLUICE_ASSIGN_OR_RETURN(lengths, comm_->ExchangeCounts(lengths, comm::Traffic::kInputKeys));
  std::vector<std::span<const std::byte>> send;
  std::vector<std::span<std::byte>> receive;
  constexpr int64_t kMaxMessage = int64_t{1} << 32;
  for (size_t r = 0; r < out_.size(); ++r) {
    if (lengths[r] < 0 || lengths[r] > kMaxMessage) return DataLoss("rank {} announces {} bytes of keys", r, lengths[r]);
    in_[r].resize(static_cast<size_t>(lengths[r]));
    send.push_back(out_[r]);
    receive.push_back(in_[r]);
  }
  SLUICE_RETURN_IF_ERROR(comm_->AllToAll(send, receive, comm::Traffic::kInputKeys));
  SLUICE_RETURN_IF_ERROR(Decode(routes));

  builder_.Build(asked_, nullptr, owned);
  std::fill(owned->counts.begin(), owned->counts.end(), 0);
  const auto vocabularies = static_cast<size_t>(builder_.num_vocabularies());
  routes->give.resize(static_cast<size_t>(routes->give_begin.back()));
  for (size_t v = 0; v < vocabularies; ++v) {
    const auto& inverse = owned->inverse[static_cast<size_t>(builder_.fields_of_vocabulary(static_cast<int>(v))[0])];
    for (size_t i = 0; i < inverse.size(); ++i) owned->counts[static_cast<size_t>(inverse[i])] += counts_[v][i];
    size_t at = 0;
    for (size_t r = 0; r < in_.size(); ++r) {
      const size_t p = r * vocabularies + v;
      for (int64_t i = routes->give_begin[p]; i < routes->give_begin[p + 1]; ++i)
        routes->give[static_cast<size_t>(i)] = inverse[at++];
    }
  }
  return Status::Ok();
}

}  // namespace sluice::placement
