#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "config/schema.h"
#include "data/schema.h"
#include "nn/block.h"
#include "nn/sparse_op.h"

namespace sluice::nn {

// The settings of one block type, visited by the configuration beside name, type and inputs.
struct BlockOptions {
  virtual ~BlockOptions() = default;
  virtual void Visit(config::Visitor& v) = 0;
  virtual std::shared_ptr<BlockOptions> Clone() const = 0;
};

// Names of all block types, sorted.
std::vector<std::string> BlockTypeNames();

// One block of a model as configured: `type` picks the options that follow.
struct BlockConfig {
  std::string name;                  // also the name of its output edge
  std::string type;
  std::vector<std::string> inputs;   // edges; "dense" is the batch's numeric features
  std::shared_ptr<BlockOptions> options;

  template <class V>
  void Visit(V& v) {
    v.Field("name", name, {.text = "Name of the block and of its output edge.", .required = true});
    v.Field("type", type, {.text = "Type of the block; the settings below depend on it.", .choices = BlockTypeNames(),
                           .required = true});
    v.Field("inputs", inputs, {.text = "Edges that it reads; `dense` is the numeric features of the batch."});
    VisitOptions(v);
  }

 private:
  void VisitOptions(config::Visitor& v);
};

// Initial values of the columns that an operator asks for in new rows.
enum class ColumnStart { kTable, kZero };

// What a block is built from.
struct BuildContext {
  const data::Schema* schema = nullptr;
  std::string name;
  std::vector<int64_t> input_widths;
  Precision precision = Precision::kFp32;
  ParamRegistry* params = nullptr;
  // Columns that a weights-rich operator asks for: (table, fields, columns) -> first column. The net gathers these
  // requests; a table's width is the sum of what its operators ask for, operators that name the same `share` excepted.
  // `start` says whether new rows hold zeros there (TableNeed::zero_columns) or what the table's settings say.
  std::function<Result<int64_t>(const std::string& table, const std::vector<int>& fields, int64_t columns,
                                const std::string& share, ColumnStart start)>
      request_columns;
};

// A block type. Exactly one pair of makers is set: for dense blocks or for weights-rich operators.
struct BlockType {
  std::string type;
  std::string text;   // one sentence for the reference
  std::function<std::shared_ptr<BlockOptions>()> make_options = {};
  std::function<Result<std::unique_ptr<Block<float>>>(const BlockOptions&, BuildContext&)> make_f32 = {};
  std::function<Result<std::unique_ptr<Block<double>>>(const BlockOptions&, BuildContext&)> make_f64 = {};
  std::function<Result<std::unique_ptr<SparseOp<float>>>(const BlockOptions&, BuildContext&)> make_sparse_f32 = {};
  std::function<Result<std::unique_ptr<SparseOp<double>>>(const BlockOptions&, BuildContext&)> make_sparse_f64 = {};
};

// All block types, by name. Registered explicitly from nn/builtin_blocks.cc, so that a static library loses none.
const std::map<std::string, BlockType>& BlockTypes();
const BlockType* FindBlockType(const std::string& type);

}  // namespace sluice::nn
