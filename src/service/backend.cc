#include "service/backend.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>

#include "base/aligned_buffer.h"
#include "service/initial_rows.h"
#include "service/packing.h"
#include "service/row_order.h"

namespace sluice::service {
namespace {

using embedding::KeyBlock;
using embedding::ResolveMode;

constexpr int64_t kDenseBlock = 16384;  // scalars under one lock
static_assert(kDenseBlock % kPackedBlock == 0);
constexpr int64_t kRowsPerTask = 1024;

// Consecutive keys of a list that one table serves.
struct TableRun {
  Range keys;                    // of the list
  int64_t offset = 0;            // of the run's first scalar in a message
  std::vector<KeyBlock> blocks;  // relative to keys.begin
  embedding::Resolved rows;
};

// Keys [keys) of a list, all of one lock group.
struct GroupRange {
  int group = 0;
  Range keys;
};

template <class T>
class BackendOf final : public Backend {
 public:
  explicit BackendOf(ServedModel<T> model)
      : model_(std::move(model)),
        params_(SpanOfServer(model_.layout.params, model_.server, model_.servers)),
        buffers_(SpanOfServer(model_.layout.buffers, model_.server, model_.servers)),
        order_(model_.layout),
        initial_(InitsOf(model_)),
        initial_fingerprint_(initial_.fingerprint()),
        row_locks_(model_.tables.size()),
        dense_locks_(static_cast<size_t>((params_.size() + kDenseBlock - 1) / kDenseBlock)) {}

  int scalar_bytes() const override { return sizeof(T); }
  int64_t num_params() const override { return params_.size(); }
  int64_t num_buffers() const override { return buffers_.size(); }
  int64_t RowScalars(const KeyList& keys) const override { return order_.Scalars(keys); }
  std::vector<embedding::RowInit> row_inits() const override { return InitsOf(model_); }

  std::unique_ptr<Batch> Resolve(KeyList keys, ResolveMode mode, int64_t step, ThreadPool* pool) override {
    auto batch = std::make_unique<Resolved>();
    batch->keys = std::move(keys);
    Find(batch.get(), mode, step, pool);
    batch->groups = GroupRanges(batch->keys);
    return batch;
  }

  Bytes Gather(const Batch& batch, RowForm form) override {
    const auto& resolved = static_cast<const Resolved&>(batch);
    Bytes out = RoomForRows(resolved.scalars, resolved.keys, form);
    {
      std::shared_lock rows(all_rows_);
      ForEachGroup(resolved, [&](int table, const TableRun& run, Range keys) {
        GatherRange(table, resolved.keys, run, keys, form.bf16, run.offset + keys.begin * Dim(table), out.data());
      });
    }
    LeaveOutInitial(resolved.keys, form, &out);
    return out;
  }

  void Apply(const Batch& batch, const Pieces& gradients, bool bf16) override {
    const auto& resolved = static_cast<const Resolved&>(batch);
    AlignedBuffer<T> decoded(resolved.scalars);
    DecodeNumbers(gradients, resolved.scalars, bf16, decoded.data());
    std::vector<optim::Rule> rules = RulesOf(batch.step);
    std::shared_lock rows(all_rows_);
    ForEachGroup(resolved, [&](int table, const TableRun& run, Range keys) {
      model_.tables[static_cast<size_t>(table)]->Apply(
          run.rows, KeysOf(resolved.keys, run), decoded.data() + run.offset, keys, rules[static_cast<size_t>(table)]);
    });
    ApplyDefaults(resolved, decoded.data(), rules);
  }

  void Release(const Batch& batch) override {
    const auto& resolved = static_cast<const Resolved&>(batch);
    for (size_t t = 0; t < resolved.runs.size(); ++t)
      for (const TableRun& run : resolved.runs[t]) model_.tables[t]->Release(run.rows);
  }

