#include "train/table_set.h"

#include <algorithm>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "embedding/make_table.h"

namespace sluice::train {
namespace {

// Rows of a gather task: enough to pay for handing it out, few enough that threads finish together.
constexpr int64_t kGatherRows = 1024;

}  // namespace

template <class T>
Result<std::unique_ptr<TableSet<T>>> TableSet<T>::Make(const data::Schema& schema, std::vector<nn::TableNeed> needs,
                                                       const Settings& settings, uint64_t seed) {
  std::unique_ptr<TableSet> set(new TableSet(schema));
  set->salts_.resize(set->ids_.num_vocabularies());
  for (int f = 0; f < schema.num_fields(); ++f) set->salts_[set->ids_.vocabulary_of_field(f)] = schema.fields[f].salt;
  for (auto& need : needs) {
    const embedding::TableConfig config = settings(need.name);
    auto rule = optim::MakeRule(config.optimizer);
    if (!rule.ok()) return rule.status().WithContext(fmt::format("tables.{}.optimizer", need.name));
    auto schedule = optim::Schedule::Make(config.optimizer.schedule, config.optimizer.learning_rate);
    if (!schedule.ok()) return schedule.status().WithContext(fmt::format("tables.{}.optimizer.schedule", need.name));
    std::vector<embedding::ColumnInit> columns;
    for (const Range& zero : need.zero_columns)
      columns.push_back({.begin = zero.begin, .end = zero.end, .kind = embedding::InitKind::kZero, .scale = 0});
    auto table = embedding::MakeTable<T>(need.name, need.dim, config, seed, std::move(columns));
    if (!table.ok()) return table.status().WithContext(fmt::format("tables.{}", need.name));
    set->tables_.push_back(std::move(table).value());
    set->rules_.push_back(*rule);
    set->schedules_.push_back(*schedule);
    set->has_plateau_ = set->has_plateau_ || config.optimizer.schedule.kind == "plateau";
    set->expires_ = set->expires_ || config.expiry.max_age_steps > 0 || config.expiry.max_rows > 0;

    std::set<int> vocabularies;
    for (int field : need.fields) vocabularies.insert(set->ids_.vocabulary_of_field(field));
    std::vector<Run> runs;
    for (int v : vocabularies) {
      if (!runs.empty() && runs.back().vocabulary_end == v)
        runs.back().vocabulary_end = v + 1;
      else
        runs.push_back({v, v + 1});
    }
    set->runs_.push_back(std::move(runs));
  }
  set->step_rules_ = set->rules_;
  set->needs_ = std::move(needs);
  return set;
}

template <class T>
int TableSet<T>::FindTable(const std::string& name) const {
  for (int t = 0; t < size(); ++t)
    if (needs_[t].name == name) return t;
  return -1;
}

template <class T>
void TableSet<T>::SetRuns(WorkingSet* set) const {
  const auto& ids = set->ids;
  set->tables.resize(tables_.size());
  for (int t = 0; t < size(); ++t) {
    auto& runs = set->tables[t];
    runs.resize(runs_[t].size());
    for (size_t r = 0; r < runs.size(); ++r) {
      const Run& bounds = runs_[t][r];
      ResolvedRun& run = runs[r];
      run.begin = ids.block_begin[bounds.vocabulary_begin];
      run.end = ids.block_begin[bounds.vocabulary_end];
      run.blocks.clear();
      for (int v = bounds.vocabulary_begin; v < bounds.vocabulary_end; ++v)
        run.blocks.push_back({ids.block_begin[v] - run.begin, ids.block_begin[v + 1] - run.begin, salts_[v]});
    }
  }
}

template <class T>
void TableSet<T>::Resolve(WorkingSet* set, embedding::ResolveMode mode, int64_t step, ThreadPool* pool) const {
  const auto& ids = set->ids;
  set->step = step;
  SetRuns(set);
  for (int t = 0; t < size(); ++t) {
    for (ResolvedRun& run : set->tables[t]) {
      const size_t n = static_cast<size_t>(run.end - run.begin);
      tables_[t]->Resolve({ids.unique.data() + run.begin, n}, {ids.counts.data() + run.begin, n}, run.blocks, mode,
                          step, pool, &run.rows);
    }
  }
}

template <class T>
void TableSet<T>::PrepareBuffers(const embedding::VirtualIds& ids, RowBuffers<T>* buffers) const {
  const int64_t num_unique = ids.num_unique();
  buffers->rows.resize(tables_.size());
  buffers->grads.resize(tables_.size());
  buffers->views.resize(tables_.size());
  for (int t = 0; t < size(); ++t) {
    const int64_t dim = needs_[t].dim;
    buffers->rows[t].Resize(num_unique * dim);
    buffers->grads[t].Resize(num_unique * dim);
    auto& view = buffers->views[t];
    view.rows = buffers->rows[t].data();
    view.num_rows = num_unique;
    view.dim = dim;
    view.index.assign(ids.inverse.size(), nullptr);
    view.row_range.assign(ids.inverse.size(), Range{});
    view.whole = ids.whole;
    for (int field : needs_[t].fields) {
      const int v = ids_.vocabulary_of_field(field);
      view.index[field] = ids.inverse[field].data();
      view.row_range[field] = {ids.block_begin[v], ids.block_begin[v + 1]};
    }
  }
}

template <class T>
void TableSet<T>::Gather(const WorkingSet& set, ThreadPool& pool, RowBuffers<T>* buffers) const {
  const auto& ids = set.ids;
  PrepareBuffers(ids, buffers);
  int64_t num_tasks = 0;
  for (const auto& runs : set.tables)
    for (const auto& run : runs) num_tasks += (run.end - run.begin + kGatherRows - 1) / kGatherRows;
  pool.ForEach(num_tasks, [&](int64_t task, int) {
    for (int t = 0; t < size(); ++t) {
      for (const auto& run : set.tables[t]) {
        const int64_t n = run.end - run.begin;
        const int64_t tasks = (n + kGatherRows - 1) / kGatherRows;
        if (task >= tasks) {
          task -= tasks;
          continue;
        }
        const Range range{task * kGatherRows, std::min(n, (task + 1) * kGatherRows)};
        tables_[t]->Gather(run.rows, {ids.unique.data() + run.begin, static_cast<size_t>(n)}, run.blocks, range,
                           buffers->rows[t].data() + run.begin * needs_[t].dim);
        return;
      }
    }
  });
}

template <class T>
void TableSet<T>::MakeUpdateTasks(const WorkingSet& set, int threads, std::vector<RowTask>* tasks) const {
  tasks->clear();
  int64_t num_blocks = 0;
  for (const auto& runs : set.tables)
    for (const auto& run : runs) num_blocks += static_cast<int64_t>(run.blocks.size());
  // A cut vocabulary is scanned once per piece, so it is cut only where there are too few to share out.
  const int64_t pieces = num_blocks >= 2 * threads || num_blocks == 0 ? 1 : (2 * threads + num_blocks - 1) / num_blocks;
  for (int t = 0; t < size(); ++t) {
    for (size_t r = 0; r < set.tables[t].size(); ++r) {
      for (const auto& block : set.tables[t][r].blocks) {
        const int64_t n = block.end - block.begin;
        const int parts = static_cast<int>(n < 64 ? 1 : pieces);
        for (int p = 0; p < parts; ++p) {
          const Range part = PartRange(n, p, parts);
          if (!part.empty())
            tasks->push_back({t, static_cast<int>(r), {block.begin + part.begin, block.begin + part.end}});
        }
      }
    }
  }
}

template <class T>
void TableSet<T>::Apply(const WorkingSet& set, const RowTask& task, const RowBuffers<T>& buffers) {
  const ResolvedRun& run = set.tables[task.table][task.run];
  tables_[task.table]->Apply(run.rows, {set.ids.unique.data() + run.begin, static_cast<size_t>(run.end - run.begin)},
                             buffers.grads[task.table].data() + run.begin * needs_[task.table].dim, task.rows,
                             step_rules_[task.table]);
}

template <class T>
void TableSet<T>::ApplyDefaults(const WorkingSet& set, const RowBuffers<T>& buffers) {
  for (int t = 0; t < size(); ++t) {
    for (const auto& run : set.tables[t]) {
      tables_[t]->ApplyDefaults(run.rows, {set.ids.unique.data() + run.begin, static_cast<size_t>(run.end - run.begin)},
                                run.blocks, buffers.grads[t].data() + run.begin * needs_[t].dim, step_rules_[t]);
    }
  }
}

template <class T>
void TableSet<T>::BeginStep(int64_t step) {
  for (int t = 0; t < size(); ++t) step_rules_[t].learning_rate = schedules_[t].LearningRate(step);
}

template <class T>
void TableSet<T>::Release(const WorkingSet& set) {
  for (int t = 0; t < size(); ++t)
    for (const auto& run : set.tables[t]) tables_[t]->Release(run.rows);
}

template <class T>
void TableSet<T>::Expire(int64_t step) {
  for (auto& table : tables_) table->Expire(step);
}

template <class T>
std::string TableSet<T>::DescribeRow(const WorkingSet& set, const data::Schema& schema, int32_t unique_index) const {
  const Key key = set.ids.unique[unique_index];
  for (int f = 0; f < schema.num_fields(); ++f) {
    const auto& inverse = set.ids.inverse[f];
    if (inverse.size() != set.batch.fields[f].keys.size()) continue;  // asked for by other ranks
    const auto found = std::find(inverse.begin(), inverse.end(), unique_index);
    if (found == inverse.end()) continue;
    const int64_t occurrence = found - inverse.begin();
    const auto& column = set.batch.fields[f];
    int64_t sample = occurrence;
    if (!column.one_hot())
      sample = std::upper_bound(column.offsets.begin(), column.offsets.end(), occurrence) - column.offsets.begin() - 1;
    return fmt::format("field {}, key {:#018x}, sample {}", schema.fields[f].name, key,
                       set.batch.first_sample + sample);
  }
  return fmt::format("key {:#018x}", key);
}

template class TableSet<float>;
template class TableSet<double>;

}  // namespace sluice::train
