#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/status.h"
#include "base/thread_pool.h"
#include "data/schema.h"
#include "embedding/config.h"
#include "embedding/table.h"
#include "embedding/virtual_ids.h"
#include "nn/net.h"
#include "nn/sparse_op.h"
#include "optim/schedule.h"
#include "train/working_set.h"

namespace sluice::train {

// Rows of one batch as the worker sees them, and room for their gradients.
// Shapes       rows[t], grads[t] [U, dim of table t], U unique keys of the batch over all vocabularies; only the rows
//              of vocabularies that table t serves are filled.
template <class T>
struct RowBuffers {
  std::vector<AlignedBuffer<T>> rows, grads;
  std::vector<nn::RowsView<T>> views;
};

// Rows of a task of several ranks' gradients: enough that handing them out costs little.
inline constexpr int64_t kTaskRows = 4096;

// A piece of row work that one thread does at a time: rows [begin, end) of ids.unique in one run of one table.
struct RowTask {
  int table = 0;
  int run = 0;
  Range rows;  // relative to the run's begin
};

// The tables of a model and the path of a batch's keys through them. The embedding half of training: knows nothing of
// the dense net beyond which table serves which fields.
// Semantics    a vocabulary is inserted whole into every table that serves one of its fields.
// Threads      Resolve and Expire (one thread) may overlap with Gather, Apply and Release of earlier batches.
template <class T>
class TableSet {
 public:
  using Settings = std::function<embedding::TableConfig(const std::string& table)>;

  // Errors: kInvalidArgument naming the table and the setting.
  static Result<std::unique_ptr<TableSet>> Make(const data::Schema& schema, std::vector<nn::TableNeed> needs,
                                                const Settings& settings, uint64_t seed);

  int size() const { return static_cast<int>(tables_.size()); }
  const nn::TableNeed& need(int t) const { return needs_[t]; }
  embedding::Table<T>& table(int t) { return *tables_[t]; }
  const embedding::Table<T>& table(int t) const { return *tables_[t]; }
  optim::Schedule& schedule(int t) { return schedules_[t]; }
  const optim::Rule& rule(int t) const { return rules_[t]; }
  bool HasPlateau() const { return has_plateau_; }  // whether a table's schedule heeds evaluations
  int FindTable(const std::string& name) const;     // -1 where there is none
  embedding::VirtualIdBuilder& ids() { return ids_; }

  // Which unique keys of the batch each table serves, and whose vocabularies they are; part of Resolve.
  void SetRuns(WorkingSet* set) const;
  // Stage 2, after ids().Build: finds or makes the rows of every table and pins them.
  void Resolve(WorkingSet* set, embedding::ResolveMode mode, int64_t step, ThreadPool* pool) const;

  // Room for the rows of `ids` in buffers, and the views of them.
  void PrepareBuffers(const embedding::VirtualIds& ids, RowBuffers<T>* buffers) const;
  // Stage 3. Gather fills buffers->rows and views.
  void Gather(const WorkingSet& set, ThreadPool& pool, RowBuffers<T>* buffers) const;
  // The row work of a batch, cut so that `threads` threads share it; whole vocabularies where there are enough of them.
  void MakeUpdateTasks(const WorkingSet& set, int threads, std::vector<RowTask>* tasks) const;
  // One optimizer step for the rows of a task, whose gradients stand in buffers. Rules are those of BeginStep.
  void Apply(const WorkingSet& set, const RowTask& task, const RowBuffers<T>& buffers);
  // The default rows of all tables; after every task of the batch.
  void ApplyDefaults(const WorkingSet& set, const RowBuffers<T>& buffers);
  // Learning rates of the step.
  void BeginStep(int64_t step);
  void Release(const WorkingSet& set);

  // Removes rows by age and capacity; called between the Resolve of `step` and that of the next.
  void Expire(int64_t step);
  bool expires() const { return expires_; }

  // Where in `set` a row of a table lies, for messages: the first field with an occurrence of it, and its key.
  std::string DescribeRow(const WorkingSet& set, const data::Schema& schema, int32_t unique_index) const;

 private:
  struct Run {
    int vocabulary_begin = 0, vocabulary_end = 0;
  };

  explicit TableSet(const data::Schema& schema) : ids_(schema) {}

  embedding::VirtualIdBuilder ids_;
  std::vector<uint64_t> salts_;  // of each vocabulary
  std::vector<nn::TableNeed> needs_;
  std::vector<std::vector<Run>> runs_;  // of each table
  std::vector<std::unique_ptr<embedding::Table<T>>> tables_;
  std::vector<optim::Rule> rules_, step_rules_;
  std::vector<optim::Schedule> schedules_;
  bool expires_ = false;
  bool has_plateau_ = false;
};

}  // namespace sluice::train
