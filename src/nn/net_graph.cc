#include "nn/net_graph.h"

#include <algorithm>
#include <map>
#include <set>

namespace sluice::nn {
namespace {

constexpr char kDenseEdge[] = "dense";

// Nearest of `names` for an error message is left to the configuration; here all of them are listed.
std::string Joined(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : ", ") + name;
  return out;
}

// Order in which every block comes after those that it reads; blocks keep their order where that allows it.
Result<std::vector<int>> TopologicalOrder(const std::vector<BlockConfig>& blocks) {
  std::map<std::string, int> by_name;
  std::vector<std::string> names = {kDenseEdge};
  for (size_t i = 0; i < blocks.size(); ++i) {
    const std::string& name = blocks[i].name;
    if (name.empty()) return InvalidArgument("model: block {} has no name", i);
    if (name == kDenseEdge)
      return InvalidArgument("model: a block is named '{}', which stands for the numeric features", name);
    if (!by_name.emplace(name, static_cast<int>(i)).second)
      return InvalidArgument("model: two blocks are named '{}'", name);
    names.push_back(name);
  }
  for (const BlockConfig& block : blocks)
    for (const std::string& input : block.inputs)
      if (input != kDenseEdge && !by_name.contains(input))
        return InvalidArgument("block '{}' reads '{}', which no block gives; there are: {}", block.name, input,
                               Joined(names));
  std::vector<int> order;
  std::vector<bool> placed(blocks.size(), false);
  while (order.size() < blocks.size()) {
    const size_t before = order.size();
    for (size_t i = 0; i < blocks.size(); ++i) {
      if (placed[i]) continue;
      const bool ready = std::all_of(blocks[i].inputs.begin(), blocks[i].inputs.end(), [&](const std::string& input) {
        return input == kDenseEdge || placed[static_cast<size_t>(by_name[input])];
      });
      if (!ready) continue;
      placed[i] = true;
      order.push_back(static_cast<int>(i));
    }
    if (order.size() > before) continue;
    std::vector<std::string> stuck;
    for (size_t i = 0; i < blocks.size(); ++i)
      if (!placed[i]) stuck.push_back(blocks[i].name);
    return InvalidArgument("model: blocks read one another in a cycle, or stand after one: {}", Joined(stuck));
  }
  return order;
}

// Columns of one table that operators asked for together.
struct ColumnRequest {
  std::string share;
  int64_t begin = 0, columns = 0;
  ColumnStart start = ColumnStart::kTable;
};

template <class T>
class Builder {
 public:
  Builder(const NetSpec& spec, const data::Schema& schema) : schema_(schema) {
    graph_.spec = spec;
    graph_.num_labels = schema.num_labels();
    graph_.num_dense = schema.num_dense();
    for (const auto& field : schema.fields) graph_.field_names.push_back(field.name);
    graph_.edges.push_back({.name = kDenseEdge, .width = graph_.num_dense});
    edge_of_[kDenseEdge] = 0;
  }

  Result<Graph<T>> Build() {
    if (graph_.num_labels < 1) return InvalidArgument("model: the data has no label");
    if ((graph_.spec.precision == Precision::kFp64) != std::is_same_v<T, double>)
      return InvalidArgument("model: precision fp64 needs the double net, the others the float net");
    SLUICE_ASSIGN_OR_RETURN(const std::vector<int> order, TopologicalOrder(graph_.spec.blocks));
    for (const int i : order) SLUICE_RETURN_IF_ERROR(AddNode(graph_.spec.blocks[static_cast<size_t>(i)]));
    SLUICE_RETURN_IF_ERROR(SetOutputs());
    if (graph_.spec.output_bias)
      graph_.output_bias = graph_.params.trained.Add("output/bias", {graph_.num_labels}, Init::kZero);
    NumberGraph(&graph_);
    for (const TableNeed& table : graph_.tables)
      if (table.dim == 0) return InvalidArgument("table '{}': no operator reads a column of it", table.name);
    return std::move(graph_);
  }

