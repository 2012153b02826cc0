#include "data/sample_block.h"

#include <utility>

namespace sluice::data {

void SampleRefs::Append(const std::shared_ptr<SampleBlock>& block, int64_t begin, int64_t end) {
  if (begin >= end) return;
  if (blocks.empty() || blocks.back() != block) blocks.push_back(block);
  const uint32_t number = static_cast<uint32_t>(blocks.size() - 1);
  for (int64_t i = begin; i < end; ++i) refs.push_back({number, static_cast<uint32_t>(i)});
  size += end - begin;
}

void SampleRefs::Gather(const SampleRefs& from, std::span<const uint32_t> rows) {
  constexpr uint32_t kNone = ~uint32_t{0};
  std::vector<uint32_t> number(from.blocks.size(), kNone);  // here, of each block there
  for (const uint32_t row : rows) {
    const Ref ref = from.refs[row];
    if (number[ref.block] == kNone) {
      number[ref.block] = static_cast<uint32_t>(blocks.size());
      blocks.push_back(from.blocks[ref.block]);
    }
    refs.push_back({number[ref.block], ref.sample});
  }
  size += static_cast<int64_t>(rows.size());
}

void SampleRefs::Select(Range samples) {
  SampleRefs selected;
  std::vector<uint32_t> rows;
  for (int64_t i = samples.begin; i < samples.end; ++i) rows.push_back(static_cast<uint32_t>(i));
  selected.Gather(*this, rows);
  selected.first_sample = first_sample + samples.begin;
  selected.epoch = epoch;
  *this = std::move(selected);
}

}  // namespace sluice::data
