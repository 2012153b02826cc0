#include <charconv>

#include "config/document.h"
#include "config/text.h"

namespace sluice::config {
namespace {

struct Step {
  std::string key;
  bool is_index = false;  // written [n]
};

// The steps of a.b[0]."c.d"; `path` ends at the first = outside quotes, which is left in `rest`.
Result<std::vector<Step>> ParsePath(std::string_view assignment, std::string_view* rest) {
  std::vector<Step> steps;
  size_t i = 0;
  const auto bad = [&](const char* why) { return InvalidArgument("--set {}: {}", Shown(assignment), why); };
  bool wants_step = true;
  while (i < assignment.size() && assignment[i] != '=') {
    const char c = assignment[i];
    if (c == '.') {
      if (wants_step) return bad("a key is empty");
      wants_step = true;
      ++i;
      continue;
    }
    if (c == '[') {
      const size_t close = assignment.find(']', i);
      if (close == std::string_view::npos || steps.empty()) return bad("a list index is written key[0]");
      steps.push_back({std::string(assignment.substr(i + 1, close - i - 1)), true});
      i = close + 1;
    } else if (!wants_step) {
      return bad("a dot is missing between two keys");
    } else if (c == '"') {
      const size_t close = assignment.find('"', i + 1);
      if (close == std::string_view::npos) return bad("a quote is not closed");
      steps.push_back({std::string(assignment.substr(i + 1, close - i - 1)), false});
      i = close + 1;
    } else {
      // Braces hold ranges such as C{1..26}, whose dots are no steps.
      const size_t begin = i;
      int depth = 0;
      for (; i < assignment.size(); ++i) {
        const char d = assignment[i];
        depth += d == '{' ? 1 : d == '}' ? -1 : 0;
        if (depth <= 0 && (d == '.' || d == '[' || d == '=')) break;
      }
      steps.push_back({std::string(assignment.substr(begin, i - begin)), false});
    }
    wants_step = false;
  }
  if (i >= assignment.size()) return bad("has no \"=\"; write --set key=value");
  if (wants_step) return bad("a key is empty");
  if (steps.size() > static_cast<size_t>(kMaxDocumentDepth)) return bad("the key is nested too deeply");
  *rest = assignment.substr(i + 1);
  return steps;
}

Result<size_t> ListIndex(std::string_view text, size_t size, const std::string& option) {
  size_t index = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), index);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size())
    return InvalidArgument("{}: \"{}\" is not an index into a list", option, Shown(text));
  if (index >= size)
    return InvalidArgument("{}: index {} is beyond the list, which has {} item{}", option, index, size,
                           size == 1 ? "" : "s");
  return index;
}

// The value that `steps` leads to, made where missing.
Result<Node*> Walk(const std::vector<Step>& steps, const Place& place, Node* node) {
  for (const Step& step : steps) {
    if (node->kind == Node::Kind::kList) {
      size_t index = 0;
      SLUICE_ASSIGN_OR_RETURN(index, ListIndex(step.key, node->items.size(), *place.origin));
      node = &node->items[index];
      continue;
    }
    if (node->kind == Node::Kind::kScalar || step.is_index) {
      return InvalidArgument("{}: \"{}\" looks for a key inside {} (set at {})", *place.origin, Shown(step.key),
                             node->KindName(), node->place.ToString());
    }
    if (node->kind == Node::Kind::kNull) {
      node->kind = Node::Kind::kMap;
      node->place = place;
    }
    Node* next = node->Find(step.key);
    if (next == nullptr) {
      Node fresh;
      fresh.place = place;
      node->entries.push_back({step.key, place, std::move(fresh)});
      next = &node->entries.back().value;
    }
    node = next;
  }
  return node;
}

// Quotes, lists and maps are YAML; anything else is taken as it stands, so that *.tsv and - need no quotes.
Result<Node> ParseValue(std::string_view text, const std::string& option) {
  const size_t first = text.find_first_not_of(' ');
  if (first != std::string_view::npos && std::string_view("[{\"'").find(text[first]) != std::string_view::npos)
    return ParseDocument(text, option);
  SLUICE_RETURN_IF_ERROR(CheckText(text, option));
  Node value;
  if (text == "~" || text == "null") return value;
  value.kind = Node::Kind::kScalar;
  value.scalar = text;
  value.quoted = text.empty();
  return value;
}

void SetPlace(const Place& place, Node* node) {
  node->place = place;
  for (Node& item : node->items) SetPlace(place, &item);
  for (auto& entry : node->entries) {
    entry.place = place;
    SetPlace(place, &entry.value);
  }
}

Status Apply(const std::string& option, const std::vector<Step>& steps, std::string_view text, Node* root) {
  const Place place = {std::make_shared<const std::string>(option), 0, 0};
  Node value;
  SLUICE_ASSIGN_OR_RETURN(value, ParseValue(text, option));
  SetPlace(place, &value);
  // Walked on a copy: a step that fails must not leave half a path behind.
  Node changed = *root;
  Node* target = nullptr;
  SLUICE_ASSIGN_OR_RETURN(target, Walk(steps, place, &changed));
  *target = std::move(value);
  *root = std::move(changed);
  return Status::Ok();
}

}  // namespace

Status ApplyOverride(std::string_view assignment, Node* root) {
  std::string_view text;
  std::vector<Step> steps;
  SLUICE_ASSIGN_OR_RETURN(steps, ParsePath(assignment, &text));
  return Apply("--set " + Shown(assignment), steps, text, root);
}

Status ApplyOption(const std::string& option, std::string_view key, std::string_view value, Node* root) {
  std::string_view rest;
  std::vector<Step> steps;
  SLUICE_ASSIGN_OR_RETURN(steps, ParsePath(std::string(key) + "=", &rest));
  return Apply(fmt::format("{} {}", option, Shown(value)), steps, value, root);
}

}  // namespace sluice::config