 private:
  Status AddNode(const BlockConfig& config) {
    const BlockType* type = FindBlockType(config.type);
    if (type == nullptr)
      return InvalidArgument("block '{}': there is no type '{}'; there are: {}", config.name, config.type,
                             Joined(BlockTypeNames()));
    Node<T> node;
    node.name = config.name;
    node.type = config.type;
    BuildContext context;
    context.schema = &schema_;
    context.name = config.name;
    context.precision = graph_.spec.precision;
    context.params = &graph_.params;
    context.request_columns = [this](const std::string& table, const std::vector<int>& fields, int64_t columns,
                                     const std::string& share, ColumnStart start) {
      return RequestColumns(table, fields, columns, share, start);
    };
    bool needs_grad = false;
    for (const std::string& input : config.inputs) {
      const int edge = edge_of_.at(input);
      node.inputs.push_back(edge);
      node.input_columns.push_back({0, graph_.edges[static_cast<size_t>(edge)].width});
      ++graph_.edges[static_cast<size_t>(edge)].consumers;
      needs_grad |= graph_.edges[static_cast<size_t>(edge)].needs_grad;
      context.input_widths.push_back(graph_.edges[static_cast<size_t>(edge)].width);
      if (edge == 0 && graph_.num_dense == 0)
        return InvalidArgument("block '{}' reads '{}', but the data has no numeric features", config.name, kDenseEdge);
    }
    const int64_t params_before = graph_.params.trained.size();
    const std::shared_ptr<BlockOptions> defaults = config.options ? nullptr : type->make_options();
    const BlockOptions& options = config.options ? *config.options : *defaults;
    int64_t width = 0;
    SLUICE_RETURN_IF_ERROR(MakeNode(*type, options, context, &node, &width));
    if (width < 1) return InvalidArgument("block '{}' has an output of width {}", config.name, width);
    if (graph_.params.trained.size() > params_before)
      node.params.push_back({params_before, graph_.params.trained.size()});
    needs_grad |= node.op != nullptr || !node.params.empty();
    node.output = static_cast<int>(graph_.edges.size());
    edge_of_[config.name] = node.output;
    graph_.edges.push_back({.name = config.name,
                            .width = width,
                            .producer = static_cast<int>(graph_.nodes.size()),
                            .needs_grad = needs_grad});
    graph_.nodes.push_back(std::move(node));
    return Status::Ok();
  }

  Status MakeNode(const BlockType& type, const BlockOptions& options, BuildContext& context, Node<T>* node,
                  int64_t* width) {
    const auto named = [&](const Status& status) {
      const bool has_name = status.message().find(context.name) != std::string::npos;
      return has_name ? status : status.WithContext("block '" + context.name + "'");
    };
    if (type.make_sparse_f32) {
      if (!context.input_widths.empty())
        return InvalidArgument("block '{}': {} reads table rows and takes no inputs", context.name, type.type);
      auto made = MakeSparse(type, options, context);
      if (!made.ok()) return named(made.status());
      node->op = std::move(*made);
      node->table = table_of_.at(node->op->table());
      node->partial_width = node->op->partial_width();
      *width = node->op->output_width();
      return Status::Ok();
    }
    if (context.input_widths.empty()) return InvalidArgument("block '{}': {} needs inputs", context.name, type.type);
    auto made = MakeDense(type, options, context);
    if (!made.ok()) return named(made.status());
    node->block = std::move(*made);
    *width = node->block->output_width();
    return Status::Ok();
  }

  static Result<std::unique_ptr<Block<T>>> MakeDense(const BlockType& type, const BlockOptions& options,
                                                     BuildContext& context) {
    if constexpr (std::is_same_v<T, float>) return type.make_f32(options, context);
    if constexpr (std::is_same_v<T, double>) return type.make_f64(options, context);
  }
  static Result<std::unique_ptr<SparseOp<T>>> MakeSparse(const BlockType& type, const BlockOptions& options,
                                                         BuildContext& context) {
    if constexpr (std::is_same_v<T, float>) return type.make_sparse_f32(options, context);
    if constexpr (std::is_same_v<T, double>) return type.make_sparse_f64(options, context);
  }

  Result<int64_t> RequestColumns(const std::string& table, const std::vector<int>& fields, int64_t columns,
                                 const std::string& share, ColumnStart start) {
    const auto [found, is_new] = table_of_.emplace(table, static_cast<int>(graph_.tables.size()));
    if (is_new) {
      graph_.tables.push_back({.name = table, .dim = 0, .fields = {}, .zero_columns = {}});
      requests_.emplace_back();
    }
    TableNeed& need = graph_.tables[static_cast<size_t>(found->second)];
    std::set<int> all(need.fields.begin(), need.fields.end());
    all.insert(fields.begin(), fields.end());
    need.fields.assign(all.begin(), all.end());
    std::vector<ColumnRequest>& requests = requests_[static_cast<size_t>(found->second)];
    for (const ColumnRequest& request : requests) {
      if (share.empty() || request.share != share) continue;
      if (request.columns != columns || request.start != start)
        return InvalidArgument("operators that share columns '{}' of table '{}' ask for {} and {} of them", share,
                               table, request.columns, columns);
      return request.begin;
    }
    const int64_t begin = need.dim;
    requests.push_back({share, begin, columns, start});
    need.dim += columns;
    if (start == ColumnStart::kZero) need.zero_columns.push_back({begin, begin + columns});
    return begin;
  }

