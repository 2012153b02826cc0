#include "config/reader.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "base/join.h"
#include "config/describe.h"
#include "config/document.h"
#include "config/text.h"

namespace sluice::config {
namespace {

// Walks a settings struct beside the document that fills it.
class Reader : public Visitor {
 public:
  explicit Reader(const Node& root) { scopes_.push_back({&root, {}, {}, false, false}); }

  void Field(const char* key, bool& value, const Meta& meta) override {
    Scalar(key, meta, [&](const std::string& text, const Node& node) {
      if (!ParseBool(text, &value)) Mistyped(node, key, text, "must be true or false");
    });
  }
  void Field(const char* key, int64_t& value, const Meta& meta) override {
    Scalar(key, meta, [&](const std::string& text, const Node& node) { Integer(node, key, text, meta, &value); });
  }
  void Field(const char* key, double& value, const Meta& meta) override {
    Scalar(key, meta, [&](const std::string& text, const Node& node) { Real(node, key, text, meta, &value); });
  }
  void Field(const char* key, std::string& value, const Meta& meta) override {
    Scalar(key, meta, [&](const std::string& text, const Node& node) { Text(node, key, text, meta, &value); });
  }
  void Field(const char* key, std::vector<std::string>& value, const Meta& meta) override {
    Scalars<std::string>(key, meta, &value,
                         [&](const Node& node, const std::string& name, const std::string& text, std::string* item) {
                           Text(node, name, text, meta, item);
                         });
  }
  void Field(const char* key, std::vector<int64_t>& value, const Meta& meta) override {
    Scalars<int64_t>(key, meta, &value,
                     [&](const Node& node, const std::string& name, const std::string& text, int64_t* item) {
                       Integer(node, name, text, meta, item);
                     });
  }
  void Field(const char* key, std::vector<double>& value, const Meta& meta) override {
    Scalars<double>(key, meta, &value,
                    [&](const Node& node, const std::string& name, const std::string& text, double* item) {
                      Real(node, name, text, meta, item);
                    });
  }
  void Reject(const char* key, const std::string& message) override {
    const Node* at = scopes_.back().node != nullptr ? scopes_.back().node->Find(key) : nullptr;
    Report(at != nullptr ? at : Written(), key, message);
  }

  // The first problem of all, in the order of the text; unknown keys come before missing ones, which they often
  // explain.
  Status Finish(const std::function<std::vector<KeyInfo>()>& describe) {
    UnknownKeys();
    if (problems_.empty()) return Status::Ok();
    const auto first = std::min_element(problems_.begin(), problems_.end(), [](const auto& a, const auto& b) {
      return std::tie(a.missing, a.place.line, a.place.column) < std::tie(b.missing, b.place.line, b.place.column);
    });
    std::string message = first->message;
    if (!first->unknown_key.empty()) message += Elsewhere(first->unknown_key, describe());
    if (problems_.size() > 1) message += fmt::format(" (and {} more)", problems_.size() - 1);
    return InvalidArgument("{}{}", first->place.origin ? first->place.ToString() + ": " : "", message);
  }

 protected:
  void Object(const char* key, const Meta& meta, const Visit& visit) override {
    const Node* node = Take(key, meta);
    if (node != nullptr && node->kind != Node::Kind::kMap && node->kind != Node::Kind::kNull) {
      Report(node, key, fmt::format("must be a map of keys, not {}", node->KindName()));
      return;
    }
    Enter(node, key, scopes_.back().refines, [&] { visit(*this); });
  }

  void ObjectList(const char* key, const Meta& meta, const std::function<void(size_t)>& resize,
                  const std::function<size_t()>& size, const std::function<void(size_t, Visitor&)>& element,
                  const Visit& prototype) override {
    const Node* node = Take(key, meta);
    if (node == nullptr) return;
    if (node->kind != Node::Kind::kList && node->kind != Node::Kind::kNull) {
      Report(node, key, fmt::format("must be a list, not {}", node->KindName()));
      return;
    }
    resize(0);
    resize(node->items.size());
    for (size_t i = 0; i < node->items.size(); ++i) {
      const std::string name = fmt::format("{}[{}]", key, i);
      if (node->items[i].kind != Node::Kind::kMap) {
        Report(&node->items[i], name, fmt::format("must be a map of keys, not {}", node->items[i].KindName()));
        continue;
      }
      Enter(&node->items[i], name, false, [&] { element(i, *this); });
    }
  }

