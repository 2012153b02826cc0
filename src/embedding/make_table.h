#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "embedding/config.h"
#include "embedding/row_init.h"
#include "embedding/table.h"

namespace sluice::embedding {

// A table in this process's memory. Its rows are functions of (seed, name, key): tables of equal names and seeds start
// equal. Columns that `columns` does not cover are initialised as config.init says.
// Memory       address space for the machine's memory is reserved at once; memory is taken as rows come into being, so
//              the call is instant whatever the capacity.
// Errors       kInvalidArgument naming the table and the setting; kResourceExhausted where no address space is left.
template <class T>
Result<std::unique_ptr<Table<T>>> MakeTable(const std::string& name, int64_t dim, const TableConfig& config,
                                            uint64_t seed, std::vector<ColumnInit> columns = {});

}  // namespace sluice::embedding
