#include "config/describe.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "base/join.h"
#include "config/text.h"
#include "config/writer.h"

namespace sluice::config {
namespace {

class Describer : public Visitor {
 public:
  void Field(const char* key, bool& value, const Meta& meta) override {
    Add(key, "true/false", value ? "true" : "false", meta);
  }
  void Field(const char* key, int64_t& value, const Meta& meta) override {
    Add(key, "integer", fmt::format("{}", value), meta);
  }
  void Field(const char* key, double& value, const Meta& meta) override { Add(key, "number", FormatReal(value), meta); }
  void Field(const char* key, std::string& value, const Meta& meta) override {
    Add(key, "text", YamlText(value), meta);
  }
  void Field(const char* key, std::vector<std::string>& value, const Meta& meta) override {
    std::vector<std::string> items;
    for (const auto& item : value) items.push_back(YamlText(item));
    Add(key, "list of texts", fmt::format("[{}]", Join(items, ", ")), meta);
  }
  void Field(const char* key, std::vector<int64_t>& value, const Meta& meta) override {
    std::vector<std::string> items;
    for (const int64_t item : value) items.push_back(fmt::format("{}", item));
    Add(key, "list of integers", fmt::format("[{}]", Join(items, ", ")), meta);
  }
  void Field(const char* key, std::vector<double>& value, const Meta& meta) override {
    std::vector<std::string> items;
    for (const double item : value) items.push_back(FormatReal(item));
    Add(key, "list of numbers", fmt::format("[{}]", Join(items, ", ")), meta);
  }

  std::vector<KeyInfo> Take() { return std::move(keys_); }

 protected:
  void Object(const char* key, const Meta& meta, const Visit& visit) override { Section(key, meta, visit); }
  void ObjectList(const char* key, const Meta& meta, const std::function<void(size_t)>&, const std::function<size_t()>&,
                  const std::function<void(size_t, Visitor&)>&, const Visit& prototype) override {
    Section(std::string(key) + "[]", meta, prototype);
  }
  void ObjectMap(const char* key, const Meta& meta, const std::function<void(const std::string&)>&,
                 const std::function<std::vector<std::string>()>&,
                 const std::function<void(const std::string&, Visitor&)>&, const Visit& prototype) override {
    Section(std::string(key) + ".<name>", meta, prototype);
  }

 private:
  void Add(const char* key, const char* type, const std::string& value, const Meta& meta) {
    keys_.push_back({.path = path_ + key,
                     .type = type,
                     .default_value = meta.required ? "" : value,
                     .range = RangeText(meta),
                     .unit = meta.unit,
                     .text = meta.text,
                     .performance_only = meta.performance_only,
                     .required = meta.required});
  }
  void Section(const std::string& key, const Meta& meta, const Visit& visit) {
    keys_.push_back({.path = path_ + key, .section = true, .text = meta.text, .required = meta.required});
    const std::string outer = path_;
    path_ += key + ".";
    visit(*this);
    path_ = outer;
  }

  std::string path_;
  std::vector<KeyInfo> keys_;
};

std::string Number(double value) {
  const bool whole = std::abs(value) < 0x1p53 && value == std::floor(value);
  return whole ? fmt::format("{}", static_cast<int64_t>(value)) : FormatReal(value);
}

// `text` in lines of at most `width` columns, each indented.
std::string Wrap(const std::string& text, size_t indent, size_t width) {
  std::string out;
  std::string line;
  const auto flush = [&] {
    if (!line.empty()) out += std::string(indent, ' ') + line + "\n";
    line.clear();
  };
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(' ', begin), text.size());
    const std::string word = text.substr(begin, end - begin);
    if (!line.empty() && indent + line.size() + 1 + word.size() > width) flush();
    line += (line.empty() ? "" : " ") + word;
    begin = end + 1;
  }
  flush();
  return out;
}

// A cell of a Markdown table.
std::string Cell(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '|') out += '\\';
    out += c;
  }
  return out;
}

}  // namespace

std::string RangeText(const Meta& meta) {
  if (!meta.choices.empty()) return fmt::format("one of: {}", Join(meta.choices, ", "));
  const bool low = !std::isinf(meta.min);
  const bool high = !std::isinf(meta.max);
  if (low && high) return fmt::format("{} to {}", Number(meta.min), Number(meta.max));
  if (low) return fmt::format(">= {}", Number(meta.min));
  if (high) return fmt::format("<= {}", Number(meta.max));
  return "";
}

namespace internal {
std::vector<KeyInfo> DescribeVisit(const std::function<void(Visitor&)>& visit) {
  Describer describer;
  visit(describer);
  std::vector<KeyInfo> keys = describer.Take();
  // A section's own keys follow its heading, whatever sections its struct has between them.
  std::map<std::string, int> order = {{"", 0}};
  for (const KeyInfo& key : keys)
    if (key.section) order.emplace(key.path, static_cast<int>(order.size()));
  const auto rank = [&order](const KeyInfo& key) {
    const size_t dot = key.path.rfind('.');
    const std::string owner = key.section ? key.path : dot == std::string::npos ? "" : key.path.substr(0, dot);
    return std::pair(order.at(owner), !key.section);
  };
  std::stable_sort(keys.begin(), keys.end(), [&rank](const KeyInfo& a, const KeyInfo& b) { return rank(a) < rank(b); });
  return keys;
}
}  // namespace internal

std::string HelpText(const std::vector<KeyInfo>& keys, int width, const std::string& prefix) {
  std::string out;
  for (const KeyInfo& key : keys) {
    if (key.path.compare(0, prefix.size(), prefix) != 0) continue;
    if (key.section) {
      out += fmt::format("\n{}:\n{}", key.path, Wrap(key.text, 2, width));
      continue;
    }
    std::string facts = key.type;
    if (!key.range.empty()) facts += ", " + key.range;
    if (!key.unit.empty()) facts += " " + key.unit;
    if (key.performance_only) facts += ", speed only";
    const std::string value = key.required ? "  (required)" : "  = " + key.default_value;
    out += fmt::format("  {}{}\n{}", key.path, value, Wrap(fmt::format("{} [{}]", key.text, facts), 6, width));
  }
  return out;
}

std::string MarkdownReference(const std::vector<KeyInfo>& keys, int heading_level) {
  static const char* const kHead = "| key | type | default | range | meaning |\n|---|---|---|---|---|\n";
  std::string out;
  bool in_table = false;
  for (const KeyInfo& key : keys) {
    if (key.section) {
      out +=
          fmt::format("{}{} `{}`\n\n{}\n\n", in_table ? "\n" : "", std::string(heading_level, '#'), key.path, key.text);
      in_table = false;
      continue;
    }
    if (!in_table) out += kHead;
    in_table = true;
    std::string text = key.text;
    if (!key.unit.empty()) text += fmt::format(" Unit: {}.", key.unit);
    if (key.performance_only) text += " Speed only: cannot change results.";
    out += fmt::format("| `{}` | {} | {} | {} | {} |\n", key.path, key.type,
                       key.required ? "required" : fmt::format("`{}`", Cell(key.default_value)), Cell(key.range),
                       Cell(text));
  }
  return out;
}

}  // namespace sluice::config
