#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace sluice::config {

// What is said once about a setting, beside its default; parser, --help and docs/reference/config.md come from it.
struct Meta {
  std::string text;                                       // one sentence
  std::string unit = {};                                  // "samples", "bytes", "seconds", ...
  double min = -std::numeric_limits<double>::infinity();  // numbers only, inclusive
  double max = std::numeric_limits<double>::infinity();
  std::vector<std::string> choices = {};  // strings only
  bool performance_only = false;          // cannot change results
  bool required = false;
};

// Walks the fields of a settings struct. A struct takes part by a member
//   template <class V> void Visit(V& v) { v.Field("batch_size", batch_size, {.text = "...", .min = 1}); ... }
// Defaults are the values that the struct's members have before the visit. Implementations: YAML reader (unknown keys
// are errors naming the nearest key, the file and the line), YAML writer, help and reference printers.
class Visitor {
 public:
  virtual ~Visitor() = default;

  virtual void Field(const char* key, bool& value, const Meta& meta) = 0;
  virtual void Field(const char* key, int64_t& value, const Meta& meta) = 0;
  virtual void Field(const char* key, double& value, const Meta& meta) = 0;
  virtual void Field(const char* key, std::string& value, const Meta& meta) = 0;
  virtual void Field(const char* key, std::vector<std::string>& value, const Meta& meta) = 0;
  virtual void Field(const char* key, std::vector<int64_t>& value, const Meta& meta) = 0;
  virtual void Field(const char* key, std::vector<double>& value, const Meta& meta) = 0;

  // Says that the value just read for `key` does not do, for a rule that Meta cannot state; the reader reports it with
  // file and line, other visitors ignore it.
  virtual void Reject(const char* key, const std::string& message) {}

  // A nested struct.
  template <class S>
  void Struct(const char* key, S& value, const Meta& meta) {
    Object(key, meta, [&value](Visitor& v) { value.Visit(v); });
  }
  // A list of structs.
  template <class S>
  void List(const char* key, std::vector<S>& value, const Meta& meta) {
    S prototype{};
    ObjectList(
        key, meta, [&value](size_t n) { value.resize(n); }, [&value]() { return value.size(); },
        [&value](size_t i, Visitor& v) { value[i].Visit(v); }, [&prototype](Visitor& v) { prototype.Visit(v); });
  }
  // A map from a name the user chooses to a struct, in the order written. A key such as C{1..26} stands for 26 names; a
  // name that a later key covers again keeps its place, and the later key's settings refine the earlier ones.
  template <class S>
  void Map(const char* key, std::vector<std::pair<std::string, S>>& value, const Meta& meta) {
    S prototype{};
    ObjectMap(
        key, meta,
        [&value](const std::string& name) {
          for (auto& entry : value)
            if (entry.first == name) return;
          value.emplace_back(name, S{});
        },
        [&value]() {
          std::vector<std::string> names;
          for (const auto& entry : value) names.push_back(entry.first);
          return names;
        },
        [&value](const std::string& name, Visitor& v) {
          for (auto& entry : value)
            if (entry.first == name) entry.second.Visit(v);
        },
        [&prototype](Visitor& v) { prototype.Visit(v); });
  }

 protected:
  using Visit = std::function<void(Visitor&)>;
  virtual void Object(const char* key, const Meta& meta, const Visit& visit) = 0;
  virtual void ObjectList(const char* key, const Meta& meta, const std::function<void(size_t)>& resize,
                          const std::function<size_t()>& size, const std::function<void(size_t, Visitor&)>& element,
                          const Visit& prototype) = 0;
  virtual void ObjectMap(const char* key, const Meta& meta, const std::function<void(const std::string&)>& add,
                         const std::function<std::vector<std::string>()>& names,
                         const std::function<void(const std::string&, Visitor&)>& element, const Visit& prototype) = 0;
};

}  // namespace sluice::config