  Bytes ReadParams(Wire wire) override {
    if constexpr (sizeof(T) == sizeof(float))
      if (wire == Wire::kPacked) return PackParams();
    const bool bf16 = wire == Wire::kBf16;
    Bytes out(static_cast<size_t>(WireBytes(params_.size(), bf16, sizeof(T))));
    const int64_t width = WireBytes(1, bf16, sizeof(T));
    for (size_t b = 0; b < dense_locks_.size(); ++b) {
      const Range block = DenseBlock(static_cast<int64_t>(b));
      std::lock_guard lock(dense_locks_[b].mutex);
      EncodeNumbers(model_.params + params_.begin + block.begin, block.size(), bf16, out.data() + block.begin * width);
    }
    return out;
  }
  Bytes ReadBuffers() override {
    Bytes out(static_cast<size_t>(buffers_.size()) * sizeof(T));
    std::lock_guard lock(buffers_mutex_);
    EncodeNumbers(model_.buffers + buffers_.begin, buffers_.size(), false, out.data());
    return out;
  }
  void ApplyDense(const Pieces& gradients, bool bf16, int64_t step) override {
    const optim::Rule rule = model_.dense_rule(step);
    const int64_t most = std::min(kDenseBlock, params_.size());
    AlignedBuffer<T> decoded(most);
    AlignedBuffer<std::byte> scratch(WireBytes(most, bf16, sizeof(T)));
    PieceReader reader(gradients);
    for (size_t b = 0; b < dense_locks_.size(); ++b) {
      const Range block = DenseBlock(static_cast<int64_t>(b));
      const auto bytes = static_cast<size_t>(WireBytes(block.size(), bf16, sizeof(T)));
      const std::byte* const at = reader.Next(bytes, scratch.data());
      if (!bf16 && reinterpret_cast<uintptr_t>(at) % alignof(T) == 0) {
        UpdateDense(rule, step, b, block, reinterpret_cast<const T*>(at));
        continue;
      }
      DecodeNumbers(at, block.size(), bf16, decoded.data());
      UpdateDense(rule, step, b, block, decoded.data());
    }
  }
  void MixBuffers(const Pieces& theirs, double share) override {
    AlignedBuffer<T> decoded(buffers_.size());
    DecodeNumbers(theirs, buffers_.size(), false, decoded.data());
    T* const mine = model_.buffers + buffers_.begin;
    std::lock_guard lock(buffers_mutex_);
    for (int64_t i = 0; i < buffers_.size(); ++i)
      mine[i] = share == 1 ? decoded[i] : mine[i] + static_cast<T>(share) * (decoded[i] - mine[i]);
  }

  std::unique_ptr<Batch> ResolveUnion(const std::vector<const KeyList*>& lists, int64_t step,
                                      ThreadPool* pool) override {
    auto batch = std::make_unique<Resolved>();
    batch->places.resize(lists.size());
    if (lists.size() == 1)
      batch->keys = *lists[0];
    else
      Merge(lists, &batch->keys, &batch->places);
    Find(batch.get(), ResolveMode::kTrain, step, pool);
    return batch;
  }

  Bytes GatherPart(const Batch& batch, int list, RowForm form, ThreadPool* pool) override {
    const auto& resolved = static_cast<const Resolved&>(batch);
    const auto& places = resolved.places[static_cast<size_t>(list)];
    AlignedBuffer<T> all(resolved.scalars);
    ForEachTask(resolved, pool, [&](int table, const TableRun& run, Range keys) {
      model_.tables[static_cast<size_t>(table)]->Gather(run.rows, KeysOf(resolved.keys, run), run.blocks, keys,
                                                        all.data() + run.offset);
    });
    if (places.runs.empty()) {  // the only list
      Bytes out = RoomForRows(resolved.scalars, resolved.keys, form);
      EncodeNumbers(all.data(), resolved.scalars, form.bf16, out.data());
      LeaveOutInitial(resolved.keys, form, &out);
      return out;
    }
    Bytes out = RoomForRows(places.scalars, places.keys, form);
    ForEachPlace(resolved, places, [&](int table, int64_t in_union, int64_t in_list) {
      EncodeNumbers(all.data() + in_union, Dim(table), form.bf16,
                    out.data() + WireBytes(in_list, form.bf16, sizeof(T)));
    });
    LeaveOutInitial(places.keys, form, &out);
    return out;
  }

