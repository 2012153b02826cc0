#pragma once

// A naive table for tests: ordered maps, one key at a time, written from the contract and not from the implementation.

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <vector>

#include "embedding/admission.h"
#include "embedding/row_init.h"
#include "embedding/table.h"

namespace sluice::embedding {

template <class T>
class ReferenceTable {
 public:
  struct Row {
    std::vector<T> weights, slots;
    uint32_t count = 0, last_use = 0, previous_use = 0;
    bool is_default = false;
  };

  ReferenceTable(const TableConfig& config, int64_t dim, uint64_t table_seed, optim::Rule rule)
      : config_(config), dim_(dim), seed_(table_seed), rule_(rule),
        init_(RowInit::Make(config.init, dim, {}, table_seed).value()) {}

  // For each key the key of the row that stands for it; `absent` where none does.
  struct Resolved {
    std::vector<Key> stands;
    std::vector<bool> own, absent;
  };
  Resolved Resolve(const std::vector<Key>& keys, const std::vector<int32_t>& counts,
                   const std::vector<KeyBlock>& blocks, int64_t step) {
    Resolved out{keys, std::vector<bool>(keys.size(), true), std::vector<bool>(keys.size(), false)};
    std::map<Key, uint32_t> default_sightings;
    for (const KeyBlock& block : blocks)
      for (int32_t i = block.begin; i < block.end; ++i) {
        const Key key = keys[i];
        if (!rows_.contains(key) && !Admit(key, static_cast<uint32_t>(counts[i]), step)) {
          out.own[i] = false;
          out.absent[i] = config_.on_missing != "default";
          out.stands[i] = DefaultRowKey(block.salt);
          rejected += counts[i];
          if (!out.absent[i]) default_sightings[out.stands[i]] += static_cast<uint32_t>(counts[i]);
          continue;
        }
        if (!rows_.contains(key)) {
          Row& row = rows_[key] = NewRow();
          init_.Fill(key, row.weights.data());
          if (config_.admission.kind == "count") row.count = sightings_[key] - static_cast<uint32_t>(counts[i]);
          sightings_.erase(key);
        }
        See(&rows_[key], static_cast<uint32_t>(counts[i]), step);
      }
    for (const auto& [key, sightings] : default_sightings) {
      if (!rows_.contains(key)) (rows_[key] = NewRow()).is_default = true;
      See(&rows_[key], sightings, step);
    }
    return out;
  }

  std::vector<T> Gather(const Resolved& resolved, const std::vector<Key>& keys) const {
    std::vector<T> out(keys.size() * static_cast<size_t>(dim_), T(0));
    for (size_t i = 0; i < keys.size(); ++i) {
      T* const to = out.data() + i * static_cast<size_t>(dim_);
      if (!resolved.absent[i])
        std::copy_n(rows_.at(resolved.stands[i]).weights.begin(), dim_, to);
      else if (config_.on_missing == "init")
        init_.Fill(keys[i], to);
    }
    return out;
  }

  void Apply(const Resolved& resolved, const std::vector<T>& grads, int64_t step) {
    std::map<Key, std::vector<T>> sums;
    for (size_t i = 0; i < resolved.stands.size(); ++i) {
      if (resolved.absent[i]) {
        ++dropped_gradients;
        continue;
      }
      auto& sum = sums.try_emplace(resolved.stands[i], static_cast<size_t>(dim_), T(0)).first->second;
      for (int64_t c = 0; c < dim_; ++c) sum[c] += grads[i * static_cast<size_t>(dim_) + c];
    }
    for (const auto& [key, grad] : sums) {
      Row& row = rows_.at(key);
      const int64_t missed = row.previous_use == 0 ? 0 : step - row.previous_use - 1;
      optim::UpdateRow<T>(rule_, step, missed, row.weights.data(), grad.data(), row.slots.data(), dim_);
    }
  }

  void Expire(int64_t step) {
    const auto& expiry = config_.expiry;
    if (expiry.max_age_steps == 0 && expiry.max_rows == 0) return;
    std::map<int, std::vector<Key>> shards;
    for (const auto& [key, row] : rows_)
      if (!row.is_default) shards[ShardOf(key)].push_back(key);
    for (auto& [shard, keys] : shards) {
      const int64_t limit = std::max<int64_t>(1, expiry.max_rows / kNumShards);
      const bool turn = expiry.max_age_steps > 0 && step % kExpiryPeriod == shard % kExpiryPeriod;
      const bool over = expiry.max_rows > 0 && static_cast<int64_t>(keys.size()) > limit;
      if (!turn && !over) continue;
      int64_t left = static_cast<int64_t>(keys.size());
      std::set<std::tuple<uint32_t, uint32_t, Key>> rest;   // in the order of giving up
      for (const Key key : keys) {
        const Row& row = rows_[key];
        if (row.last_use > step - kPinWindow) continue;
        if (expiry.max_age_steps > 0 && step - row.last_use > expiry.max_age_steps) {
          rows_.erase(key);
          --left;
          ++expired;
        } else {
          rest.emplace(row.last_use, row.count, key);
        }
      }
      if (expiry.max_rows == 0 || left <= limit) continue;
      int64_t excess = left - limit + limit / 16;
      for (auto at = rest.begin(); at != rest.end() && excess > 0; ++at, --excess, ++expired) rows_.erase(std::get<2>(*at));
    }
  }

  const std::map<Key, Row>& rows() const { return rows_; }
  int64_t rejected = 0, expired = 0, dropped_gradients = 0;

 private:
  Row NewRow() {
    Row row;
    row.weights.assign(static_cast<size_t>(dim_), T(0));
    row.slots.resize(static_cast<size_t>(optim::NumSlots(rule_.kind, dim_)));
    optim::InitSlots(rule_, row.slots.data(), dim_);
    return row;
  }
  void See(Row* row, uint32_t sightings, int64_t step) {
    row->previous_use = row->last_use;
    row->last_use = static_cast<uint32_t>(step);
    row->count += sightings;
  }
  bool Admit(Key key, uint32_t sightings, int64_t step) {
    if (config_.admission.kind == "none") return true;
    if (config_.admission.kind == "probability")
      return AdmittedByChance(config_.admission.probability, seed_, key, step, sightings);
    return (sightings_[key] += sightings) >= config_.admission.count;
  }

  const TableConfig config_;
  const int64_t dim_;
  const uint64_t seed_;
  const optim::Rule rule_;
  const RowInit init_;
  std::map<Key, Row> rows_;
  std::map<Key, uint32_t> sightings_;
};

}  // namespace sluice::embedding
