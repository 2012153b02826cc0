#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "embedding/table.h"
#include "optim/update_rule.h"
#include "service/parameter_client.h"
#include "service/wire.h"

namespace sluice::service {

// The part of a model that a server holds: its shards of the tables, and its span of the dense arrays, which have their
// full size. The model belongs to the caller.
template <class T>
struct ServedModel {
  ModelLayout layout;
  int server = 0, servers = 1;
  std::vector<embedding::Table<T>*> tables;
  std::function<optim::Rule(int table, int64_t step)> table_rule;  // with the step's learning rate
  std::function<optim::Rule(int64_t step)> dense_rule;
  std::function<void(int64_t step)> expire;  // null: nothing expires
  T* params = nullptr;                       // [layout.params]
  T* slots = nullptr;                        // [slots per weight, layout.params]
  T* buffers = nullptr;                      // [layout.buffers]
  // Keys without a row share one that learns: then a table's rows are read and written under one lock.
  bool shares_rows = false;
};

// Rows and dense spans as messages carry them: what a server does with its model, whatever the scalar type.
// Shapes       rows and row gradients in the order of RowOrder; dense: the server's span.
// Threads      everything may overlap with everything but Expire, unless said otherwise. Rows are copied and updated
//              under locks of their group (GroupOf), dense scalars under locks of blocks: nothing is torn.
// Errors       StatusError as the tables.
class Backend {
 public:
  // A list of keys with its rows found or made, and pinned until Release.
  class Batch {
   public:
    virtual ~Batch() = default;
    KeyList keys;
    int64_t step = 0;
  };
  virtual ~Backend() = default;

  virtual int scalar_bytes() const = 0;
  virtual int64_t num_params() const = 0;  // of this server
  virtual int64_t num_buffers() const = 0;
  virtual int64_t RowScalars(const KeyList& keys) const = 0;      // of one pull or push
  virtual std::vector<embedding::RowInit> row_inits() const = 0;  // [tables]

  virtual std::unique_ptr<Batch> Resolve(KeyList keys, embedding::ResolveMode mode, int64_t step, ThreadPool* pool) = 0;
  // Rows as messages bring them. `initial_rows`: InitialRows::fingerprint of those that the client knows, 0 for none;
  // with it marks stand behind the rows.
  struct RowForm {
    bool bf16 = false;
    uint64_t initial_rows = 0;
  };
  virtual Bytes Gather(const Batch& batch, RowForm form) = 0;
  // One optimizer step per row. REQUIRES: gradients of the right length, finite.
  virtual void Apply(const Batch& batch, const Pieces& gradients, bool bf16) = 0;
  virtual void Release(const Batch& batch) = 0;

  virtual Bytes ReadParams(Wire wire) = 0;
  virtual Bytes ReadBuffers() = 0;
  virtual void ApplyDense(const Pieces& gradients, bool bf16, int64_t step) = 0;
  // buffers += share * (theirs - buffers); a share of 1 copies.
  virtual void MixBuffers(const Pieces& theirs, double share) = 0;

  // ---- one step from the gradients of several workers (s = 0); one caller, and nothing else under way for these rows
  // but Gather, which sees them before the step or after it

  // The keys of all lists, each once, in the order of first occurrence by vocabulary; counts summed.
  virtual std::unique_ptr<Batch> ResolveUnion(const std::vector<const KeyList*>& lists, int64_t step,
                                              ThreadPool* pool) = 0;
  virtual Bytes GatherPart(const Batch& batch, int list, RowForm form, ThreadPool* pool) = 0;
  struct Part {
    int list = 0;  // of the union
    Pieces row_gradients;
    bool rows_bf16 = false;
    double share = 1;  // of the workers' weights
  };
  virtual void ApplyParts(const Batch& batch, const std::vector<Part>& parts, ThreadPool* pool) = 0;
  struct DensePart {
    Pieces gradients, buffers;
    bool bf16 = false;
    double share = 1;
  };
  virtual void ApplyDenseParts(const std::vector<DensePart>& parts, int64_t step, ThreadPool* pool) = 0;

  // Everything else at rest. REQUIRES: ascending steps.
  virtual bool expires() const = 0;
  virtual void Expire(int64_t step) = 0;

  struct TableReport {
    std::string name;
    int64_t dim = 0;
    embedding::TableStats stats;
  };
  virtual std::vector<TableReport> Report() const = 0;
  virtual int64_t MemoryBytes() const = 0;
};

template <class T>
std::unique_ptr<Backend> MakeBackend(ServedModel<T> model);

}  // namespace sluice::service
