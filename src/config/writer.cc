#include "config/writer.h"

#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "config/text.h"

namespace sluice::config {
namespace {

// Structs are written as blocks; the elements of maps and lists on one line each, {a: 1, b: {c: 2}}.
class Writer : public Visitor {
 public:
  void Field(const char* key, bool& value, const Meta&) override { Put(key, value ? "true" : "false"); }
  void Field(const char* key, int64_t& value, const Meta&) override { Put(key, fmt::format("{}", value)); }
  void Field(const char* key, double& value, const Meta&) override { Put(key, FormatReal(value)); }
  void Field(const char* key, std::string& value, const Meta&) override { Put(key, Escaped(value)); }
  void Field(const char* key, std::vector<std::string>& value, const Meta&) override {
    PutList(key, value, [](const std::string& item) { return Escaped(item); });
  }
  void Field(const char* key, std::vector<int64_t>& value, const Meta&) override {
    PutList(key, value, [](int64_t item) { return fmt::format("{}", item); });
  }
  void Field(const char* key, std::vector<double>& value, const Meta&) override {
    PutList(key, value, [](double item) { return FormatReal(item); });
  }

  std::string Take() { return std::move(out_); }

 protected:
  void Object(const char* key, const Meta&, const Visit& visit) override {
    if (flow_) {
      Separate();
      out_ += fmt::format("{}: ", key);
      Flow([&] { visit(*this); });
      return;
    }
    out_ += fmt::format("{:{}}{}:\n", "", indent_, key);
    indent_ += 2;
    const size_t before = out_.size();
    visit(*this);
    indent_ -= 2;
    // A struct without keys: nothing may follow the colon but {}.
    if (out_.size() == before) out_.insert(out_.size() - 1, " {}");
  }
  void ObjectList(const char* key, const Meta&, const std::function<void(size_t)>&, const std::function<size_t()>& size,
                  const std::function<void(size_t, Visitor&)>& element, const Visit&) override {
    Elements(key, size(), '[', ']', [&](size_t i) {
      if (!flow_) out_ += "- ";
      Flow([&] { element(i, *this); });
    });
  }
  void ObjectMap(const char* key, const Meta&, const std::function<void(const std::string&)>&,
                 const std::function<std::vector<std::string>()>& names,
                 const std::function<void(const std::string&, Visitor&)>& element, const Visit&) override {
    const std::vector<std::string> all = names();
    Elements(key, all.size(), '{', '}', [&](size_t i) {
      out_ += YamlText(EscapeRanges(all[i])) + ": ";
      Flow([&] { element(all[i], *this); });
    });
  }

 private:
  static std::string Escaped(const std::string& text) { return YamlText(EscapeEnvironment(text)); }

  void Separate() {
    if (!first_) out_ += ", ";
    first_ = false;
  }

  void Put(const char* key, const std::string& value) {
    if (flow_) {
      Separate();
      out_ += fmt::format("{}: {}", key, value);
    } else {
      out_ += fmt::format("{:{}}{}: {}\n", "", indent_, key, value);
    }
  }

  template <class T, class Format>
  void PutList(const char* key, const std::vector<T>& value, const Format& format) {
    std::string text = "[";
    for (size_t i = 0; i < value.size(); ++i) text += (i == 0 ? "" : ", ") + format(value[i]);
    Put(key, text + "]");
  }

  // Elements of a list or map under `key`, each on a line of its own unless already inside a flow value.
  template <class Element>
  void Elements(const char* key, size_t count, char open, char close, const Element& element) {
    if (count == 0) {
      Put(key, std::string{open, close});
    } else if (flow_) {
      Separate();
      out_ += fmt::format("{}: {}", key, open);
      for (size_t i = 0; i < count; ++i) {
        if (i > 0) out_ += ", ";
        element(i);
      }
      out_ += close;
    } else {
      out_ += fmt::format("{:{}}{}:\n", "", indent_, key);
      for (size_t i = 0; i < count; ++i) {
        out_ += std::string(indent_ + 2, ' ');
        element(i);
        out_ += "\n";
      }
    }
  }

  template <class Body>
  void Flow(const Body& body) {
    const bool outer_flow = flow_;
    const bool outer_first = first_;
    flow_ = true;
    first_ = true;
    out_ += "{";
    body();
    out_ += "}";
    flow_ = outer_flow;
    first_ = outer_first;
  }

  std::string out_;
  int indent_ = 0;
  bool flow_ = false;
  bool first_ = true;
};

bool IsPlain(std::string_view text) {
  static const std::string_view kWords[] = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"};
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
  const auto inside = [&](char c) { return letter(c) || (c >= '0' && c <= '9') || c == '.' || c == '/' || c == '-'; };
  if (text.empty() || !(letter(text[0]) || text[0] == '/')) return false;
  if (!std::all_of(text.begin(), text.end(), inside)) return false;
  std::string lower(text);
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return std::find(std::begin(kWords), std::end(kWords), lower) == std::end(kWords);
}

}  // namespace

std::string YamlText(std::string_view text) {
  if (IsPlain(text)) return std::string(text);
  std::string out = "\"";
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\r':
        out += "\\r";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
          out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
        } else {
          out += c;
        }
    }
  }
  return out + "\"";
}

namespace internal {
std::string WriteVisit(const std::function<void(Visitor&)>& visit) {
  Writer writer;
  visit(writer);
  return writer.Take();
}
}  // namespace internal
}  // namespace sluice::config
