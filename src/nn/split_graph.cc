#include "nn/split_graph.h"

#include <algorithm>
#include <map>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "nn/embedding_op.h"
#include "nn/first_layer.h"
#include "nn/fm.h"
#include "nn/vector_cross.h"

namespace sluice::nn {

const char* PartialFormName(PartialForm form) {
  switch (form) {
    case PartialForm::kWhole:
      return "whole";
    case PartialForm::kPooled:
      return "pooled";
    case PartialForm::kProducts:
      return "products";
  }
  return "";
}

namespace {

// A stretch of the input of a block, behind concatenations.
struct Stretch {
  int edge = 0;
  int64_t row = 0, width = 0;
};

// What becomes of a node, decided before any changes.
struct Change {
  enum Kind { kNone, kLayer, kCross, kLayerBehindCross } kind = kNone;
  FirstLayer layer;                // its own; of kCross, that of the block behind it
  std::vector<Stretch> stretches;  // of its input
};

template <class T>
class Splitter {
 public:
  explicit Splitter(Graph<T>* graph) : graph_(*graph) {}

  void SplitFirstLayers() {
    for (const int index : graph_.sparse_nodes) {
      const Node<T>& node = NodeAt(index);
      if (!SummedColumnsOf(*node.op)) continue;
      std::string breaks;
      if (MeetsFirstLayersOnly(node.output, &breaks))
        width_of_[node.output] = 0;
      else
        Note("embedding '{}' stays pooled, {} columns: {}", node.name, node.partial_width, breaks);
    }
    const std::vector<Change> changes = PlanChanges();
    std::vector<Node<T>> nodes;
    for (size_t n = 0; n < graph_.nodes.size(); ++n) {
      Node<T>& node = graph_.nodes[n];
      switch (changes[n].kind) {
        case Change::kNone:
          nodes.push_back(std::move(node));
          break;
        case Change::kCross:
          EdgeAt(node.output).width = changes[n].layer.outputs;
          nodes.push_back(SplitCross(std::move(node), changes[n]));
          break;
        case Change::kLayer:
        case Change::kLayerBehindCross:
          SplitLayer(std::move(node), changes[n], &nodes);
          break;
      }
    }
    graph_.nodes = std::move(nodes);
    for (Node<T>& node : graph_.nodes) {
      const auto found = width_of_.find(node.output);
      if (found == width_of_.end()) continue;
      node.projections = std::move(projections_[node.output]);
      node.partial_width = EdgeAt(node.output).width = found->second;
      Note("embedding '{}': products with first layers travel, {} columns in place of {}", node.name, found->second,
           node.op->partial_width());
    }
    RemoveUnread();
    NumberGraph(&graph_);
  }

  void ReadMachinesFromPooled() {
    for (size_t n = 0; n < graph_.nodes.size(); ++n) {
      if (!graph_.nodes[n].op) continue;
      for (const int index : graph_.sparse_nodes) {
        const Node<T>& embedding = NodeAt(index);
        if (!embedding.op || !embedding.projections.empty()) continue;
        auto terms = MakeFmTerms(*graph_.nodes[n].op, *embedding.op);
        if (terms == nullptr) continue;
        ReplaceMachine(n, index, std::move(terms));
        break;
      }
    }
    Sort();
    NumberGraph(&graph_);
  }

 private:
  Node<T>& NodeAt(int n) { return graph_.nodes[static_cast<size_t>(n)]; }
  Edge& EdgeAt(int e) { return graph_.edges[static_cast<size_t>(e)]; }
  template <class... A>
  void Note(fmt::format_string<A...> text, A&&... args) {
    graph_.form_notes.push_back(fmt::format(text, std::forward<A>(args)...));
  }

  std::vector<int> ReadersOf(int edge) const {
    std::vector<int> readers;
    for (size_t n = 0; n < graph_.nodes.size(); ++n) {
      const auto& inputs = graph_.nodes[n].inputs;
      if (std::find(inputs.begin(), inputs.end(), edge) != inputs.end()) readers.push_back(static_cast<int>(n));
    }
    return readers;
  }
  static const HasFirstLayer<T>* Layered(const Node<T>& node) {
    return node.block ? dynamic_cast<const HasFirstLayer<T>*>(node.block.get()) : nullptr;
  }
  static FirstLayer FirstLayerOf(const Node<T>& node) { return Layered(node)->first_layer(); }
  // A vector cross whose output one first layer reads and nothing else.
  bool IsCross(int n) {
    const Node<T>& node = NodeAt(n);
    if (!node.block || VectorCrossShapeOf(*node.block) == nullptr || EdgeAt(node.output).is_output) return false;
    const std::vector<int> readers = ReadersOf(node.output);
    return readers.size() == 1 && Layered(NodeAt(readers.front())) != nullptr;
  }

