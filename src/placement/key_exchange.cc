#include "placement/key_exchange.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "comm/messages.h"
#include "placement/ownership.h"

namespace sluice::placement {
namespace {

void PutVarint(uint64_t value, std::vector<uint8_t>* out) {
  while (value >= 0x80) {
    out->push_back(static_cast<uint8_t>(value) | 0x80);
    value >>= 7;
  }
  out->push_back(static_cast<uint8_t>(value));
}

// Appends values[j] for every j of `picked`.
template <class T>
void PutPicked(const std::vector<T>& values, const std::vector<int64_t>& picked, std::vector<std::byte>* out) {
  const size_t old = out->size();
  out->resize(old + picked.size() * sizeof(T));
  std::byte* to = out->data() + old;
  for (const int64_t j : picked) {
    std::memcpy(to, &values[j], sizeof(T));
    to += sizeof(T);
  }
}

// Reads a message front to back; every read says whether the message was long enough.
class Cursor {
 public:
  explicit Cursor(std::span<const std::byte> bytes) : bytes_(bytes) {}

  bool Varint(uint64_t* value) {
    *value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (position_ >= bytes_.size()) return false;
      const auto byte = static_cast<uint8_t>(bytes_[position_++]);
      *value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }
  // The next n * size bytes, or null.
  const std::byte* Take(uint64_t n, size_t size) {
    if (n > (bytes_.size() - position_) / size) return nullptr;
    const std::byte* begin = bytes_.data() + position_;
    position_ += n * size;
    return begin;
  }
  bool AtEnd() const { return position_ == bytes_.size(); }