  Status SetOutputs() {
    if (graph_.spec.outputs.empty()) return InvalidArgument("model: no outputs are named");
    for (const std::string& name : graph_.spec.outputs) {
      const auto found = edge_of_.find(name);
      if (found == edge_of_.end() || found->second == 0)
        return InvalidArgument("model: output '{}' is not the name of a block", name);
      Edge& edge = graph_.edges[static_cast<size_t>(found->second)];
      if (edge.is_output) return InvalidArgument("model: output '{}' is named twice", name);
      if (edge.width != graph_.num_labels)
        return InvalidArgument("model: output '{}' has width {}, but there are {} labels", name, edge.width,
                               graph_.num_labels);
      edge.is_output = true;
      graph_.outputs.push_back(found->second);
    }
    for (size_t e = 1; e < graph_.edges.size(); ++e)
      if (graph_.edges[e].consumers == 0 && !graph_.edges[e].is_output)
        return InvalidArgument("block '{}' is used by no block and is no output", graph_.edges[e].name);
    return Status::Ok();
  }

  const data::Schema& schema_;
  Graph<T> graph_;
  std::map<std::string, int> edge_of_, table_of_;
  std::vector<std::vector<ColumnRequest>> requests_;
};

}  // namespace

template <class T>
void NumberGraph(Graph<T>* graph) {
  graph->sparse_nodes.clear();
  graph->sum_nodes.clear();
  graph->prepare_tasks.clear();
  graph->num_sums = graph->shared_size = 0;
  graph->sum_columns = graph->max_columns = graph->pooled_columns = 0;
  for (Edge& edge : graph->edges) edge.consumers = 0;
  for (size_t n = 0; n < graph->nodes.size(); ++n) {
    Node<T>& node = graph->nodes[n];
    const int index = static_cast<int>(n);
    graph->edges[static_cast<size_t>(node.output)].producer = index;
    for (const int edge : node.inputs) ++graph->edges[static_cast<size_t>(edge)].consumers;
    if (node.op) {
      node.sparse = static_cast<int>(graph->sparse_nodes.size());
      graph->sparse_nodes.push_back(index);
      int64_t& columns = node.op->reduction() == Reduction::kMax ? graph->max_columns : graph->sum_columns;
      node.partial_begin = columns;
      columns += node.partial_width;
      node.pooled_begin = graph->pooled_columns;
      if (!node.projections.empty()) graph->pooled_columns += node.op->partial_width();
      continue;
    }
    node.sums_begin = graph->num_sums;
    graph->num_sums += node.block->num_batch_sums();
    if (node.block->num_batch_sums() > 0) graph->sum_nodes.push_back(index);
    node.shared_begin = graph->shared_size;
    graph->shared_size += (static_cast<int64_t>(node.block->shared_size()) + 63) / 64 * 64;
    for (int task = 0; task < node.block->num_prepare_tasks(); ++task) graph->prepare_tasks.emplace_back(index, task);
  }
  // Backward walks the nodes from the last to the first: who writes an edge's gradient first overwrites it, the others
  // add. The loss comes before all of them. Columns that a node has of its own nobody else writes.
  std::vector<bool> written(graph->edges.size(), false);
  for (const int edge : graph->outputs) written[static_cast<size_t>(edge)] = true;
  for (size_t n = graph->nodes.size(); n-- > 0;) {
    Node<T>& node = graph->nodes[n];
    node.accumulate.clear();
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const auto edge = static_cast<size_t>(node.inputs[i]);
      const bool whole = node.input_columns[i].size() == graph->edges[edge].width;
      node.accumulate.push_back(whole && written[edge]);
      written[edge] = true;
    }
  }
}

template <class T>
Result<Graph<T>> BuildGraph(const NetSpec& spec, const data::Schema& schema) {
  return Builder<T>(spec, schema).Build();
}

template void NumberGraph<float>(Graph<float>*);
template void NumberGraph<double>(Graph<double>*);
template Result<Graph<float>> BuildGraph<float>(const NetSpec&, const data::Schema&);
template Result<Graph<double>> BuildGraph<double>(const NetSpec&, const data::Schema&);

}  // namespace sluice::nn