  void ObjectMap(const char* key, const Meta& meta, const std::function<void(const std::string&)>& add,
                 const std::function<std::vector<std::string>()>& names,
                 const std::function<void(const std::string&, Visitor&)>& element, const Visit& prototype) override {
    const Node* node = Take(key, meta);
    if (node == nullptr || node->kind == Node::Kind::kNull) return;
    if (node->kind != Node::Kind::kMap) {
      Report(node, key, fmt::format("must be a map of names, not {}", node->KindName()));
      return;
    }
    std::set<std::string> written;
    for (const auto& entry : node->entries) {
      auto expanded = ExpandRanges(entry.key);
      const std::string name = fmt::format("{}.{}", key, Shown(entry.key));
      if (!expanded.ok()) {
        ReportAt(entry.place, name, expanded.status().message());
        continue;
      }
      if (entry.value.kind == Node::Kind::kList) {
        Report(&entry.value, name, fmt::format("must be a map of keys, not {}", entry.value.KindName()));
        continue;
      }
      for (const std::string& one : *expanded) {
        const size_t before = problems_.size();
        const bool refines = !written.insert(one).second;
        if (written.size() > kMaxNames) {
          ReportAt(entry.place, name, fmt::format("more than {} names", kMaxNames));
          return;
        }
        add(one);
        if (entry.value.kind == Node::Kind::kScalar)
          EnterScalar(entry.value, key, one, refines, [&] { element(one, *this); });
        else
          Enter(&entry.value, fmt::format("{}.{}", key, one), refines, [&] { element(one, *this); });
        // The other names of the range would say the same.
        if (problems_.size() > before) break;
      }
    }
  }

 private:
  struct Scope {
    const Node* node;                // nullptr: not written
    std::string path;                // with a dot at its end, "" for the root
    std::vector<std::string> known;  // keys visited so far
    bool refines;                    // required keys may have been given before
    bool choice_problem;             // a wrong choice may be why keys are unknown
  };
  struct Problem {
    Place place;
    std::string message;
    bool missing = false;
    std::string unknown_key = {};
  };

  template <class Body>
  void Enter(const Node* node, const std::string& name, bool refines, const Body& body) {
    scopes_.push_back({node, scopes_.back().path + name + ".", {}, refines, false});
    body();
    UnknownKeys();
    scopes_.pop_back();
  }

  // An entry of a map that is a single value: that of its settings' only key.
  template <class Body>
  void EnterScalar(const Node& node, const char* key, const std::string& name, bool refines, const Body& body) {
    const size_t before = problems_.size();
    scopes_.push_back({&node, fmt::format("{}{}.{}.", scopes_.back().path, key, name), {}, refines, false});
    body();
    const bool only_key = scopes_.back().known.size() == 1;
    scopes_.pop_back();
    if (only_key) return;
    problems_.resize(before);
    Report(&node, fmt::format("{}.{}", key, name), fmt::format("must be a map of keys, not {}", node.KindName()));
  }

  // The value written for `key`; marks the key as known.
  const Node* Take(const char* key, const Meta& meta) {
    Scope& scope = scopes_.back();
    scope.known.push_back(key);
    const Node* node = nullptr;
    if (scope.node != nullptr && scope.node->kind == Node::Kind::kScalar)
      node = scope.known.size() == 1 ? scope.node : nullptr;
    else if (scope.node != nullptr)
      node = scope.node->Find(key);
    if (node == nullptr && meta.required && !scope.refines) {
      Report(Written(), key, "is required and has no default");
      problems_.back().missing = true;
    }
    return node;
  }

