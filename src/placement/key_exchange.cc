#include "placement/key_exchange.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"
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
      heads_(comm->size()) {}

void KeyExchange::Encode(const data::Batch& local, const std::vector<std::vector<float>>& coefficients) {
  const int ranks = comm_->size();
  for (auto& message : out_) message.clear();
  for (const FieldRoute& route : routes_) {
    const data::FieldColumn& column = local.fields[route.field];
    const std::vector<float>& weights = route.coefficients ? coefficients[route.field] : column.weights;
    const bool bits = schema_.fields[route.field].one_hot;
    SLUICE_CHECK(!bits || column.one_hot(), "field {} is not one-hot", route.field);
    for (int r = 0; r < ranks; ++r) {
      taken_[r].clear();
      heads_[r].assign(bits ? static_cast<size_t>(local.size + 7) / 8 : 0, 0);
    }
    std::vector<uint64_t> counts(ranks);
    for (int64_t i = 0; i < local.size; ++i) {
      if (!bits) std::fill(counts.begin(), counts.end(), 0);
      for (int64_t j = column.begin(i); j < column.end(i); ++j) {
        const int rank = route.owner >= 0 ? route.owner : RankOfKey(column.keys[j], ranks);
        taken_[rank].push_back(j);
        if (bits) {
          heads_[rank][i / 8] |= static_cast<uint8_t>(1u << (i % 8));
        } else {
          ++counts[rank];
        }
      }
      if (!bits)
        for (int r = 0; r < ranks; ++r) PutVarint(counts[r], &heads_[r]);
    }
    for (int r = 0; r < ranks; ++r) {
      const auto head = std::as_bytes(std::span(heads_[r]));
      out_[r].insert(out_[r].end(), head.begin(), head.end());
      PutPicked(column.keys, taken_[r], &out_[r]);
      out_[r].push_back(weights.empty() ? std::byte{0} : std::byte{1});
      if (!weights.empty()) PutPicked(weights, taken_[r], &out_[r]);
    }
  }
}

Status KeyExchange::Decode(int from, int64_t samples, std::span<const std::byte> message, data::Batch* owned) const {
  Cursor cursor(message);
  const auto damaged = [&](int field) {
    return DataLoss("the keys that rank {} sent for field {} are damaged", from, schema_.fields[field].name);
  };
  for (const FieldRoute& route : routes_) {
    data::FieldColumn& column = owned->fields[route.field];
    uint64_t total = 0;
    const auto add = [&](uint64_t count) {
      total += count;
      column.offsets.push_back(column.offsets.back() + static_cast<int32_t>(count));
    };
    if (schema_.fields[route.field].one_hot) {
      const std::byte* bits = cursor.Take(static_cast<uint64_t>(samples + 7) / 8, 1);
      if (bits == nullptr) return damaged(route.field);
      for (int64_t i = 0; i < samples; ++i) add((static_cast<uint8_t>(bits[i / 8]) >> (i % 8)) & 1u);
    } else {
      for (int64_t i = 0; i < samples; ++i) {
        uint64_t count = 0;
        if (!cursor.Varint(&count) || count > message.size()) return damaged(route.field);
        add(count);
      }
    }
    const size_t old = column.keys.size();
    const std::byte* keys = cursor.Take(total, sizeof(Key));
    if (keys == nullptr) return damaged(route.field);
    column.keys.resize(old + total);
    if (total > 0) std::memcpy(column.keys.data() + old, keys, total * sizeof(Key));
    const std::byte* weighted = cursor.Take(1, 1);
    if (weighted == nullptr) return damaged(route.field);
    if (*weighted != std::byte{0}) {
      const std::byte* weights = cursor.Take(total, sizeof(float));
      if (weights == nullptr) return damaged(route.field);
      column.weights.resize(old, 1.0f);   // ranks whose part had no weights
      column.weights.resize(old + total);
      if (total > 0) std::memcpy(column.weights.data() + old, weights, total * sizeof(float));
    } else if (!column.weights.empty()) {
      column.weights.resize(old + total, 1.0f);
    }
  }
  if (!cursor.AtEnd()) return DataLoss("the keys that rank {} sent have bytes left over", from);
  return Status::Ok();
}

Status KeyExchange::Run(const data::Batch& local, const std::vector<std::vector<float>>& coefficients,
                        int64_t global_batch, data::Batch* owned) {
  const int ranks = comm_->size();
  SLUICE_CHECK(local.size == SamplesOfRank(global_batch, comm_->rank(), ranks).size(),
               "rank {} has {} samples of a batch of {}", comm_->rank(), local.size, global_batch);
  Encode(local, coefficients);
  std::vector<int64_t> lengths(ranks);
  for (int r = 0; r < ranks; ++r) lengths[r] = static_cast<int64_t>(out_[r].size());
  SLUICE_ASSIGN_OR_RETURN(const auto received, comm_->ExchangeCounts(lengths, comm::Traffic::kInputKeys));
  std::vector<std::span<const std::byte>> send;
  std::vector<std::span<std::byte>> receive;
  constexpr int64_t kMaxMessage = int64_t{1} << 32;
  for (int r = 0; r < ranks; ++r) {
    if (received[r] < 0 || received[r] > kMaxMessage)
      return DataLoss("rank {} announces {} bytes of keys", r, received[r]);
    in_[r].resize(static_cast<size_t>(received[r]));
    send.push_back(out_[r]);
    receive.push_back(in_[r]);
  }
  SLUICE_RETURN_IF_ERROR(comm_->AllToAll(send, receive, comm::Traffic::kInputKeys));

  owned->Clear();
  owned->size = global_batch;
  owned->first_sample = local.first_sample - SamplesOfRank(global_batch, comm_->rank(), ranks).begin;
  owned->fields.resize(schema_.fields.size());
  for (auto& column : owned->fields) column.offsets.assign(1, 0);
  for (int r = 0; r < ranks; ++r)
    SLUICE_RETURN_IF_ERROR(Decode(r, SamplesOfRank(global_batch, r, ranks).size(), in_[r], owned));
  // Fields that are not routed hold no key of any sample.
  for (auto& column : owned->fields) column.offsets.resize(static_cast<size_t>(global_batch) + 1, column.offsets.back());
  return Status::Ok();
}

}  // namespace sluice::placement