  void ApplyParts(const Batch& batch, const std::vector<Part>& parts, ThreadPool* pool) override {
    const auto& resolved = static_cast<const Resolved&>(batch);
    AlignedBuffer<T> sum(resolved.scalars), decoded;
    if (parts.size() != 1 || resolved.places.size() != 1) sum.Zero();
    for (const Part& part : parts) {
      const auto& places = resolved.places[static_cast<size_t>(part.list)];
      const auto share = static_cast<T>(part.share);
      if (places.runs.empty()) {
        DecodeNumbers(part.row_gradients, resolved.scalars, part.rows_bf16, sum.data());
        if (part.share != 1)
          for (int64_t i = 0; i < resolved.scalars; ++i) sum[i] *= share;
        continue;
      }
      decoded.Resize(places.scalars);
      DecodeNumbers(part.row_gradients, places.scalars, part.rows_bf16, decoded.data());
      ForEachPlace(resolved, places, [&](int table, int64_t in_union, int64_t in_list) {
        const int64_t dim = Dim(table);
        for (int64_t c = 0; c < dim; ++c) sum[in_union + c] += share * decoded[in_list + c];
      });
    }
    const std::vector<optim::Rule> rules = RulesOf(batch.step);
    std::unique_lock rows(all_rows_);  // from those who look up meanwhile
    ForEachTask(resolved, pool, [&](int table, const TableRun& run, Range keys) {
      model_.tables[static_cast<size_t>(table)]->Apply(run.rows, KeysOf(resolved.keys, run), sum.data() + run.offset,
                                                       keys, rules[static_cast<size_t>(table)]);
    });
    ApplyDefaults(resolved, sum.data(), rules);
  }

  void ApplyDenseParts(const std::vector<DensePart>& parts, int64_t step, ThreadPool* pool) override {
    if (parts.empty()) return;
    const optim::Rule rule = model_.dense_rule(step);
    const auto update = [&](int64_t b, int) {
      const Range block = DenseBlock(b);
      AlignedBuffer<T> sum(block.size()), decoded(block.size());
      for (size_t p = 0; p < parts.size(); ++p) {
        const DensePart& part = parts[p];
        T* const to = p == 0 ? sum.data() : decoded.data();
        const auto begin = static_cast<size_t>(WireBytes(block.begin, part.bf16, sizeof(T)));
        const auto bytes = static_cast<size_t>(WireBytes(block.size(), part.bf16, sizeof(T)));
        DecodeNumbers(part.gradients.Part(begin, bytes), block.size(), part.bf16, to);
        const auto share = static_cast<T>(part.share);
        if (p == 0 && part.share == 1) continue;
        for (int64_t i = 0; i < block.size(); ++i) sum[i] = p == 0 ? share * to[i] : sum[i] + share * to[i];
      }
      UpdateDense(rule, step, static_cast<size_t>(b), block, sum.data());
    };
    pool->ForEach(static_cast<int64_t>(dense_locks_.size()), update);
    if (buffers_.empty()) return;
    AlignedBuffer<T> sum(buffers_.size()), decoded(buffers_.size());
    for (size_t p = 0; p < parts.size(); ++p) {
      DecodeNumbers(parts[p].buffers, buffers_.size(), false, decoded.data());
      const auto share = static_cast<T>(parts[p].share);
      for (int64_t i = 0; i < buffers_.size(); ++i) {
        const T value = parts[p].share == 1 ? decoded[i] : share * decoded[i];
        sum[i] = p == 0 ? value : sum[i] + value;
      }
    }
    std::lock_guard lock(buffers_mutex_);
    std::memcpy(model_.buffers + buffers_.begin, sum.data(), static_cast<size_t>(buffers_.size()) * sizeof(T));
  }

  bool expires() const override { return model_.expire != nullptr; }
  void Expire(int64_t step) override { model_.expire(step); }

  std::vector<TableReport> Report() const override {
    std::vector<TableReport> reports;
    for (size_t t = 0; t < model_.tables.size(); ++t)
      reports.push_back({model_.layout.tables[t].name, model_.layout.tables[t].dim, model_.tables[t]->stats()});
    return reports;
  }
  int64_t MemoryBytes() const override {
    int64_t bytes = 0;
    for (const auto* table : model_.tables) bytes += table->stats().memory_bytes;
    return bytes;
  }

 private:
  // Where the keys of one list lie in a union: for each table and run of the union, the list's keys in its order.
  struct Places {
    struct Place {
      int32_t in_union = 0, in_list = 0;  // numbers of the key in the run and among the table's keys of the list
    };
    struct Run {
      int64_t offset = 0;  // of the table's first scalar in the list's messages
      std::vector<Place> keys;
    };
    int64_t scalars = 0;
    KeyList keys;                        // of the list
    std::vector<int32_t> index;          // [list]: in the union
    std::vector<std::vector<Run>> runs;  // [tables][runs of the union]; empty: the list is the union
  };
  struct Resolved final : Batch {
    std::vector<std::vector<TableRun>> runs;  // [tables]
    int64_t scalars = 0;                      // of a message about all keys
    std::vector<GroupRange> groups;           // by group
    std::vector<Places> places;               // unions: [lists]
  };
  struct alignas(64) Lock {
    std::mutex mutex;
  };

