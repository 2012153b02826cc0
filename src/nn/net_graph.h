#pragma once

#include <memory>
#include <string>
#include <vector>

#include "nn/block.h"
#include "nn/net.h"
#include "nn/params.h"
#include "nn/projection.h"
#include "nn/sparse_op.h"

namespace sluice::nn {

// Values that pass from one node to others, [batch, width].
struct Edge {
  std::string name;
  int64_t width = 0;
  int producer = -1;        // node; -1: the numeric features of the batch
  bool needs_grad = false;  // something trained stands before it
  int consumers = 0;        // nodes that read it
  bool is_output = false;
  // Its gradient is the loss's: an output that no block reads.
  bool grad_is_logit_grad() const { return is_output && consumers == 0; }
};

// A block or a weights-rich operator; exactly one of the two pointers is set.
template <class T>
struct Node {
  std::string name, type;
  std::vector<int> inputs;           // edges
  std::vector<Range> input_columns;  // per input: what it reads of the edge; all of it, or columns of its own
  int output = -1;                   // edge
  std::unique_ptr<Block<T>> block;
  std::unique_ptr<SparseOp<T>> op;
  std::vector<Range> params;  // of block, in the flat buffer: no other node adds to their gradients
  int table = -1;             // of op
  int sparse = -1;            // index among the operators
  int64_t partial_width = 0;  // of op: columns of its partial
  int64_t partial_begin = 0;  // of op: its first column among those that are reduced alike
  // Of op, where products of its pooled columns travel in place of them (nn/split_graph.h): its output is then those
  // products, side by side, and pooled_begin its first column among what all such operators pool.
  std::vector<Projection> projections;
  int64_t pooled_begin = 0;
  std::vector<uint8_t> accumulate;  // per input: another consumer wrote the gradient before
  int64_t sums_begin = 0;           // of its batch sums among those of the net
  int64_t shared_begin = 0;         // bytes into the shared memory of prepared weights
};

// The structure of a net: what Build makes from a spec and what the executor walks. Nodes are in topological order.
template <class T>
struct Graph {
  NetSpec spec;
  int64_t num_labels = 0;
  int64_t num_dense = 0;
  std::vector<Edge> edges;  // edge 0 is "dense"
  std::vector<Node<T>> nodes;
  std::vector<int> outputs;       // edges
  std::vector<int> sparse_nodes;  // nodes with an operator
  std::vector<int> sum_nodes;     // nodes with batch sums, in order
  std::vector<TableNeed> tables;
  ParamRegistry params;
  int64_t output_bias = -1;  // offset, or -1
  int64_t num_sums = 0;
  int64_t sum_columns = 0, max_columns = 0;  // of the operators' partials
  int64_t pooled_columns = 0;                // of the operators with projections
  PartialForm form = PartialForm::kWhole;
  std::vector<std::string> form_notes;  // FormCosts::notes
  int64_t shared_size = 0;
  std::vector<std::pair<int, int>> prepare_tasks;  // (node, task)
  std::vector<std::string> field_names;            // of the schema
};

// Everything in nodes and edges that follows from the list of nodes and what they read: who makes and reads an edge,
// places of sums, partials and prepared weights, and which gradients are added to. REQUIRES: a topological order.
template <class T>
void NumberGraph(Graph<T>* graph);

// The graph as written (form kWhole).
// Errors: kInvalidArgument naming block and edge: a name twice, an unknown block type or edge, a cycle, a block whose
// output is not used, an output whose width is not the number of labels; and what the blocks' makers refuse.
template <class T>
Result<Graph<T>> BuildGraph(const NetSpec& spec, const data::Schema& schema);

}  // namespace sluice::nn