 private:
  std::span<const std::byte> bytes_;
  size_t position_ = 0;
};

}  // namespace

KeyExchange::KeyExchange(const data::Schema& schema, std::vector<FieldRoute> routes, comm::Communicator* comm)
    : schema_(schema),
      routes_(std::move(routes)),
      comm_(comm),
      out_(comm->size()),
      in_(comm->size()),
      taken_(comm->size()),
      others_(comm->size()),
      heads_(comm->size()) {}

void KeyExchange::Encode(const data::Batch& local) {
  for (auto& message : out_) message.clear();
  for (const FieldRoute& route : routes_) EncodeField(local, route);
}

void KeyExchange::EncodeField(const data::Batch& local, const FieldRoute& route) {
  const int ranks = comm_->size();
  const data::FieldColumn& column = local.fields[route.field];
  const bool bits = schema_.fields[route.field].one_hot;
  const bool whole_bags = route.whole_bags && !bits;
  SLUICE_CHECK(!bits || column.one_hot(), "field {} is not one-hot", route.field);
  for (int r = 0; r < ranks; ++r) {
    taken_[r].clear();
    others_[r].clear();
    heads_[r].assign(bits ? static_cast<size_t>(local.size + 7) / 8 : 0, 0);
  }
  std::vector<uint64_t> counts(ranks);
  std::vector<int32_t> rank_of;  // of the keys of a whole bag
  for (int64_t i = 0; i < local.size; ++i) {
    std::fill(counts.begin(), counts.end(), 0);
    rank_of.clear();
    for (int64_t j = column.begin(i); j < column.end(i); ++j) {
      const int rank = route.owner >= 0 ? route.owner : RankOfKey(column.keys[j], ranks);
      taken_[rank].push_back(j);
      ++counts[rank];
      if (whole_bags) rank_of.push_back(rank);
    }
    for (int r = 0; r < ranks; ++r) {
      if (bits) {
        heads_[r][i / 8] |= static_cast<uint8_t>(counts[r] << (i % 8));
        continue;
      }
      PutVarint(counts[r], &heads_[r]);
      if (!whole_bags || counts[r] == 0) continue;
      PutVarint(rank_of.size() - counts[r], &heads_[r]);
      for (size_t k = 0; k < rank_of.size() && !column.weights.empty(); ++k)
        if (rank_of[k] != r) others_[r].push_back(column.begin(i) + static_cast<int64_t>(k));
    }
  }
  for (int r = 0; r < ranks; ++r) {
    const auto head = std::as_bytes(std::span(heads_[r]));
    out_[r].insert(out_[r].end(), head.begin(), head.end());
    PutPicked(column.keys, taken_[r], &out_[r]);
    out_[r].push_back(column.weights.empty() ? std::byte{0} : std::byte{1});
    if (column.weights.empty()) continue;
    PutPicked(column.weights, taken_[r], &out_[r]);
    PutPicked(column.weights, others_[r], &out_[r]);
  }
}

Status KeyExchange::Decode(int from, int64_t samples, std::span<const std::byte> message, data::Batch* owned,
                           std::vector<std::vector<int32_t>>* present) const {
  constexpr uint64_t kMaxOthers = 1 << 26;  // keys of others in the bags of one field: they take memory here alone
  Cursor cursor(message);
  const auto damaged = [&](int field) {
    return DataLoss("the keys that rank {} sent for field {} are damaged", from, schema_.fields[field].name);
  };
  std::vector<std::pair<uint64_t, uint64_t>> bags(static_cast<size_t>(samples));  // keys owned, and of others
  for (const FieldRoute& route : routes_) {
    data::FieldColumn& column = owned->fields[route.field];
    const bool one_hot = schema_.fields[route.field].one_hot;
    const bool whole_bags = route.whole_bags && !one_hot;
    const std::byte* bits = one_hot ? cursor.Take(static_cast<uint64_t>(samples + 7) / 8, 1) : nullptr;
    if (one_hot && bits == nullptr) return damaged(route.field);
    uint64_t total = 0, others = 0;
    for (int64_t i = 0; i < samples; ++i) {
      auto& [count, rest] = bags[static_cast<size_t>(i)];
      count = rest = 0;
      if (one_hot)
        count = (static_cast<uint8_t>(bits[i / 8]) >> (i % 8)) & 1u;
      else if (!cursor.Varint(&count) || count > message.size() ||
               (whole_bags && count > 0 && (!cursor.Varint(&rest) || rest > kMaxOthers)))
        return damaged(route.field);
      total += count;
      others += rest;
      if (others > kMaxOthers) return damaged(route.field);
    }
    const size_t old = column.keys.size(), size = old + total + others;
    if (size > INT32_MAX) return damaged(route.field);
    const std::byte* keys = cursor.Take(total, sizeof(Key));
    const std::byte* weighted = cursor.Take(1, 1);
    if (keys == nullptr || weighted == nullptr) return damaged(route.field);
    const bool has_weights = *weighted != std::byte{0};
    const std::byte* weights = has_weights ? cursor.Take(total + others, sizeof(float)) : nullptr;
    if (has_weights && weights == nullptr) return damaged(route.field);
    column.keys.resize(size);
    if (has_weights) column.weights.resize(old, 1.0f);  // ranks whose part had no weights
    if (has_weights || !column.weights.empty()) column.weights.resize(size, 1.0f);
    size_t at = old, key = 0, other = total;
    const auto copy_weight = [&](size_t to, size_t i) {
      if (has_weights) std::memcpy(&column.weights[to], weights + i * sizeof(float), sizeof(float));
    };
    for (const auto& [count, rest] : bags) {
      for (uint64_t k = 0; k < count; ++k, ++at, ++key) {
        std::memcpy(&column.keys[at], keys + key * sizeof(Key), sizeof(Key));
        copy_weight(at, key);
        if (whole_bags) (*present)[route.field].push_back(static_cast<int32_t>(at));
      }
      for (uint64_t k = 0; k < rest; ++k, ++at, ++other) {
        column.keys[at] = 0;
        copy_weight(at, other);
      }
      column.offsets.push_back(static_cast<int32_t>(at));
    }
  }
  if (!cursor.AtEnd()) return DataLoss("the keys that rank {} sent have bytes left over", from);
  return Status::Ok();
}

Status KeyExchange::Run(const data::Batch& local, int64_t global_batch, data::Batch* owned,
                        std::vector<std::vector<int32_t>>* present) {
  const int ranks = comm_->size();
  SLUICE_CHECK(local.size == SamplesOfRank(global_batch, comm_->rank(), ranks).size(),
               "rank {} has {} samples of a batch of {}", comm_->rank(), local.size, global_batch);
  Encode(local);
  SLUICE_RETURN_IF_ERROR(comm::ExchangeMessages(comm_, {out_.begin(), out_.end()}, comm::Traffic::kInputKeys, &in_));

  owned->Clear();
  owned->size = global_batch;
  owned->first_sample = local.first_sample - SamplesOfRank(global_batch, comm_->rank(), ranks).begin;
  owned->fields.resize(schema_.fields.size());
  for (auto& column : owned->fields) column.offsets.assign(1, 0);
  present->resize(schema_.fields.size());
  for (auto& occurrences : *present) occurrences.clear();
  for (int r = 0; r < ranks; ++r)
    SLUICE_RETURN_IF_ERROR(Decode(r, SamplesOfRank(global_batch, r, ranks).size(), in_[r], owned, present));
  // Fields that are not routed hold no key of any sample.
  for (auto& column : owned->fields)
    column.offsets.resize(static_cast<size_t>(global_batch) + 1, column.offsets.back());
  for (const FieldRoute& route : routes_) {  // every sample's key is here
    data::FieldColumn& column = owned->fields[route.field];
    if (route.owner != comm_->rank() || !schema_.fields[route.field].one_hot) continue;
    if (static_cast<int64_t>(column.keys.size()) != global_batch)
      return DataLoss("{} keys of field {} came for {} samples", column.keys.size(), schema_.fields[route.field].name,
                      global_batch);
    column.offsets.clear();
  }
  return Status::Ok();
}

}  // namespace sluice::placement
