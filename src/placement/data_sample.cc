#include "placement/data_sample.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "placement/batch_parts.h"
#include "placement/ownership.h"

namespace sluice::placement {
namespace {

double VarintBytes(uint64_t value) {
  double bytes = 1;
  for (; value >= 0x80; value >>= 7) ++bytes;
  return bytes;
}

}  // namespace

DataSample::DataSample(const data::Schema& schema, int num_ranks, std::vector<uint8_t> whole_bags)
    : schema_(schema),
      num_ranks_(num_ranks),
      whole_bags_(std::move(whole_bags)),
      builder_(schema),
      sums_(static_cast<size_t>(builder_.num_vocabularies())),
      distinct_(sums_.size()) {
  for (size_t v = 0; v < sums_.size(); ++v) {
    for (const int field : builder_.fields_of_vocabulary(static_cast<int>(v)))
      sums_[v].fields.push_back(schema_.fields[static_cast<size_t>(field)].name);
    sums_[v].home_key_bytes.assign(static_cast<size_t>(num_ranks_), 0.0);
  }
}

// What KeyExchange sends (its header states the format).
void DataSample::CountKeyBytes(const data::Batch& batch, int vocabulary, VocabularyCost* sums) const {
  std::vector<int64_t> counts(static_cast<size_t>(num_ranks_));
  for (const int field : builder_.fields_of_vocabulary(vocabulary)) {
    const data::FieldColumn& column = batch.fields[static_cast<size_t>(field)];
    const bool one_hot = schema_.fields[static_cast<size_t>(field)].one_hot;
    const bool whole_bags = !one_hot && whole_bags_[static_cast<size_t>(field)] != 0;
    const double weight_bytes = column.weights.empty() ? 0 : sizeof(float);
    const double key_bytes = sizeof(Key) + weight_bytes;
    for (int r = 0; r < num_ranks_; ++r) {
      const Range samples = SamplesOfRank(batch.size, r, num_ranks_);
      // A flag says whether weights follow; a field of one key has a bit per sample, others a count.
      const double flag = num_ranks_ - 1;
      double remote = flag, to_home = 0, head = 1;
      if (one_hot) {
        head = std::ceil(static_cast<double>(samples.size()) / 8);
        remote += (num_ranks_ - 1) * head;
      }
      for (int64_t i = samples.begin; i < samples.end; ++i) {
        std::fill(counts.begin(), counts.end(), 0);
        for (int64_t j = column.begin(i); j < column.end(i); ++j)
          ++counts[static_cast<size_t>(RankOfKey(column.keys[static_cast<size_t>(j)], num_ranks_))];
        const int64_t all = column.end(i) - column.begin(i);
        remote += static_cast<double>(all - counts[static_cast<size_t>(r)]) * key_bytes;
        to_home += static_cast<double>(all) * key_bytes;
        if (one_hot) continue;
        for (int to = 0; to < num_ranks_; ++to) {
          const int64_t count = counts[static_cast<size_t>(to)];
          if (to == r) continue;
          remote += VarintBytes(static_cast<uint64_t>(count));
          // Of a whole bag the number of the others' keys, and their weights.
          if (whole_bags && count > 0)
            remote += VarintBytes(static_cast<uint64_t>(all - count)) + static_cast<double>(all - count) * weight_bytes;
        }
        to_home += VarintBytes(static_cast<uint64_t>(all));  // all of the bag
      }
      sums->remote_key_bytes += remote;
      // Ranks other than the home get a head without keys.
      const double empty_head = one_hot ? head : static_cast<double>(samples.size());
      if (one_hot) to_home += head;
      for (int home = 0; home < num_ranks_; ++home)
        sums->home_key_bytes[static_cast<size_t>(home)] +=
            flag + (home == r ? (num_ranks_ - 1) * empty_head : to_home + (num_ranks_ - 2) * empty_head);
    }
  }
}

void DataSample::Add(const data::Batch& batch) {
  embedding::VirtualIds ids;
  builder_.Build(batch, nullptr, &ids);
  std::vector<double> owned(static_cast<size_t>(num_ranks_));
  for (size_t v = 0; v < sums_.size(); ++v) {
    VocabularyCost& sums = sums_[v];
    for (const int field : builder_.fields_of_vocabulary(static_cast<int>(v)))
      sums.keys += static_cast<double>(batch.fields[static_cast<size_t>(field)].nnz());
    std::fill(owned.begin(), owned.end(), 0.0);
    for (int32_t i = ids.block_begin[v]; i < ids.block_begin[v + 1]; ++i) {
      const Key key = ids.unique[static_cast<size_t>(i)];
      ++owned[static_cast<size_t>(RankOfKey(key, num_ranks_))];
      distinct_[v].keys.insert(key);
    }
    const double unique = ids.block_begin[v + 1] - ids.block_begin[v];
    sums.unique += unique;
    if (unique > 0) sums.largest_owned_share += *std::max_element(owned.begin(), owned.end()) / unique;
    distinct_[v].after.push_back(static_cast<int64_t>(distinct_[v].keys.size()));
    CountKeyBytes(batch, static_cast<int>(v), &sums);
  }
  data::Batch part;
  for (int r = 0; r < num_ranks_; ++r) {
    SliceBatch(batch, schema_, SamplesOfRank(batch.size, r, num_ranks_), true, &part);
    builder_.Build(part, nullptr, &ids);
    for (size_t v = 0; v < sums_.size(); ++v) {
      sums_[v].unique_of_ranks += ids.block_begin[v + 1] - ids.block_begin[v];
      for (int32_t i = ids.block_begin[v]; i < ids.block_begin[v + 1]; ++i)
        sums_[v].remote_unique += RankOfKey(ids.unique[static_cast<size_t>(i)], num_ranks_) != r;
    }
  }
  ++batches_;
  samples_ += batch.size;
}

std::vector<VocabularyCost> DataSample::Vocabularies(int64_t total_samples) const {
  std::vector<VocabularyCost> all = sums_;
  const double n = static_cast<double>(std::max<int64_t>(1, batches_));
  for (size_t v = 0; v < all.size(); ++v) {
    VocabularyCost& one = all[v];
    for (double* sum : {&one.keys, &one.unique, &one.unique_of_ranks, &one.remote_unique, &one.largest_owned_share,
                        &one.remote_key_bytes})
      *sum /= n;
    for (double& bytes : one.home_key_bytes) bytes /= n;
    const auto& after = distinct_[v].after;
    if (after.empty()) continue;
    one.rows = static_cast<double>(after.back());
    if (total_samples <= samples_ || after.size() < 2 || after.back() == 0) continue;
    const size_t half = after.size() / 2;
    const double growth =
        std::log(static_cast<double>(after.back()) / static_cast<double>(std::max<int64_t>(1, after[half - 1]))) /
        std::log(static_cast<double>(after.size()) / static_cast<double>(half));
    one.rows *=
        std::pow(static_cast<double>(total_samples) / static_cast<double>(samples_), std::clamp(growth, 0.0, 1.0));
  }
  return all;
}

}  // namespace sluice::placement
