#include "embedding/row_init.h"

#include <algorithm>
#include <bit>

#include "base/rng.h"
#include "embedding/row_init_kernels.h"

namespace sluice::embedding {

Result<InitKind> ParseInitKind(const std::string& name) {
  if (name == "normal") return InitKind::kNormal;
  if (name == "uniform") return InitKind::kUniform;
  if (name == "zero") return InitKind::kZero;
  return InvalidArgument("init.kind: '{}' is not one of normal, uniform, zero", name);
}

Result<RowInit> RowInit::Make(const InitConfig& config, int64_t dim, std::vector<ColumnInit> columns, uint64_t seed) {
  SLUICE_ASSIGN_OR_RETURN(const InitKind kind, ParseInitKind(config.kind));
  std::sort(columns.begin(), columns.end(), [](const auto& a, const auto& b) { return a.begin < b.begin; });
  RowInit init;
  init.seed_ = seed;
  int64_t covered = 0;
  for (const ColumnInit& range : columns) {
    if (range.begin >= range.end || range.begin < covered || range.end > dim)
      return InvalidArgument("initial weights of columns [{}, {}) of a row of {}: the range is empty, outside the row or "
                             "overlaps another", range.begin, range.end, dim);
    if (range.begin > covered) init.columns_.push_back({covered, range.begin, kind, config.scale});
    init.columns_.push_back(range);
    covered = range.end;
  }
  if (covered < dim) init.columns_.push_back({covered, dim, kind, config.scale});
  return init;
}

template <class T>
void RowInit::Fill(Key key, T* weights) const {
  const uint64_t stream = MixPair(seed_, key);
  for (const ColumnInit& range : columns_) {
    switch (range.kind) {
      case InitKind::kZero:
        std::fill(weights + range.begin, weights + range.end, T(0));
        break;
      case InitKind::kUniform:
        SLUICE_DISPATCH(FillUniformKernel<T>)(stream, range.begin, range.end, range.scale, weights);
        break;
      case InitKind::kNormal:
        SLUICE_DISPATCH(FillNormalKernel<T>)(stream, range.begin, range.end, range.scale, weights);
        break;
    }
  }
}

uint64_t RowInit::Fingerprint() const {
  uint64_t hash = MixPair(seed_, columns_.size());
  for (const ColumnInit& range : columns_) {
    hash = MixPair(hash, MixPair(static_cast<uint64_t>(range.begin), static_cast<uint64_t>(range.end)));
    hash = MixPair(hash, MixPair(static_cast<uint64_t>(range.kind), std::bit_cast<uint64_t>(range.scale)));
  }
  return hash;
}

template void RowInit::Fill<float>(Key, float*) const;
template void RowInit::Fill<double>(Key, double*) const;

}  // namespace sluice::embedding