  Bytes PackParams() {
    Bytes out(static_cast<size_t>(PackedBound(params_.size())));
    int64_t used = 0;
    for (size_t b = 0; b < dense_locks_.size(); ++b) {
      const Range block = DenseBlock(static_cast<int64_t>(b));
      std::lock_guard lock(dense_locks_[b].mutex);
      used += PackFloats(model_.params + params_.begin + block.begin, block.size(), out.data() + used);
    }
    out.Truncate(static_cast<size_t>(used));
    return out;
  }

  static std::vector<embedding::RowInit> InitsOf(const ServedModel<T>& model) {
    std::vector<embedding::RowInit> inits;
    for (const auto* table : model.tables) inits.push_back(table->init());
    return inits;
  }
  Bytes RoomForRows(int64_t scalars, const KeyList& keys, RowForm form) const {
    const int64_t marks = form.initial_rows != 0 ? InitialRows<T>::MarkBytes(order_.Rows(keys)) : 0;
    return Bytes(static_cast<size_t>(WireBytes(scalars, form.bf16, sizeof(T)) + marks));
  }
  // Leaves out of a message the rows that the client can make itself: none, where it would make others.
  void LeaveOutInitial(const KeyList& keys, RowForm form, Bytes* message) const {
    if (form.initial_rows == 0) return;
    if (form.initial_rows == initial_fingerprint_) return initial_.LeaveOut(order_, keys, form.bf16, message);
    const auto marks = static_cast<size_t>(InitialRows<T>::MarkBytes(order_.Rows(keys)));
    std::fill_n(message->data() + message->size() - marks, marks, std::byte{0});
  }

  int64_t Dim(int table) const { return model_.layout.tables[static_cast<size_t>(table)].dim; }
  static std::span<const Key> KeysOf(const KeyList& keys, const TableRun& run) {
    return {keys.keys.data() + run.keys.begin, static_cast<size_t>(run.keys.size())};
  }
  Range DenseBlock(int64_t b) const { return {b * kDenseBlock, std::min(params_.size(), (b + 1) * kDenseBlock)}; }
  void UpdateDense(const optim::Rule& rule, int64_t step, size_t b, Range block, const T* gradients) {
    const int64_t begin = params_.begin + block.begin;
    std::lock_guard lock(dense_locks_[b].mutex);
    T* const slots = model_.slots != nullptr ? model_.slots + begin : nullptr;  // none: the optimizer has no state
    optim::UpdateSpan(rule, step, model_.params + begin, gradients, slots, model_.layout.params, 0, block.size());
  }
  std::vector<optim::Rule> RulesOf(int64_t step) const {
    std::vector<optim::Rule> rules;
    for (int t = 0; t < static_cast<int>(model_.tables.size()); ++t) rules.push_back(model_.table_rule(t, step));
    return rules;
  }

  // The runs of every table, their rows resolved.
  void Find(Resolved* batch, ResolveMode mode, int64_t step, ThreadPool* pool) {
    batch->step = step;
    batch->runs.resize(model_.tables.size());
    int64_t offset = 0;
    for (size_t t = 0; t < model_.tables.size(); ++t) {
      auto& runs = batch->runs[t];
      for (const auto& block : batch->keys.blocks) {
        if (!order_.Serves(t, block.vocabulary)) continue;
        if (runs.empty() || runs.back().keys.end != block.keys.begin) {
          runs.emplace_back();
          runs.back().keys = {block.keys.begin, block.keys.begin};
        }
        TableRun& run = runs.back();
        run.keys.end = block.keys.end;
        run.blocks.push_back({static_cast<int32_t>(block.keys.begin - run.keys.begin),
                              static_cast<int32_t>(block.keys.end - run.keys.begin),
                              model_.layout.salts[static_cast<size_t>(block.vocabulary)]});
      }
      for (size_t r = 0; r < runs.size(); ++r) {
        TableRun& run = runs[r];
        run.offset = offset;
        offset += run.keys.size() * Dim(static_cast<int>(t));
        const std::span<const int32_t> counts{batch->keys.counts.data() + run.keys.begin,
                                              static_cast<size_t>(run.keys.size())};
        try {
          model_.tables[t]->Resolve(KeysOf(batch->keys, run), counts, run.blocks, mode, step, pool, &run.rows);
        } catch (...) {  // memory: what was pinned before is let go of
          for (size_t u = 0; u <= t; ++u)
            for (size_t q = 0; q < (u == t ? r : batch->runs[u].size()); ++q)
              model_.tables[u]->Release(batch->runs[u][q].rows);
          throw;
        }
      }
    }
    batch->scalars = offset;
  }

