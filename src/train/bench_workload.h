#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/batch.h"
#include "data/schema.h"
#include "data/source.h"
#include "train/config.h"

namespace sluice::train {

// Samples made in memory for `sluice bench`: numeric features I1.., sparse fields C1.. with power-law keys, labels drawn
// from a planted linear teacher. A function of (config.bench, seed) alone.
class BenchWorkload {
 public:
  BenchWorkload(const BenchConfig& config, int64_t batch_size, uint64_t seed);

  const data::Schema& schema() const { return schema_; }
  const std::vector<data::Batch>& batches() const { return batches_; }

  // Key of index `index` in field `field`.
  Key KeyOf(int field, int64_t index) const { return IntegerKey(static_cast<uint64_t>(index), schema_.fields[field].salt); }

 private:
  void FillField(int field, int64_t first_sample, int64_t size, data::FieldColumn* column, std::vector<double>* logits) const;

  BenchConfig config_;
  uint64_t seed_;
  data::Schema schema_;
  std::vector<data::Batch> batches_;
};

// The batches over and over, without end.
class CyclingSource : public data::BatchSource {
 public:
  explicit CyclingSource(const BenchWorkload* workload) : workload_(workload) {}

  const data::Schema& schema() const override { return workload_->schema(); }
  Result<bool> Next(data::Batch* batch) override;
  std::string position() const override { return {}; }
  Status Seek(const std::string&) override { return InvalidArgument("batches in memory have no positions"); }
  data::SourceStats stats() const override { return stats_; }

 private:
  const BenchWorkload* workload_;
  size_t next_ = 0;
  data::SourceStats stats_;
};

}  // namespace sluice::train
