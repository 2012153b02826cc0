#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "metric/records.h"

namespace sluice::metric {

// Stable least-significant-digit radix sort. Digits that are the same in all records cost nothing but their count.
// Memory       scratch of the same size, freed on return.
template <class Record>
void RadixSort(std::vector<Record>& records) {
  constexpr int kDigits = Record::kDigits;
  constexpr size_t kBuckets = kDigitMask + 1;
  auto counts = std::make_unique<std::array<std::array<size_t, kBuckets>, kDigits>>();
  for (const Record& record : records)
    for (int d = 0; d < kDigits; ++d) ++(*counts)[d][record.Digit(d)];

  std::vector<Record> scratch;
  for (int d = 0; d < kDigits; ++d) {
    auto& count = (*counts)[d];
    if (records.empty() || count[records[0].Digit(d)] == records.size()) continue;
    size_t begin = 0;
    for (size_t& c : count) begin += std::exchange(c, begin);
    scratch.resize(records.size());
    for (const Record& record : records) scratch[count[record.Digit(d)]++] = record;
    records.swap(scratch);
  }
}

}  // namespace sluice::metric