  // Runs of keys of one lock group, sorted by group. Lists whose keys are sorted by group within a block have few.
  std::vector<GroupRange> GroupRanges(const KeyList& list) const {
    std::vector<GroupRange> ranges;
    if (model_.shares_rows) return {{0, {0, list.size()}}};
    for (const auto& block : list.blocks) {
      for (int64_t i = block.keys.begin; i < block.keys.end; ++i) {
        const int group = GroupOf(list.keys[static_cast<size_t>(i)]);
        if (!ranges.empty() && ranges.back().group == group && ranges.back().keys.end == i)
          ++ranges.back().keys.end;
        else
          ranges.push_back({group, {i, i + 1}});
      }
    }
    std::stable_sort(ranges.begin(), ranges.end(), [](const auto& a, const auto& b) { return a.group < b.group; });
    return ranges;
  }

  // body(table, run, keys relative to the run), under the lock of the keys' group.
  template <class Body>
  void ForEachGroup(const Resolved& batch, const Body& body) {
    for (size_t t = 0; t < batch.runs.size(); ++t) {
      const auto& runs = batch.runs[t];
      if (runs.empty()) continue;
      for (size_t g = 0; g < batch.groups.size();) {
        const int group = batch.groups[g].group;
        std::lock_guard lock(row_locks_[t][static_cast<size_t>(group)].mutex);
        for (; g < batch.groups.size() && batch.groups[g].group == group; ++g) {
          const Range keys = batch.groups[g].keys;
          for (const TableRun& run : runs) {
            const Range both{std::max(keys.begin, run.keys.begin), std::min(keys.end, run.keys.end)};
            if (!both.empty())
              body(static_cast<int>(t), run, Range{both.begin - run.keys.begin, both.end - run.keys.begin});
          }
        }
      }
    }
  }
  // body(table, run, keys relative to the run) on the pool. REQUIRES: nothing else reads or writes these rows.
  template <class Body>
  void ForEachTask(const Resolved& batch, ThreadPool* pool, const Body& body) {
    struct Task {
      int table;
      const TableRun* run;
      Range keys;
    };
    std::vector<Task> tasks;
    for (size_t t = 0; t < batch.runs.size(); ++t)
      for (const TableRun& run : batch.runs[t])
        for (int64_t begin = 0; begin < run.keys.size(); begin += kRowsPerTask)
          tasks.push_back({static_cast<int>(t), &run, {begin, std::min(run.keys.size(), begin + kRowsPerTask)}});
    pool->ForEach(static_cast<int64_t>(tasks.size()), [&](int64_t i, int) {
      const Task& task = tasks[static_cast<size_t>(i)];
      body(task.table, *task.run, task.keys);
    });
  }

  void GatherRange(int table, const KeyList& list, const TableRun& run, Range keys, bool bf16, int64_t offset,
                   std::byte* out) {
    const auto& from = *model_.tables[static_cast<size_t>(table)];
    if (!bf16) {
      // Gather writes where the run's keys lie; the message is aligned and in the tables' own numbers.
      from.Gather(run.rows, KeysOf(list, run), run.blocks, keys, reinterpret_cast<T*>(out) + run.offset);
      return;
    }
    const int64_t dim = Dim(table), scalars = keys.size() * dim;
    thread_local AlignedBuffer<T> scratch;
    scratch.Resize(scalars);
    from.Gather(run.rows, KeysOf(list, run), run.blocks, keys, scratch.data() - keys.begin * dim);
    EncodeNumbers(scratch.data(), scalars, true, out + offset * 2);
  }