  bool MeetsFirstLayersOnly(int edge, std::string* breaks) {
    if (EdgeAt(edge).is_output) {
      *breaks = fmt::format("'{}' is an output of the model", EdgeAt(edge).name);
      return false;
    }
    for (const int reader : ReadersOf(edge)) {
      const Node<T>& node = NodeAt(reader);
      if (node.type == "concat") {
        if (!MeetsFirstLayersOnly(node.output, breaks)) return false;
      } else if (Layered(node) == nullptr && !IsCross(reader)) {
        *breaks = fmt::format("block '{}' ({}) reads it and needs all of it", node.name, node.type);
        return false;
      }
    }
    return true;
  }

  void Flatten(int edge, int64_t* row, std::vector<Stretch>* stretches) {
    const int producer = EdgeAt(edge).producer;
    if (producer >= 0 && NodeAt(producer).type == "concat") {
      for (const int input : NodeAt(producer).inputs) Flatten(input, row, stretches);
      return;
    }
    stretches->push_back({edge, *row, EdgeAt(edge).width});
    *row += EdgeAt(edge).width;
  }

  std::vector<Change> PlanChanges() {
    std::vector<Change> changes(graph_.nodes.size());
    for (size_t n = 0; n < changes.size(); ++n) {
      const Node<T>& node = graph_.nodes[n];
      Change& change = changes[n];
      const bool cross = IsCross(static_cast<int>(n));
      if (change.kind != Change::kNone || (Layered(node) == nullptr && !cross)) continue;
      int64_t row = 0;
      Flatten(node.inputs[0], &row, &change.stretches);
      if (std::none_of(change.stretches.begin(), change.stretches.end(),
                       [&](const Stretch& stretch) { return width_of_.contains(stretch.edge); }))
        continue;
      change.kind = cross ? Change::kCross : Change::kLayer;
      if (!cross) {
        change.layer = FirstLayerOf(node);
        continue;
      }
      const int reader = ReadersOf(node.output).front();
      change.layer = FirstLayerOf(NodeAt(reader));
      changes[static_cast<size_t>(reader)] = {
          Change::kLayerBehindCross, change.layer, {{node.output, 0, change.layer.outputs}}};
    }
    return changes;
  }

  // Products of `stretch`, which an embedding gives, with weights at `offset` [.., outputs]; the node reads them.
  void AddProjection(const Stretch& stretch, int64_t offset, int64_t outputs, bool read_elsewhere) {
    int64_t& width = width_of_.at(stretch.edge);
    projections_[stretch.edge].push_back({.weight = offset + stretch.row * outputs,
                                          .inputs = stretch.width,
                                          .outputs = outputs,
                                          .column = width,
                                          .read_elsewhere = read_elsewhere});
    width += outputs;
  }
  void Read(Node<T>* node, const Stretch& stretch, Range columns) {
    node->inputs.push_back(stretch.edge);
    node->input_columns.push_back(columns);
  }

  // The first layer of `node` as a block of its own, and what follows it.
  void SplitLayer(Node<T> node, const Change& change, std::vector<Node<T>>* out) {
    const FirstLayer& layer = change.layer;
    Node<T> first;
    first.type = "first_layer";
    std::vector<LayerPart> parts;
    for (const Stretch& stretch : change.stretches) {
      const auto found = width_of_.find(stretch.edge);
      const bool split = found != width_of_.end();
      parts.push_back({split || change.kind == Change::kLayerBehindCross, stretch.row, stretch.width});
      if (!split) {
        Read(&first, stretch, {0, stretch.width});
        continue;
      }
      const int64_t begin = found->second;
      AddProjection(stretch, layer.weight, layer.outputs, false);
      Read(&first, stretch, {begin, begin + layer.outputs});
    }
    first.block = MakeFirstLayer<T>(layer, std::move(parts));
    auto rest = Layered(node)->WithoutFirstLayer();
    // Behind a cross the weights' gradients come with that of the cross.
    const int64_t begin = change.kind == Change::kLayerBehindCross ? layer.bias : layer.weight;
    const int64_t end = node.params.front().end;
    const int64_t middle = rest != nullptr ? dynamic_cast<HasFirstLayer<T>&>(*rest).first_layer().weight : end;
    first.params = {{begin, middle}};
    node.params = {{middle, end}};
    if (rest == nullptr) {
      first.name = node.name;
      first.output = node.output;
      out->push_back(std::move(first));
      return;
    }
    first.name = node.name + "/first_layer";
    first.output = static_cast<int>(graph_.edges.size());
    graph_.edges.push_back({.name = first.name, .width = layer.outputs, .needs_grad = true});
    node.block = std::move(rest);
    node.inputs = {first.output};
    node.input_columns = {{0, layer.outputs}};
    out->push_back(std::move(first));
    out->push_back(std::move(node));
  }

