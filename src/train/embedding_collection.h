#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/status.h"
#include "base/thread_pool.h"
#include "data/batch.h"
#include "data/schema.h"
#include "embedding/config.h"
#include "nn/sparse_op.h"
#include "train/table_set.h"

namespace sluice::train {

struct EmbeddingCollectionOptions {
  int64_t dim = 16;
  std::string pooling = "sum";     // sum, mean, sqrtn or max
  embedding::TableConfig table;
  uint64_t seed = 1;
  int threads = 0;                 // 0: all usable processors
};

// The embedding half of a model, for networks written elsewhere: keys in, pooled embeddings out; gradients in, rows
// updated. Without globals: several may live side by side.
// Shapes       pooled, pooled_grad [batch size, width()], row-major: field after field, dim columns each.
// Semantics    each Forward is one step: keys are made unique, missing rows made as the table admits them. Backward ends
//              the step with one optimizer step per unique row. A batch given to Forward must stay as it is until
//              Backward. Lookup changes nothing.
// Threads      one call at a time; works on a pool of its own.
// Errors       kInvalidArgument for spans of another size and for Backward without Forward; those of embedding::Table.
class EmbeddingCollection {
 public:
  static Result<std::unique_ptr<EmbeddingCollection>> Make(const data::Schema& schema,
                                                           const EmbeddingCollectionOptions& options);

  int64_t width() const { return op_->output_width(); }
  Status Forward(const data::Batch& batch, std::span<float> pooled);
  Status Backward(std::span<const float> pooled_grad);
  Status Lookup(const data::Batch& batch, std::span<float> pooled);

  // For checkpoints (Save, Load), statistics and export.
  embedding::Table<float>& table() { return tables_->table(0); }

 private:
  explicit EmbeddingCollection(int threads) : pool_(threads) {}
  Status Read(const data::Batch& batch, embedding::ResolveMode mode, std::span<float> pooled);

  ThreadPool pool_;
  std::unique_ptr<nn::SparseOp<float>> op_;
  std::unique_ptr<TableSet<float>> tables_;
  WorkingSet set_;
  RowBuffers<float> buffers_;
  AlignedBuffer<float> partial_, partial_grad_;
  std::vector<RowTask> tasks_;
  const data::Batch* batch_ = nullptr;   // between Forward and Backward
  int64_t step_ = 0;
};

}  // namespace sluice::train