  // The innermost map around here that was written.
  const Node* Written() const {
    for (auto it = scopes_.rbegin(); it != scopes_.rend(); ++it)
      if (it->node != nullptr) return it->node;
    return nullptr;
  }

  void Report(const Node* at, const std::string& key, const std::string& message) {
    ReportAt(at != nullptr ? at->place : Place{}, key, message);
  }
  void ReportAt(const Place& place, const std::string& key, const std::string& message) {
    problems_.push_back({place, fmt::format("{}{}: {}", scopes_.back().path, key, message)});
  }
  void Mistyped(const Node& node, const std::string& key, const std::string& text, const std::string& rule) {
    Report(&node, key, fmt::format("{}, not \"{}\"", rule, Shown(text)));
  }

  // Text of a scalar with environment variables replaced; false after a report.
  bool ScalarText(const Node& node, const std::string& key, std::string* text) {
    if (node.kind == Node::Kind::kNull) {
      Report(&node, key, "has no value (write \"\" for an empty text, [] for an empty list)");
      return false;
    }
    if (node.kind != Node::Kind::kScalar) {
      Report(&node, key, fmt::format("must be a single value, not {}", node.KindName()));
      return false;
    }
    auto expanded = ExpandEnvironment(node.scalar);
    if (!expanded.ok()) {
      Report(&node, key, expanded.status().message());
      return false;
    }
    *text = std::move(expanded).value();
    return true;
  }

  template <class Parse>
  void Scalar(const char* key, const Meta& meta, const Parse& parse) {
    const Node* node = Take(key, meta);
    std::string text;
    if (node != nullptr && ScalarText(*node, key, &text)) parse(text, *node);
  }

  template <class T, class Parse>
  void Scalars(const char* key, const Meta& meta, std::vector<T>* value, const Parse& parse) {
    const Node* node = Take(key, meta);
    if (node == nullptr) return;
    if (node->kind == Node::Kind::kMap) {
      Report(node, key, "must be a list, not a map of keys");
      return;
    }
    const bool single = node->kind != Node::Kind::kList;
    const size_t size = single ? 1 : node->items.size();
    value->assign(size, T{});
    for (size_t i = 0; i < size; ++i) {
      const Node& item = single ? *node : node->items[i];
      const std::string name = single ? key : fmt::format("{}[{}]", key, i);
      T parsed{};
      std::string text;
      if (!ScalarText(item, name, &text)) return;
      parse(item, name, text, &parsed);
      (*value)[i] = std::move(parsed);
    }
  }

  void Integer(const Node& node, const std::string& key, const std::string& text, const Meta& meta, int64_t* value) {
    int64_t parsed = 0;
    const bool as_text = node.quoted && node.scalar == text;
    if (as_text || !ParseInteger(text, &parsed)) {
      double real = 0;
      const bool big =
          !as_text && ParseReal(text, &real) && text.find_first_not_of("-+0123456789_") == std::string::npos;
      Mistyped(node, key, text, big ? "must fit in 64 bits" : "must be a whole number");
    } else if (InRange(node, key, text, meta, static_cast<double>(parsed))) {
      *value = parsed;
    }
  }
  void Real(const Node& node, const std::string& key, const std::string& text, const Meta& meta, double* value) {
    double parsed = 0;
    if ((node.quoted && node.scalar == text) || !ParseReal(text, &parsed)) {
      Mistyped(node, key, text, "must be a number");
    } else if (InRange(node, key, text, meta, parsed)) {
      *value = parsed;
    }
  }
  bool InRange(const Node& node, const std::string& key, const std::string& text, const Meta& meta, double value) {
    if (value >= meta.min && value <= meta.max) return true;
    Mistyped(node, key, text, "must be " + RangeText(meta));
    return false;
  }
  void Text(const Node& node, const std::string& key, const std::string& text, const Meta& meta, std::string* value) {
    const auto& choices = meta.choices;
    if (choices.empty() || std::find(choices.begin(), choices.end(), text) != choices.end()) {
      *value = text;
      return;
    }
    scopes_.back().choice_problem = true;
    Report(&node, key,
           fmt::format("unknown value \"{}\"; did you mean \"{}\"? It is one of: {}", Shown(text),
                       Nearest(text, choices), Join(choices, ", ")));
  }