  void ApplyDefaults(const Resolved& batch, const T* gradients, const std::vector<optim::Rule>& rules) {
    for (size_t t = 0; t < batch.runs.size(); ++t) {
      for (const TableRun& run : batch.runs[t]) {
        if (run.rows.defaults.empty()) continue;
        std::lock_guard lock(row_locks_[t][0].mutex);
        model_.tables[t]->ApplyDefaults(run.rows, KeysOf(batch.keys, run), run.blocks, gradients + run.offset,
                                        rules[t]);
      }
    }
  }

  void Merge(const std::vector<const KeyList*>& lists, KeyList* merged, std::vector<Places>* places) {
    for (size_t l = 0; l < lists.size(); ++l) (*places)[l].index.resize(lists[l]->keys.size());
    std::unordered_map<Key, int32_t> seen;
    for (int v = 0; v < static_cast<int>(model_.layout.salts.size()); ++v) {
      seen.clear();
      const int64_t begin = merged->size();
      for (size_t l = 0; l < lists.size(); ++l) {
        for (const auto& block : lists[l]->blocks) {
          if (block.vocabulary != v) continue;
          for (int64_t i = block.keys.begin; i < block.keys.end; ++i) {
            const auto at = static_cast<size_t>(i);
            const auto [found, is_new] = seen.try_emplace(lists[l]->keys[at], static_cast<int32_t>(merged->size()));
            (*places)[l].index[at] = found->second;
            if (is_new) {
              merged->keys.push_back(found->first);
              merged->counts.push_back(lists[l]->counts[at]);
            } else {
              int32_t& count = merged->counts[static_cast<size_t>(found->second)];
              count = static_cast<int32_t>(std::min<int64_t>(int64_t{count} + lists[l]->counts[at], INT32_MAX));
            }
          }
        }
      }
      if (merged->size() > begin) merged->blocks.push_back({v, {begin, merged->size()}});
    }
    for (size_t l = 0; l < lists.size(); ++l) {
      (*places)[l].keys = *lists[l];
      PlaceList(*lists[l], &(*places)[l]);
    }
  }
  void PlaceList(const KeyList& list, Places* places) {
    places->runs.resize(model_.tables.size());
    for (size_t t = 0; t < model_.tables.size(); ++t) {
      auto& run = places->runs[t].emplace_back();
      run.offset = places->scalars;
      for (const auto& block : list.blocks) {
        if (!order_.Serves(t, block.vocabulary)) continue;
        for (int64_t i = block.keys.begin; i < block.keys.end; ++i)
          run.keys.push_back({places->index[static_cast<size_t>(i)], static_cast<int32_t>(run.keys.size())});
      }
      places->scalars += static_cast<int64_t>(run.keys.size()) * Dim(static_cast<int>(t));
    }
  }
  // body(table, first scalar in the union's numbers, first scalar in the list's) for every row of the list.
  template <class Body>
  void ForEachPlace(const Resolved& batch, const Places& places, const Body& body) const {
    for (size_t t = 0; t < places.runs.size(); ++t) {
      const int64_t dim = Dim(static_cast<int>(t));
      size_t r = 0;
      const auto& runs = batch.runs[t];
      for (const auto& place : places.runs[t][0].keys) {
        if (!(place.in_union >= runs[r].keys.begin && place.in_union < runs[r].keys.end))
          for (r = 0; !(place.in_union >= runs[r].keys.begin && place.in_union < runs[r].keys.end);) ++r;
        body(static_cast<int>(t), runs[r].offset + (place.in_union - runs[r].keys.begin) * dim,
             places.runs[t][0].offset + place.in_list * dim);
      }
    }
  }

  ServedModel<T> model_;
  const Range params_, buffers_;
  const RowOrder order_;
  const InitialRows<T> initial_;
  const uint64_t initial_fingerprint_;
  std::vector<std::array<Lock, kGroups>> row_locks_;
  std::shared_mutex all_rows_;  // before row_locks_; shared by those who hold one of them
  std::vector<Lock> dense_locks_;
  std::mutex buffers_mutex_;
};

}  // namespace

template <class T>
std::unique_ptr<Backend> MakeBackend(ServedModel<T> model) {
  return std::make_unique<BackendOf<T>>(std::move(model));
}
template std::unique_ptr<Backend> MakeBackend(ServedModel<float>);
template std::unique_ptr<Backend> MakeBackend(ServedModel<double>);

}  // namespace sluice::service
