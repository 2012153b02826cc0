#include "embedding/virtual_ids.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <string>
#include <unordered_map>

#include "base/status.h"

namespace sluice::embedding {
namespace {

constexpr int kMinSlotBits = 6;
constexpr int64_t kPrefetchFrom = 1 << 16;  // slots; smaller tables stay in the second-level cache
constexpr int64_t kAhead = 16;

// Multiplicative hash; the upper bits of a product depend on all lower ones, the fold brings the upper ones in.
inline uint64_t SlotOf(Key key, int shift) { return ((key ^ key >> 32) * 0x9e3779b97f4a7c15ULL) >> shift; }

}  // namespace

VirtualIdBuilder::VirtualIdBuilder(const data::Schema& schema) {
  std::unordered_map<std::string, int> number;
  for (const data::SparseField& field : schema.fields) {
    const int next = static_cast<int>(fields_of_vocabulary_.size());
    const int v = number.try_emplace(field.vocabulary, next).first->second;
    if (v == next) fields_of_vocabulary_.emplace_back();
    fields_of_vocabulary_[static_cast<size_t>(v)].push_back(static_cast<int>(vocabulary_of_field_.size()));
    vocabulary_of_field_.push_back(v);
  }
  scratch_.resize(fields_of_vocabulary_.size());
}

void VirtualIdBuilder::BuildVocabulary(const data::Batch& batch, int vocabulary, VirtualIds* ids) {
  Scratch& scratch = scratch_[static_cast<size_t>(vocabulary)];
  const std::vector<int>& fields = fields_of_vocabulary_[static_cast<size_t>(vocabulary)];
  int64_t occurrences = 0;
  for (const int f : fields) occurrences += batch.fields[static_cast<size_t>(f)].nnz();
  if (occurrences > INT32_MAX / 2)
    throw StatusError(ResourceExhausted("a batch holds {} keys of one vocabulary; use a smaller batch", occurrences));

  // At most a quarter full: nearly every key is settled by its first slot, without a branch that depends on data.
  const int bits = std::max(kMinSlotBits, static_cast<int>(std::bit_width(static_cast<uint64_t>(occurrences))) + 1);
  const int shift = 64 - bits;
  const uint64_t mask = (uint64_t{1} << bits) - 1;
  scratch.slots.assign(mask + 1, 0);
  // One place more: each occurrence writes its key to the next free place before it is known to be new.
  if (static_cast<int64_t>(scratch.unique.size()) <= occurrences) {
    scratch.unique.resize(static_cast<size_t>(occurrences) + 1);
    scratch.counts.resize(static_cast<size_t>(occurrences) + 1);
  }
  uint32_t* const slots = scratch.slots.data();
  Key* const unique = scratch.unique.data();
  int32_t* const counts = scratch.counts.data();
  const bool prefetch = static_cast<int64_t>(mask) >= kPrefetchFrom;
  uint32_t num_unique = 0;
  for (const int f : fields) {
    const data::FieldColumn& column = batch.fields[static_cast<size_t>(f)];
    const int64_t n = column.nnz();
    std::vector<int32_t>& inverse = ids->inverse[static_cast<size_t>(f)];
    inverse.resize(static_cast<size_t>(n));
    const Key* const keys = column.keys.data();
    int32_t* const out = inverse.data();
    for (int64_t i = 0; i < n; ++i) {
      if (prefetch && i + kAhead < n) __builtin_prefetch(slots + SlotOf(keys[i + kAhead], shift), 1);
      const Key key = keys[i];
      uint64_t at = SlotOf(key, shift);
      unique[num_unique] = key;
      counts[num_unique] = 0;
      while (true) {
        const uint32_t slot = slots[at];
        const uint32_t index = slot == 0 ? num_unique : slot - 1;
        if (unique[index] == key) [[likely]] {
          slots[at] = index + 1;
          ++counts[index];
          num_unique += slot == 0;
          out[i] = static_cast<int32_t>(index);
          break;
        }
        at = (at + 1) & mask;
      }
    }
  }
  scratch.num_unique = static_cast<int32_t>(num_unique);
}

void VirtualIdBuilder::Build(const data::Batch& batch, ThreadPool* pool, VirtualIds* ids) {
  const size_t num_fields = vocabulary_of_field_.size();
  SLUICE_CHECK(batch.fields.size() == num_fields, "a batch of {} fields for a schema of {}", batch.fields.size(),
               num_fields);
  ids->inverse.resize(num_fields);
  ids->whole.assign(num_fields, 1);
  const auto vocabularies = static_cast<int64_t>(num_vocabularies());
  const auto for_each = [&](const std::function<void(int64_t)>& body) {
    if (pool == nullptr || pool->num_threads() == 1)
      for (int64_t v = 0; v < vocabularies; ++v) body(v);
    else
      pool->ForEach(vocabularies, [&](int64_t v, int) { body(v); });
  };
  for_each([&](int64_t v) { BuildVocabulary(batch, static_cast<int>(v), ids); });

  ids->block_begin.resize(static_cast<size_t>(vocabularies) + 1);
  int64_t total = 0;
  for (size_t v = 0; v < scratch_.size(); ++v) {
    ids->block_begin[v] = static_cast<int32_t>(total);
    total += scratch_[v].num_unique;
    if (total > INT32_MAX) throw StatusError(ResourceExhausted("a batch holds 2^31 keys; use a smaller batch"));
  }
  ids->block_begin[scratch_.size()] = static_cast<int32_t>(total);
  ids->unique.resize(static_cast<size_t>(total));
  ids->counts.resize(static_cast<size_t>(total));
  for_each([&](int64_t v) {
    const Scratch& scratch = scratch_[static_cast<size_t>(v)];
    const int32_t begin = ids->block_begin[static_cast<size_t>(v)];
    std::copy_n(scratch.unique.begin(), scratch.num_unique, ids->unique.begin() + begin);
    std::copy_n(scratch.counts.begin(), scratch.num_unique, ids->counts.begin() + begin);
    if (begin == 0) return;
    for (const int f : fields_of_vocabulary_[static_cast<size_t>(v)])
      for (int32_t& index : ids->inverse[static_cast<size_t>(f)]) index += begin;
  });
}

}  // namespace sluice::embedding