  // Keys of the innermost map that nobody asked for.
  void UnknownKeys() {
    const Scope& scope = scopes_.back();
    if (scope.node == nullptr || scope.node->kind != Node::Kind::kMap || scope.choice_problem) return;
    for (const auto& entry : scope.node->entries) {
      if (std::find(scope.known.begin(), scope.known.end(), entry.key) != scope.known.end()) continue;
      const std::string nearest = Nearest(entry.key, scope.known);
      std::string message = "unknown key";
      if (!nearest.empty()) message += fmt::format("; did you mean \"{}\"?", nearest);
      const std::string shown = Shown(entry.key);
      ReportAt(entry.place, shown, message);
      problems_.back().unknown_key = entry.key;
      if (!nearest.empty() && NameDistance(entry.key.substr(0, 100), nearest) > 2)
        problems_.back().message += fmt::format(" Known here: {}.", Join(scope.known, ", "));
    }
  }

  // Where else in the schema a key of that name exists.
  static std::string Elsewhere(const std::string& key, const std::vector<KeyInfo>& keys) {
    std::vector<std::string> paths;
    for (const KeyInfo& info : keys) {
      const size_t dot = info.path.rfind('.');
      if (dot != std::string::npos && info.path.substr(dot + 1) == key) paths.push_back(info.path);
    }
    if (paths.empty() || paths.size() > 3) return "";
    return fmt::format(" There is {}.", Join(paths, " and "));
  }

  std::vector<Scope> scopes_;
  std::vector<Problem> problems_;
};

Status ReadNode(const Node& root, const internal::VisitRoot& visit) {
  if (root.kind != Node::Kind::kMap && root.kind != Node::Kind::kNull)
    return InvalidArgument("{}: must be a map of keys, not {}", root.place.ToString(), root.KindName());
  Reader reader(root);
  visit(reader);
  return reader.Finish([&visit] { return internal::DescribeVisit(visit); });
}

Status ReadDocument(Node root, const std::string& origin, const std::vector<std::string>& overrides,
                    const internal::VisitRoot& visit) {
  if (root.kind == Node::Kind::kNull && overrides.empty()) return InvalidArgument("{}: holds no settings", origin);
  for (const std::string& assignment : overrides) SLUICE_RETURN_IF_ERROR(ApplyOverride(assignment, &root));
  return ReadNode(root, visit);
}

}  // namespace

namespace internal {

Status ReadFileInto(const std::string& path, const std::vector<std::string>& overrides, const VisitRoot& visit) {
  Node root;
  SLUICE_ASSIGN_OR_RETURN(root, LoadDocument(path));
  return ReadDocument(std::move(root), path, overrides, visit);
}

Status ReadTextInto(std::string_view text, const std::string& origin, const std::vector<std::string>& overrides,
                    const VisitRoot& visit) {
  if (text.empty()) return InvalidArgument("{}: is empty", origin);
  Node root;
  SLUICE_ASSIGN_OR_RETURN(root, ParseDocument(text, origin));
  return ReadDocument(std::move(root), origin, overrides, visit);
}

Status ReadOverridesInto(const std::vector<std::string>& overrides, const VisitRoot& visit) {
  Node root;
  for (const std::string& assignment : overrides) SLUICE_RETURN_IF_ERROR(ApplyOverride(assignment, &root));
  return ReadNode(root, visit);
}

Status ReadOptionInto(const std::string& option, const std::string& key, const std::string& value,
                      const VisitRoot& visit) {
  Node root;
  SLUICE_RETURN_IF_ERROR(ApplyOption(option, key, value, &root));
  return ReadNode(root, visit);
}

}  // namespace internal
}  // namespace sluice::config
