#pragma once

#include <functional>
#include <string>
#include <vector>

#include "config/schema.h"

namespace sluice::config {

// One key of a settings struct, as help and reference show it.
struct KeyInfo {
  std::string path;       // "data.split.kind"; "<name>" stands for a name the user chooses, "[]" for list items
  bool section = false;   // a struct, list or map of structs: only path and text are set
  std::string type = {};  // "true/false", "integer", "number", "text", "list of integers", ...
  std::string default_value = {};  // as YAML; empty for a required key
  std::string range = {};          // ">= 1", "0 to 1", "one of: a, b"; empty: anything
  std::string unit = {};
  std::string text = {};
  bool performance_only = false;
  bool required = false;
};

// The allowed range or choices in words; empty when everything is allowed.
std::string RangeText(const Meta& meta);

namespace internal {
std::vector<KeyInfo> DescribeVisit(const std::function<void(Visitor&)>& visit);
}  // namespace internal

// All keys of `settings`, whose values are shown as the defaults, section by section in the order of its Visit.
template <class S>
std::vector<KeyInfo> Describe(S settings = {}) {
  return internal::DescribeVisit([&settings](Visitor& v) { settings.Visit(v); });
}

// For a terminal: one entry a key, wrapped to `width` columns. Only keys whose path starts with `prefix`, where not
// empty.
std::string HelpText(const std::vector<KeyInfo>& keys, int width, const std::string& prefix = "");

// For docs/reference: a Markdown table per section, which is named in a heading of this level.
std::string MarkdownReference(const std::vector<KeyInfo>& keys, int heading_level);

}  // namespace sluice::config
