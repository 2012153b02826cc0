#include "service/grpc/batch_codec.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/aligned_buffer.h"
#include "service/packing.h"

namespace sluice::service {

template <class T>
BatchCodec<T>::BatchCodec(const ModelLayout& layout, const ClientOptions& options, int groups, InitialRows<T> initial)
    : layout_(layout),
      order_(layout),
      initial_(std::move(initial)),
      initial_fingerprint_(initial_.fingerprint()),
      servers_(static_cast<int>(options.servers.size())),
      groups_(groups),
      rows_(options.rows),
      row_gradients_(options.row_gradients),
      dense_(options.dense),
      dense_gradients_(options.dense_gradients) {}

template <class T>
RequestFlag BatchCodec<T>::PullFlags(const PullRequest<T>& request) const {
  RequestFlag flags = kPull;
  if (request.mode == embedding::ResolveMode::kLookup) flags |= kLookup;
  if (request.params != nullptr) flags |= kWantParams;
  if (request.buffers != nullptr) flags |= kWantBuffers;
  if (rows_ == Wire::kBf16) flags |= kRowsBf16;
  if (dense_ == Wire::kBf16) flags |= kDenseBf16;
  if (dense_ == Wire::kPacked) flags |= kDensePacked;
  return flags;
}

template <class T>
std::vector<ServerKeys> BatchCodec<T>::Partition(const embedding::VirtualIds& ids) const {
  std::vector<ServerKeys> parts(static_cast<size_t>(servers_));
  const auto vocabularies = static_cast<int>(ids.block_begin.size()) - 1;
  if (servers_ == 1 && groups_ == 1) {
    parts[0].keys->keys = ids.unique;
    parts[0].keys->counts = ids.counts;
    parts[0].unique.resize(ids.unique.size());
    for (size_t i = 0; i < ids.unique.size(); ++i) parts[0].unique[i] = static_cast<int32_t>(i);
    for (int v = 0; v < vocabularies; ++v)
      if (ids.block_begin[static_cast<size_t>(v)] < ids.block_begin[static_cast<size_t>(v) + 1])
        parts[0].keys->blocks.push_back(
            {v, {ids.block_begin[static_cast<size_t>(v)], ids.block_begin[static_cast<size_t>(v) + 1]}});
    return parts;
  }
  std::vector<int> server_of(embedding::kNumShards);
  for (int s = 0; s < servers_; ++s) {
    const Range shards = ShardsOfServer(s, servers_);
    for (int64_t shard = shards.begin; shard < shards.end; ++shard) server_of[static_cast<size_t>(shard)] = s;
  }
  const size_t buckets = static_cast<size_t>(servers_) * static_cast<size_t>(groups_);
  std::vector<int32_t> next(buckets + 1), order;
  std::vector<uint16_t> bucket_of;
  for (int v = 0; v < vocabularies; ++v) {
    const auto begin = static_cast<size_t>(ids.block_begin[static_cast<size_t>(v)]);
    const auto end = static_cast<size_t>(ids.block_begin[static_cast<size_t>(v) + 1]);
    std::fill(next.begin(), next.end(), 0);
    bucket_of.resize(end - begin);
    order.resize(end - begin);
    for (size_t i = begin; i < end; ++i) {
      const Key key = ids.unique[i];
      const int group = groups_ > 1 ? GroupOf(key) : 0;
      const int bucket = server_of[static_cast<size_t>(embedding::ShardOf(key))] * groups_ + group;
      bucket_of[i - begin] = static_cast<uint16_t>(bucket);
      ++next[static_cast<size_t>(bucket) + 1];
    }
    for (size_t b = 0; b < buckets; ++b) next[b + 1] += next[b];
    std::vector<int32_t> bounds(next);
    for (size_t i = begin; i < end; ++i)
      order[static_cast<size_t>(next[bucket_of[i - begin]]++)] = static_cast<int32_t>(i);
    for (int s = 0; s < servers_; ++s) {
      ServerKeys& part = parts[static_cast<size_t>(s)];
      const int32_t from = bounds[static_cast<size_t>(s * groups_)],
                    to = bounds[static_cast<size_t>((s + 1) * groups_)];
      if (from == to) continue;
      const int64_t first = part.keys->size();
      for (int32_t k = from; k < to; ++k) {
        const int32_t u = order[static_cast<size_t>(k)];
        part.unique.push_back(u);
        part.keys->keys.push_back(ids.unique[static_cast<size_t>(u)]);
        part.keys->counts.push_back(ids.counts[static_cast<size_t>(u)]);
      }
      part.keys->blocks.push_back({v, {first, part.keys->size()}});
    }
  }
  return parts;
}

template <class T>
grpc::Slice BatchCodec<T>::EncodeSpan(const T* span, int64_t size, int server, Wire wire) const {
  if (span == nullptr) return {};
  const Range mine = SpanOfServer(size, server, servers_);
  if constexpr (sizeof(T) == sizeof(float)) {
    if (wire == Wire::kPacked) {
      Bytes out(static_cast<size_t>(PackedBound(mine.size())));
      out.Truncate(static_cast<size_t>(PackFloats(span + mine.begin, mine.size(), out.data())));
      return ToSlice(std::move(out));
    }
  }
  const bool bf16 = wire == Wire::kBf16;
  Bytes out(static_cast<size_t>(WireBytes(mine.size(), bf16, sizeof(T))));
  EncodeNumbers(span + mine.begin, mine.size(), bf16, out.data());
  return ToSlice(std::move(out));
}

template <class T>
std::shared_ptr<KeptPush> BatchCodec<T>::MakePush(const PushRequest<T>& request, const ServerKeys& keys,
                                                  int server) const {
  auto push = std::make_shared<KeptPush>();
  const bool bf16 = row_gradients_ == Wire::kBf16;
  push->keys = keys.keys;
  push->header.flags = bf16 ? kRowGradientsBf16 : 0u;
  if (dense_gradients_ == Wire::kBf16) push->header.flags |= kDenseGradientsBf16;
  if (dense_gradients_ == Wire::kPacked) push->header.flags |= kDenseGradientsPacked;
  push->header.push_clock = request.clock;
  push->header.weight = request.weight;
  push->header.samples = request.samples;
  push->header.lease = request.leases[0].lease;
  push->header.next_lease = request.leases[1].lease;
  push->header.next_lease_samples = request.leases[1].samples;
  const int64_t scalars = order_.Scalars(*keys.keys);
  if (request.ids != nullptr && scalars > 0) {
    Bytes out(static_cast<size_t>(WireBytes(scalars, bf16, sizeof(T))));
    AlignedBuffer<T> sorted;
    if (bf16) sorted.Resize(scalars);
    T* to = bf16 ? sorted.data() : reinterpret_cast<T*>(out.data());
    order_.ForEachBlock(*keys.keys, [&](size_t t, Range block) {
      const int64_t dim = layout_.tables[t].dim;
      const T* const from = request.grads[t];
      if (dim == 1) {
        for (int64_t i = block.begin; i < block.end; ++i) *to++ = from[keys.unique[static_cast<size_t>(i)]];
        return;
      }
      for (int64_t i = block.begin; i < block.end; ++i, to += dim)
        std::memcpy(to, from + keys.unique[static_cast<size_t>(i)] * dim, static_cast<size_t>(dim) * sizeof(T));
    });
    if (bf16) EncodeNumbers(sorted.data(), scalars, true, out.data());
    push->row_gradients = ToSlice(std::move(out));
  }
  push->dense_gradients = EncodeSpan(request.dense_grads, layout_.params, server, dense_gradients_);
  push->buffers = EncodeSpan(request.buffers, layout_.buffers, server, Wire::kNative);
  return push;
}

template <class T>
Status BatchCodec<T>::ScatterRows(const PullRequest<T>& request, const ServerKeys& keys, const Reply& reply) const {
  const KeyList& list = *keys.keys;
  const bool bf16 = rows_ == Wire::kBf16;
  Pieces numbers = reply.rows;
  RowMarks left_out;
  bool fits = initial_fingerprint_ == 0 || left_out.Take(order_.Rows(list), &numbers);
  int64_t row = 0, scalars = 0;
  order_.ForEachBlock(list, [&](size_t t, Range block) {
    for (const int64_t end = row + block.size(); row < end; ++row)
      if (!left_out.Has(row)) scalars += order_.dim(t);
  });
  fits = fits && numbers.size() == static_cast<size_t>(WireBytes(scalars, bf16, sizeof(T)));
  if (!fits)
    return DataLoss("a reply has {} bytes of rows, which its {} keys do not account for", reply.rows.size(),
                    list.size());
  AlignedBuffer<T> decoded;
  if (bf16) {
    decoded.Resize(scalars);
    DecodeNumbers(numbers, scalars, true, decoded.data());
    numbers = Pieces(std::as_bytes(std::span<const T>(decoded.data(), static_cast<size_t>(scalars))));
  }
  PieceReader reader(numbers);
  std::vector<std::byte> scratch;
  row = 0;
  order_.ForEachBlock(list, [&](size_t t, Range block) {
    const int64_t dim = order_.dim(t);
    const size_t bytes = static_cast<size_t>(dim) * sizeof(T);
    scratch.resize(bytes);
    for (int64_t i = block.begin; i < block.end; ++i, ++row) {
      const auto at = static_cast<size_t>(i);
      T* const to = request.rows[t] + keys.unique[at] * dim;
      if (left_out.Has(row))
        initial_.Fill(t, list.keys[at], dim, bf16, to);
      else
        std::memcpy(to, reader.Next(bytes, scratch.data()), bytes);
    }
  });
  return Status::Ok();
}

template <class T>
Status BatchCodec<T>::Scatter(const PullRequest<T>& request, const ServerKeys& keys, int server,
                              const Reply& reply) const {
  if (request.ids != nullptr) SLUICE_RETURN_IF_ERROR(ScatterRows(request, keys, reply));
  const auto take = [&](const Pieces& bytes, Wire wire, int64_t size, T* to) {
    if (to == nullptr) return true;
    const Range mine = SpanOfServer(size, server, servers_);
    if constexpr (sizeof(T) == sizeof(float))
      if (wire == Wire::kPacked) return UnpackFloats(bytes, mine.size(), to + mine.begin);
    const bool half = wire == Wire::kBf16;
    if (bytes.size() != static_cast<size_t>(WireBytes(mine.size(), half, sizeof(T)))) return false;
    DecodeNumbers(bytes, mine.size(), half, to + mine.begin);
    return true;
  };
  if (!take(reply.dense, dense_, layout_.params, request.params) ||
      !take(reply.buffers, Wire::kNative, layout_.buffers, request.buffers))
    return DataLoss("a reply has {} bytes of dense parameters and {} of buffers, which are not this server's span",
                    reply.dense.size(), reply.buffers.size());
  return Status::Ok();
}

template class BatchCodec<float>;
template class BatchCodec<double>;

}  // namespace sluice::service
