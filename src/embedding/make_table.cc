#include "embedding/make_table.h"

#include <utility>

#include "base/rng.h"
#include "embedding/hash_table.h"
#include "optim/config.h"

namespace sluice::embedding {
namespace {

Result<OnMissing> ParseOnMissing(const std::string& name) {
  if (name == "default") return OnMissing::kDefault;
  if (name == "init") return OnMissing::kInit;
  if (name == "zero") return OnMissing::kZero;
  return InvalidArgument("on_missing: '{}' is not one of default, init, zero", name);
}

template <class T>
Result<std::unique_ptr<Table<T>>> Make(const std::string& name, int64_t dim, const TableConfig& config, uint64_t seed,
                                       std::vector<ColumnInit> columns) {
  constexpr int64_t kMaxDim = 1 << 16;
  if (dim < 1 || dim > kMaxDim) return InvalidArgument("a row of {} columns is outside [1, {}]", dim, kMaxDim);
  if (config.expiry.max_age_steps < 0 || config.expiry.max_rows < 0)
    return InvalidArgument("expiry: max_age_steps and max_rows must not be negative");
  if (config.expiry.max_rows > 0 && config.expiry.max_rows < kNumShards)
    return InvalidArgument("expiry.max_rows: must be {} or more, one for each shard, or 0; not {}", kNumShards,
                           config.expiry.max_rows);
  typename HashTable<T>::Options options;
  options.name = name;
  options.dim = dim;
  options.seed = MixPair(seed, HashBytes(name));
  SLUICE_ASSIGN_OR_RETURN(options.rule, optim::MakeRule(config.optimizer));
  SLUICE_ASSIGN_OR_RETURN(options.on_missing, ParseOnMissing(config.on_missing));
  SLUICE_ASSIGN_OR_RETURN(options.admission, Admission::Make(config.admission));
  options.expiry = config.expiry;
  SLUICE_ASSIGN_OR_RETURN(RowInit init, RowInit::Make(config.init, dim, std::move(columns), options.seed));
  try {
    return std::unique_ptr<Table<T>>(std::make_unique<HashTable<T>>(std::move(options), std::move(init)));
  } catch (const StatusError& error) {
    return error.status();
  }
}

}  // namespace

template <class T>
Result<std::unique_ptr<Table<T>>> MakeTable(const std::string& name, int64_t dim, const TableConfig& config,
                                            uint64_t seed, std::vector<ColumnInit> columns) {
  auto table = Make<T>(name, dim, config, seed, std::move(columns));
  if (!table.ok()) return table.status().WithContext("tables." + name);
  return table;
}

template Result<std::unique_ptr<Table<float>>> MakeTable<float>(const std::string&, int64_t, const TableConfig&,
                                                                uint64_t, std::vector<ColumnInit>);
template Result<std::unique_ptr<Table<double>>> MakeTable<double>(const std::string&, int64_t, const TableConfig&,
                                                                  uint64_t, std::vector<ColumnInit>);

}  // namespace sluice::embedding
