#include "train/embedding_collection.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "nn/block_builder.h"
#include "nn/registry.h"

namespace sluice::train {

Result<std::unique_ptr<EmbeddingCollection>> EmbeddingCollection::Make(const data::Schema& schema,
                                                                       const EmbeddingCollectionOptions& options) {
  std::unique_ptr<EmbeddingCollection> collection(new EmbeddingCollection(options.threads));
  const nn::BlockConfig block =
      nn::MakeBlock("embedding", "embedding", {}, {{"dim", options.dim}, {"pooling", options.pooling}});
  nn::TableNeed need;
  nn::ParamRegistry params;
  nn::BuildContext context;
  context.schema = &schema;
  context.name = block.name;
  context.params = &params;
  context.request_columns = [&need](const std::string& table, const std::vector<int>& fields, int64_t columns,
                                    const std::string&, nn::ColumnStart) -> Result<int64_t> {
    need.name = table;
    need.fields = fields;
    need.dim = columns;
    return int64_t{0};
  };
  SLUICE_ASSIGN_OR_RETURN(collection->op_, nn::FindBlockType("embedding")->make_sparse_f32(*block.options, context));
  SLUICE_ASSIGN_OR_RETURN(collection->tables_,
                          TableSet<float>::Make(
                              schema, {need}, [&](const std::string&) { return options.table; }, options.seed));
  return collection;
}

Status EmbeddingCollection::Read(const data::Batch& batch, embedding::ResolveMode mode, std::span<float> pooled) {
  if (static_cast<int64_t>(pooled.size()) != batch.size * width())
    return InvalidArgument("pooled holds {} numbers, {} samples of width {} need {}", pooled.size(), batch.size, width(),
                           batch.size * width());
  tables_->ids().Build(batch, &pool_, &set_.ids);
  const bool train = mode == embedding::ResolveMode::kTrain;
  if (train && tables_->expires() && step_ > 0) tables_->Expire(step_);
  if (train) ++step_;
  tables_->Resolve(&set_, mode, std::max<int64_t>(1, step_), &pool_);
  tables_->Gather(set_, pool_, &buffers_);
  partial_.Resize(batch.size * op_->partial_width());
  const nn::Matrix<float> partial{partial_.data(), batch.size, op_->partial_width(), op_->partial_width()};
  const nn::Matrix<float> out{pooled.data(), batch.size, width(), width()};
  pool_.ForParts(batch.size, [&](Range samples, int) {
    op_->Partial(batch, buffers_.views[0], samples, partial.Rows(samples));
    if (op_->FinishIsIdentity()) {
      std::memcpy(out.row(samples.begin), partial.row(samples.begin),
                  static_cast<size_t>(samples.size() * width()) * sizeof(float));
    } else {
      op_->Finish(samples, partial.Rows(samples), out.Rows(samples));
    }
  });
  return Status::Ok();
}

Status EmbeddingCollection::Forward(const data::Batch& batch, std::span<float> pooled) {
  try {
    if (batch_ != nullptr) tables_->Release(set_);
    batch_ = nullptr;
    SLUICE_RETURN_IF_ERROR(Read(batch, embedding::ResolveMode::kTrain, pooled));
    batch_ = &batch;
    return Status::Ok();
  } catch (const StatusError& error) {
    return error.status();
  }
}

Status EmbeddingCollection::Lookup(const data::Batch& batch, std::span<float> pooled) {
  if (batch_ != nullptr) return InvalidArgument("Lookup between Forward and Backward");
  try {
    const Status status = Read(batch, embedding::ResolveMode::kLookup, pooled);
    if (status.ok()) tables_->Release(set_);
    return status;
  } catch (const StatusError& error) {
    return error.status();
  }
}

Status EmbeddingCollection::Backward(std::span<const float> pooled_grad) {
  if (batch_ == nullptr) return InvalidArgument("Backward without Forward");
  const data::Batch& batch = *batch_;
  if (static_cast<int64_t>(pooled_grad.size()) != batch.size * width())
    return InvalidArgument("pooled_grad holds {} numbers, {} samples of width {} need {}", pooled_grad.size(), batch.size,
                           width(), batch.size * width());
  const int64_t partial_width = op_->partial_width();
  partial_grad_.Resize(batch.size * partial_width);
  const nn::Matrix<float> partial{partial_.data(), batch.size, partial_width, partial_width};
  const nn::Matrix<float> partial_grad{partial_grad_.data(), batch.size, partial_width, partial_width};
  const nn::Matrix<const float> out_grad{pooled_grad.data(), batch.size, width(), width()};
  try {
    pool_.ForParts(batch.size, [&](Range samples, int) {
      op_->FinishBackward(samples, partial.Rows(samples), out_grad.Rows(samples), partial_grad.Rows(samples));
    });
    tables_->BeginStep(step_);
    tables_->MakeUpdateTasks(set_, pool_.num_threads(), &tasks_);
    pool_.ForEach(static_cast<int64_t>(tasks_.size()), [&](int64_t t, int) {
      const RowTask& task = tasks_[static_cast<size_t>(t)];
      const int64_t first = set_.tables[0][static_cast<size_t>(task.run)].begin;
      const Range rows{first + task.rows.begin, first + task.rows.end};
      const int64_t dim = tables_->need(0).dim;
      float* grads = buffers_.grads[0].data();
      std::memset(grads + rows.begin * dim, 0, static_cast<size_t>(rows.size() * dim) * sizeof(float));
      for (int field : op_->fields()) {
        const Range reach = buffers_.views[0].row_range[static_cast<size_t>(field)];
        if (reach.end <= rows.begin || rows.end <= reach.begin) continue;
        op_->AddRowGradients(batch, buffers_.views[0], field, rows, partial, partial_grad, grads);
      }
      tables_->Apply(set_, task, buffers_);
    });
    tables_->ApplyDefaults(set_, buffers_);
    tables_->Release(set_);
    batch_ = nullptr;
    return Status::Ok();
  } catch (const StatusError& error) {
    return error.status();
  }
}

}  // namespace sluice::train