  // A cross together with the product of the layer behind it.
  Node<T> SplitCross(Node<T> node, const Change& change) {
    const FirstLayer& layer = change.layer;
    const VectorCrossShape shape = *VectorCrossShapeOf(*node.block);
    Node<T> split;
    split.name = node.name;
    split.type = "product_cross";
    split.output = node.output;
    split.params = node.params;
    split.params.push_back({layer.weight, layer.bias});
    std::vector<CrossPart> parts;
    for (const Stretch& stretch : change.stretches) {
      const auto found = width_of_.find(stretch.edge);
      parts.push_back({found != width_of_.end(), stretch.row, stretch.width});
      if (found == width_of_.end()) {
        Read(&split, stretch, {0, stretch.width});
        continue;
      }
      const int64_t begin = found->second;
      AddProjection(stretch, shape.weight, shape.layers, true);
      AddProjection(stretch, layer.weight, layer.outputs, true);
      Read(&split, stretch, {begin, begin + shape.layers + layer.outputs});
    }
    split.block = MakeProductCross<T>(shape, layer.weight, layer.outputs, std::move(parts));
    return split;
  }

  void ReplaceMachine(size_t n, int embedding, std::unique_ptr<SparseOp<T>> terms) {
    Node<T>& machine = graph_.nodes[n];
    Node<T> sum;
    sum.name = machine.name;
    sum.type = "fm_of_pooled";
    sum.output = machine.output;
    machine.name += "/terms";
    machine.type = "fm_terms";
    machine.op = std::move(terms);
    machine.partial_width = 1;
    machine.output = static_cast<int>(graph_.edges.size());
    graph_.edges.push_back({.name = machine.name, .width = 1, .needs_grad = true});
    const Node<T>& pooled = NodeAt(embedding);
    const int64_t dim = SummedColumnsOf(*pooled.op)->dim;
    sum.inputs = {pooled.output, machine.output};
    sum.input_columns = {{0, pooled.partial_width}, {0, 1}};
    sum.block = MakeFmOfPooled<T>(pooled.partial_width / dim, dim);
    Note("'{}' reads its sums from '{}': 1 column in place of {}", sum.name, pooled.name, dim + 1);
    graph_.nodes.push_back(std::move(sum));
  }

  // Concatenations that nobody reads any more, and edges that nobody makes.
  void RemoveUnread() {
    for (bool removed = true; removed;) {
      removed = false;
      for (size_t n = 0; n < graph_.nodes.size(); ++n) {
        const Node<T>& node = graph_.nodes[n];
        if (node.type != "concat" || EdgeAt(node.output).is_output || !ReadersOf(node.output).empty()) continue;
        graph_.nodes.erase(graph_.nodes.begin() + static_cast<std::ptrdiff_t>(n));
        removed = true;
        break;
      }
    }
    std::vector<int> place(graph_.edges.size(), -1);
    place[0] = 0;
    for (const Node<T>& node : graph_.nodes) place[static_cast<size_t>(node.output)] = 0;
    std::vector<Edge> edges;
    for (size_t e = 0; e < graph_.edges.size(); ++e) {
      if (place[e] < 0) continue;
      place[e] = static_cast<int>(edges.size());
      edges.push_back(std::move(graph_.edges[e]));
    }
    graph_.edges = std::move(edges);
    for (Node<T>& node : graph_.nodes) {
      node.output = place[static_cast<size_t>(node.output)];
      for (int& edge : node.inputs) edge = place[static_cast<size_t>(edge)];
    }
    for (int& edge : graph_.outputs) edge = place[static_cast<size_t>(edge)];
  }

  // Every node behind those that it reads; nodes keep their order where that allows it.
  void Sort() {
    std::vector<bool> made(graph_.edges.size(), false);
    made[0] = true;
    std::vector<Node<T>> sorted;
    std::vector<Node<T>>& left = graph_.nodes;
    while (!left.empty()) {
      const auto ready = std::find_if(left.begin(), left.end(), [&](const Node<T>& node) {
        return std::all_of(node.inputs.begin(), node.inputs.end(),
                           [&](int edge) { return made[static_cast<size_t>(edge)]; });
      });
      SLUICE_CHECK(ready != left.end(), "a cycle among {} nodes", left.size());
      made[static_cast<size_t>(ready->output)] = true;
      sorted.push_back(std::move(*ready));
      left.erase(ready);
    }
    graph_.nodes = std::move(sorted);
  }

  Graph<T>& graph_;
  std::map<int, int64_t> width_of_;  // edges of embeddings that are split -> columns of their products so far
  std::map<int, std::vector<Projection>> projections_;
};

}  // namespace

template <class T>
void SplitGraph(PartialForm form, Graph<T>* graph) {
  graph->form = form;
  if (form == PartialForm::kWhole) return;
  Splitter<T> splitter(graph);
  if (form == PartialForm::kProducts) splitter.SplitFirstLayers();
  splitter.ReadMachinesFromPooled();
}

template void SplitGraph<float>(PartialForm, Graph<float>*);
template void SplitGraph<double>(PartialForm, Graph<double>*);

}  // namespace sluice::nn
