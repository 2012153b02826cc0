#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"
#include "data/batch.h"
#include "data/schema.h"

namespace sluice::data {

// Column by column moves of samples between batches of one schema. None sets first_sample.

// Appends samples [begin, end) of `from`. `to` starts out cleared, or filled by these functions from the same kind of batch.
void AppendRows(const Batch& from, int64_t begin, int64_t end, Batch* to);

// Appends samples rows[0], rows[1], ... of `from`.
void GatherRows(const Batch& from, std::span<const uint32_t> rows, Batch* to);

// Takes out the samples whose flag is not 0. REQUIRES: remove.size() == batch->size.
void RemoveRows(const std::vector<uint8_t>& remove, Batch* batch);

// Clears `batch` and gives it the schema's number of fields.
void ResetBatch(const Schema& schema, Batch* batch);

}  // namespace sluice::data
