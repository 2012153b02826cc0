#pragma once

#include <cstdint>
#include <vector>

#include "base/chunks.h"
#include "data/batch.h"
#include "data/schema.h"

namespace sluice::placement {

// Samples [samples) of a batch; the columns of sparse fields only where `with_keys`, else they are left as they are.
void SliceBatch(const data::Batch& batch, const data::Schema& schema, Range samples, bool with_keys, data::Batch* out);
// The same with the keys of the fields whose flag is set; the others' samples hold none.
void SliceBatch(const data::Batch& batch, const data::Schema& schema, Range samples,
                const std::vector<uint8_t>& with_keys, data::Batch* out);

// Makes `column` one of `size` samples without keys.
void DropKeys(int64_t size, data::FieldColumn* column);

}  // namespace sluice::placement
